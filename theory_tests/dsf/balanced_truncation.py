"""The a-priori bound of balanced truncation for time-varying systems."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.states.apriori import balanced_bounds, layer_bound
from dsf.states.compress import compress, kernel
from dsf.theory_tests import judge

statement = (
    "Removing the states j > n of a balanced time-varying realization changes the operator by at "
    "most 2 sum_{j>n} b_j, with b_j = max_k sigma_j(H_k) where k -> sigma_j(H_k) is monotone or "
    "unimodal, and otherwise the product of its local maxima over the product of the minima "
    "between them."
)
reference = "Sandberg and Rantzer 2004 give bounds of this kind (sandberg2004)"
falsified_by = "a truncation whose error in the operator 2-norm exceeds the bound"

KINDS = ("softmax", "dense", "contractive", "decay")


def example(kind: str, L: int, seed: int) -> np.ndarray:
    """A causal matrix [L L] of one of four kinds."""
    rng = np.random.default_rng(seed)
    if kind == "softmax":
        q, k = rng.standard_normal((2, L, 3))
        weights = np.tril(np.exp(q @ k.T))
        return weights / weights.sum(axis=1, keepdims=True)
    if kind == "dense":
        return np.tril(rng.standard_normal((L, L)))
    if kind == "decay":
        lag = np.subtract.outer(np.arange(L), np.arange(L)).clip(0)
        return np.tril(1.0 / (1.0 + lag) ** rng.uniform(0.3, 2.0))
    n = 6
    A = rng.uniform(0.5, 1.2) * np.linalg.qr(rng.standard_normal((L, n, n)))[0]
    B, C = rng.standard_normal((L, n, 1)), rng.standard_normal((L, 1, n))
    return LTV(Dense(A), B, C, read="before", steps=L).kernel()


def claim(kind: str = "softmax", L: int = 32, n: int = 4, seed: int = 0) -> tuple:
    """How far the error of truncation exceeds the bound (theory: not at all)."""
    M = example(kind, L, seed)
    full = compress(M[:, None, :, None], 1e-13 * float(np.linalg.norm(M)), gram=False)
    error = np.linalg.norm(M - kernel(*full.sliced(min(n, full.n))), 2)
    bound = float(balanced_bounds(full.s)[0][min(n, full.n)])
    return max(error - bound, 0.0), 0.0, 1e-10 * np.linalg.norm(M)


@given(st.sampled_from(KINDS), st.integers(2, 28), st.integers(0, 8), st.integers(0, 10**6))
def test_error_is_below_the_bound(kind, L, n, seed):
    assert judge(claim(kind, L, n, seed)).holds


def stated(beta: list[float]) -> float:
    """b_j by the words of the statement: up the first slope, then a factor per valley and peak."""
    bound, peak, falls = beta[0], beta[0], False
    for before, now in pairwise(beta):
        if now < before and not falls:
            bound, falls = bound * before / peak, True
        elif now > before and falls:  # `before` is a local minimum, the next peak starts there
            bound, peak, falls = bound / before * now, now, False
    return bound if falls else bound * beta[-1] / peak


values = st.one_of(st.sampled_from((0.5, 1.0, 2.0)), st.floats(1e-3, 1e3))


@given(st.lists(values, min_size=1, max_size=12))
def test_the_bound_is_the_stated_one(beta):
    """The errors above do not decide between the product and the maximum, which is smaller: where
    one state is removed altogether, twice the maximum suffices (Hardy's inequality with weights).
    """
    assert layer_bound(np.array(beta))[0] == pytest.approx(stated(beta), rel=1e-9)


def test_the_factor_two_is_not_idle():
    """Not vacuous: some truncation exceeds a quarter of the bound."""
    ratios = []
    for seed in range(40):
        M = example("contractive", 24, seed)
        full = compress(M[:, None, :, None], 1e-13, gram=False)
        error = np.linalg.norm(M - kernel(*full.sliced(full.n - 1)), 2)
        ratios.append(error / balanced_bounds(full.s)[0][full.n - 1])
    assert 0.25 < max(ratios) <= 1


def test_layers():
    """b_j when k -> sigma_j(H_k) is monotone, unimodal, has a valley, or has a gap."""
    assert np.allclose(layer_bound(np.array([3.0, 2, 1]))[0], 3)
    assert np.allclose(layer_bound(np.array([0.0, 1, 3, 2, 0]))[0], 3)
    assert np.allclose(layer_bound(np.array([1.0, 4, 4, 2, 5, 5, 1]))[0], 4 * 5 / 2)
    assert np.allclose(layer_bound(np.array([1.0, 0, 2]))[0], 1 + 2)
    assert layer_bound(np.zeros(4))[0] == 0
    assert layer_bound(np.array([1.0, 2, 1]))[1] == "unimodal"
    assert layer_bound(np.array([2.0, 1, 2]))[1] == "valleys"
