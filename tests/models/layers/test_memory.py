"""Hankel singular values, norms and products of a frozen system, against its kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.models.layers import memory
from dsf.models.layers.frozen import frozen


def system(seed=0, L=7):
    torch.manual_seed(seed)
    [stage] = frozen(nn.LSTM(3, 4), torch.randn(L, 3))
    return stage.forward


def matrix(ltv):
    return ltv.kernel().reshape(ltv.length * ltv.r, -1)


@pytest.mark.parametrize("seed", range(3))
def test_compressed_blocks_have_the_singular_values_of_the_blocks(seed):
    ltv = system(seed)
    M = matrix(ltv)
    for k, X in enumerate(memory.Balanced(ltv).blocks):
        wanted = np.zeros(ltv.n)
        if 0 < k < ltv.length:
            s = np.linalg.svd(M[k * ltv.r :, : k * ltv.m], compute_uv=False)[: ltv.n]
            wanted[: len(s)] = s
        assert np.allclose(np.linalg.svd(X, compute_uv=False), wanted, atol=1e-14)


def test_the_adjoint_is_the_transpose():
    ltv = system()
    K = memory.adjoint(ltv).kernel()[::-1, :, ::-1]
    assert np.allclose(K.reshape(-1, ltv.length * ltv.r), matrix(ltv).T, atol=1e-15)


def test_the_norm():
    ltv = system()
    assert memory.norm(ltv) == pytest.approx(np.linalg.norm(matrix(ltv), 2), rel=1e-6)
    assert memory.norm(ltv) <= np.linalg.norm(matrix(ltv), 2) * (1 + 1e-12)


def test_growth_of_a_rotation_that_decays():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    one = np.zeros((1, 2, 1))
    for a in (0.5, 1.0, 2.0):
        ltv = LTV(Dense(a * turn[None]), one, one.swapaxes(1, 2), np.zeros((1, 1, 1)), steps=6)
        assert memory.growth(ltv) == pytest.approx((a, a, max(a, a**6)))
    gone = LTV(Dense(np.zeros((1, 2, 2))), one, one.swapaxes(1, 2), np.zeros((1, 1, 1)), steps=6)
    assert memory.growth(gone) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("threshold", [0.0, 1e-3, 1e-2, 1e-1])
def test_truncations_keep_what_is_above_the_threshold(threshold):
    ltv = system(L=9)
    balanced = memory.Balanced(ltv)
    small = balanced.truncated(threshold)
    gap = np.linalg.norm(matrix(ltv) - matrix(small), 2)
    assert gap < 1e-12 if not threshold else threshold / 2 < gap < 1e2 * threshold
    assert small.n == max(int(np.sum(s > threshold)) for s in balanced.values)


@pytest.mark.parametrize("threshold", [1e-3, 1e-2, 1e-1])
def test_the_bounded_real_lemma_knows_the_norm(threshold):
    ltv = system(1, L=9)
    small = memory.Balanced(ltv).truncated(threshold)
    gap = float(np.linalg.norm(matrix(ltv) - matrix(small), 2))
    assert memory.within(ltv, small, gap * (1 + 1e-6))
    assert not memory.within(ltv, small, gap * (1 - 1e-6))


@pytest.mark.parametrize("error", [1e-3, 1e-2, 1e-1])
def test_sufficient_states_suffice_and_are_no_fewer_than_necessary(error):
    ltv = system(3, L=9)
    balanced = memory.Balanced(ltv)
    found = balanced.sufficient(error)
    necessary = max(int(np.sum(s > error)) for s in balanced.values)
    assert necessary <= found <= ltv.n
    tried = [balanced.truncated(error * memory.STEP**k) for k in range(memory.STEPS)]
    gaps = [(t.n, np.linalg.norm(matrix(t) - matrix(ltv), 2)) for t in tried]
    assert found == min((n for n, gap in gaps if gap < error), default=ltv.n)
