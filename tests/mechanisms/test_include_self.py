"""Softmax attention that leaves the own key out: the rows, the stream, the kernel, the contract."""

from __future__ import annotations

import numpy as np
import pytest

import dsf

FAMILIES = [
    dsf.softmax(include_self=False),
    dsf.window_softmax(include_self=False),
    dsf.window_softmax(include_self=False, width=2),
    dsf.window_softmax(include_self=False, width=1),
]
LONG = 300  # long enough for the kernel


def drawn(family, L: int, seed: int = 0):
    mech = family.init(d=4, n=2, p=3, heads=2, seed=seed)
    return mech, np.random.default_rng(seed).standard_normal((L, 4))


@pytest.mark.smoke
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_no_token_sees_itself_and_the_first_sees_nothing(family):
    mech, u = drawn(family, 6)
    M = mech.kernel(u)
    assert np.all(M[:, np.arange(6), np.arange(6)] == 0) and np.all(mech(u)[0] == 0)
    width = family.defaults().get("width", 99)
    totals = np.ones(6) * (width > 1)
    totals[0] = 0
    np.testing.assert_allclose(M.sum(-1), np.broadcast_to(totals, (2, 6)), atol=1e-15)


def test_rows_are_those_of_softmax_without_one_key():
    mech, u = drawn(FAMILIES[0], 5)
    whole = dsf.softmax.cls(**mech.parameters()).kernel(u)
    off = whole * (1 - np.eye(5))
    totals = off.sum(-1, keepdims=True)
    expected = off / np.where(totals == 0, 1, totals)
    np.testing.assert_allclose(mech.kernel(u), expected, rtol=1e-12)


@pytest.mark.parametrize("L", [0, 1, 2, 7, LONG])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_outputs_are_the_weights_times_the_values(family, L):
    mech, u = drawn(family, L)
    values = u @ mech.Wv
    expected = np.concatenate(list(mech.kernel(u) @ values), -1)
    np.testing.assert_allclose(mech(u), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cut", [1, 2, 150, LONG - 1])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_stream_is_the_whole(family, cut):
    mech, u = drawn(family, LONG)
    y, state = mech.run(u[:cut])
    rest, _ = mech.run(u[cut:], state)
    np.testing.assert_allclose(np.concatenate([y, rest]), mech(u), rtol=1e-11, atol=1e-13)


def test_torch_and_its_gradient():
    import torch

    mech, u = drawn(FAMILIES[0], LONG)
    layer = mech.to_torch()
    x = torch.tensor(u, requires_grad=True)
    y = layer(x)
    np.testing.assert_allclose(y.detach().numpy(), mech(u), rtol=1e-10, atol=1e-12)
    y[0].sum().backward()
    assert torch.all(x.grad == 0)


def test_the_fact_normalised_is_false_and_a_comparison_says_so():
    assert dsf.softmax.facts.normalised and not FAMILIES[0].facts.normalised
    found = dsf.compare(dsf.softmax, FAMILIES[0])
    assert found.verdict.name == "NOT_NESTED" and found.check()
    assert dsf.compare(dsf.recurrence(1), FAMILIES[0]).verdict.name != "EQUAL"
