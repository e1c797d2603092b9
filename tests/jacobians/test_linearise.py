"""Jacobians along a trajectory, and any torch module seen through them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import dsf
import dsf.mechanisms
from dsf.core import kinds
from dsf.core.catalogue import everything, family
from dsf.core.errors import DomainError, NonFiniteError, NotContractive, NotLinearError, ShapeError

RECURRENT = [str(f) for f in everything() if not issubclass(f.cls, kinds.Attention)]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", RECURRENT)
def test_the_kernel_of_the_linearisation_is_the_jacobian(name):
    mech, u = family(name).init(d=2, n=2, p=2, seed=1), RNG.standard_normal((4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotContractive)
        ltv, whole = dsf.linearise(mech, u), dsf.jacobian(mech.to_torch(), u)
    M = ltv.kernel().reshape(whole.kernel.shape)
    assert np.abs(M - whole.kernel).max() <= 1e-13 * np.abs(whole.kernel).max()
    assert whole.leak == 0


@pytest.mark.smoke
def test_gru_against_central_differences():
    mech, u, h = dsf.gru.init(d=2, p=3), RNG.standard_normal((5, 2)), 1e-5
    ltv = dsf.linearise(mech, u)
    assert (ltv.n, ltv.m, ltv.r, ltv.length) == (3, 2, 3, 5)
    M = ltv.kernel()
    for j in range(5):
        for c in range(2):
            e = np.zeros_like(u)
            e[j, c] = h
            column = (mech(u + e) - mech(u - e)) / (2 * h)
            assert np.abs(column - M[:, :, j, c]).max() < 1e-9


def test_a_linear_mechanism_is_its_own_linearisation():
    mech, u = dsf.lru.init(d=2, n=3), RNG.standard_normal((6, 2))
    assert np.allclose(dsf.linearise(mech, u).kernel(), mech.kernel(u), rtol=0, atol=1e-14)


def test_linearise_refuses_a_growing_state_and_batches():
    with pytest.raises(NotLinearError, match="growing cache"):
        dsf.linearise(dsf.softmax.init(d=2), np.zeros((3, 2)))
    with pytest.raises(ShapeError, match=r"\[L d\]"):
        dsf.linearise(dsf.gru.init(d=2), np.zeros((1, 3, 2)))
    with pytest.raises(ShapeError, match="L = 0"):
        dsf.linearise(dsf.gru.init(d=2), np.zeros((0, 2)))


# -------------------------------------------------------------------------- jacobian
class Attention(torch.nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.causal = causal

    def forward(self, x):
        mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[-2])
        return self.attention(x, x, x, attn_mask=mask if self.causal else None)[0]


def test_jacobian_sees_whether_attention_is_masked():
    torch.manual_seed(0)
    u = RNG.standard_normal((6, 4))
    found = dsf.jacobian(Attention(causal=True), u)
    assert found.kernel.shape == (6, 4, 6, 4)
    assert found.kernel.dtype == np.float32
    assert np.array_equal(found.influence() > 0, np.tril(np.ones((6, 6), dtype=bool)))
    with pytest.raises(DomainError, match="later input"):
        dsf.jacobian(Attention(causal=False), u)
    assert dsf.jacobian(Attention(causal=False), u, causal=False).leak > 0


def test_jacobian_names_the_tokens():
    class Leak(torch.nn.Module):
        def forward(self, x):
            y = x.clone()
            y[1] = y[1] + x[3]
            return y

    with pytest.raises(DomainError, match="output 1 depends on the later input 3"):
        dsf.jacobian(Leak(), np.ones((5, 2)))


def test_jacobian_counts_states():
    # a torch GRU with 2 units: nothing but 2 numbers passes any cut
    torch.manual_seed(0)
    found = dsf.jacobian(torch.nn.GRU(3, 2, batch_first=True).double(), RNG.standard_normal((8, 3)))
    sigma = found.hankel_singular_values(4)
    assert sigma[1] > 1e-6
    assert sigma[2] < 1e-14


class Pool(torch.nn.Module):
    def forward(self, x):
        return x.mean(-2)


def test_jacobian_refuses():
    with pytest.raises(ShapeError, match="must be one sequence"):
        dsf.jacobian(torch.nn.Linear(2, 2), np.zeros((1, 3, 2)))
    with pytest.raises(ShapeError, match="pooled over time"):
        dsf.jacobian(Pool(), np.ones((3, 2)))
    with pytest.raises(NonFiniteError, match="Jacobian"):
        dsf.jacobian(dsf.gla.init(d=2).to_torch(), np.full((3, 2), np.nan))
    with pytest.raises(ShapeError, match="cut k"):
        dsf.jacobian(torch.nn.Linear(2, 2), np.ones((3, 2))).hankel_singular_values(4)
