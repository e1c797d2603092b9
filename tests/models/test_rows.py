"""Rows of attention heads: counts are proved, and what heads look at is what the weights say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import SelfAttention
from torch import nn

import dsf
from dsf.core.errors import CertificateError, DomainError, ShapeError
from dsf.models import Heads, heads


def of_weights(M):
    """A model of one head with the weights M."""
    logits = torch.log(torch.as_tensor(np.asarray(M, float)))[None, None]
    values = torch.ones(1, 1, len(M), 1, dtype=torch.float64)
    return heads(lambda: torch.softmax(logits, -1) @ values)


def test_states_are_those_of_the_weights():
    model, x = (
        SelfAttention(),
        3 * torch.randn(1, 24, 8, generator=torch.Generator().manual_seed(0)),
    )
    found = heads(model, x)
    wanted = model.wanted(x)[0].detach().numpy()
    for row, M, proofs in zip(found.rows, wanted, zip(*[iter(found.proofs)] * 2, strict=True),
                              strict=True):  # fmt: skip
        for e, proof in zip((0.1, 0.01), proofs, strict=True):
            again = dsf.realize(M, rtol=e)
            assert row.states[e] == (proof.lower, proof.upper)
            assert again.lower <= row.states[e][1] and row.states[e][0] <= again.upper
    assert found.check()


def test_what_heads_look_at():
    L = 8
    previous = np.eye(L, k=-1)
    previous[0, 0] = 1
    row = of_weights(previous).rows[0]
    assert (row.previous, row.sink, row.horizon) == pytest.approx((1, 0, (L - 1) / L))
    assert row.spread == pytest.approx(0) and row.leak is None and row.near == pytest.approx(1)
    assert row.states[0.1] == (1, 1) and row.rank == pytest.approx(L / 2)
    sink = np.zeros((L, L))
    sink[:, 0] = 1
    row = of_weights(sink).rows[0]
    assert row.sink == pytest.approx(1) and row.horizon == pytest.approx((L - 1) / 2)
    assert row.states[0.01] == (1, 1) and row.rank == pytest.approx(1)
    even = np.full((L, L), 1 / L)
    row = of_weights(even).rows[0]
    assert row.leak is not None and row.spread == pytest.approx(np.log(L))
    assert row.states[0.1] == (2, 2)  # one in each direction


@pytest.mark.parametrize("L", [1, 2])
def test_the_smallest(L):
    row = heads(SelfAttention(), torch.randn(1, L, 8)).rows[0]
    assert row.states[0.1][1] <= L - 1 and row.tokens == L


def test_it_survives_json_and_becomes_a_table():
    found = heads(SelfAttention(), torch.randn(1, 12, 8))
    again = Heads.from_json(found.to_json())
    assert again.rows == found.rows and repr(again) == repr(found) and again.check()
    table = found.to_pandas()
    assert list(table["necessary_0.1"]) == [h.states[0.1][0] for h in found.rows]
    broken = found.to_json().replace('"rows"', '"lines"')
    with pytest.raises(CertificateError):
        Heads.from_json(broken)


def test_the_printout():
    found = heads(nn.Sequential(SelfAttention(), SelfAttention()), torch.randn(1, 12, 8))
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 79
    assert text.startswith("4 attention heads in 2 modules")
    assert "these inputs alone" in text and "retrieve" in text
    assert "<pre>" in found._repr_html_()


def test_rows_that_cannot_be_counted_say_why():
    q, k = torch.randn(1, 1, 2, 4), torch.randn(1, 1, 5, 4)
    attend = nn.functional.scaled_dot_product_attention
    row = heads(lambda: attend(q, k, k)).rows[0]
    assert "2 queries on 5 keys" in row.note and not row.states
    bad = q * torch.nan
    row = heads(lambda: attend(bad, bad, bad)).rows[0]
    assert row.states == {} and row.note == "weights are not finite"
    hidden = torch.tensor([[False, False], [True, True]])
    row = heads(lambda: attend(q, q, q, attn_mask=hidden)).rows[0]
    assert row.note == "1 of 2 tokens see nothing" and row.states
    assert "no head could be counted" in repr(heads(lambda: attend(q, k, k)))


def test_bad_input():
    with pytest.raises(DomainError, match="no attention"):
        heads(nn.Linear(2, 2), torch.ones(3, 2))
    with pytest.raises(ShapeError, match="sequence 3"):
        heads(SelfAttention(), torch.randn(1, 4, 8), sequence=3)
