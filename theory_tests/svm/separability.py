"""Enough dimensions separate any choice of tokens."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dsf.solvers import separability
from dsf.solvers.svm.instances import draw
from dsf.theory_tests import judge

statement = (
    "If d >= max(T - 1, n), then for almost every data set some W separates any choice of one "
    "token per sample, with free queries as well as with z_i = x_{i1}."
)
reference = "tarzanagh2023, separability theorem"
falsified_by = "Gaussian data with d >= max(T - 1, n) and an exact Gordan vector"


def claim(seed: int = 0, n: int = 4, T: int = 5, extra: int = 0, own: bool = False) -> list:
    """Margins proved positive for a random choice of tokens, at the smallest d and above."""
    rng = np.random.default_rng(seed)
    d = max(T - 1, n) + extra
    X = rng.standard_normal((n, T, d))
    z = X[:, 0] if own else rng.standard_normal((n, d))
    s = separability(X, z, rng.integers(0, T, n))
    return [(float(s.feasible is True), 1.0, 0.0), s.certificate]


@given(
    st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 7), st.integers(0, 2), st.booleans()
)
def test_separable(seed, n, T, extra, own):
    assert judge(claim(seed, n, T, extra, own)).holds


def test_not_a_necessary_condition():
    """n = 20 samples of 5 tokens in 6 dimensions: separable far below the bound of 20."""
    found = [
        separability(i.X, i.z, i.optimal).feasible for i in (draw(s, 20, 5, 6) for s in range(5))
    ]
    assert all(found)


@pytest.mark.parametrize(
    ("n", "T", "shares"),
    [(5, 5, (0.33, 0.90, 1, 1)), (5, 10, (0.33, 0.63, 0.97, 1)), (10, 5, (0.03, 0.15, 0.93, 1))],
)
def test_shares_of_separable_draws(n, T, shares):
    """Of 60 draws at d = 2, 3, 4, 5, against an independent count of 60 others."""
    found = [
        np.mean([separability(i.X, i.z, i.optimal).feasible is True for i in runs])
        for runs in ([draw(s, n, T, d) for s in range(60)] for d in (2, 3, 4, 5))
    ]
    spread = [2.6 * np.sqrt(2 * max(p * (1 - p), 0.02) / 60) for p in shares]
    assert np.all(np.abs(np.array(found) - shares) <= spread)
    assert found[-1] == 1


@given(st.integers(0, 10**6))
def test_one_dimension_of_unit_tokens_never_separates_three(seed):
    """Tokens are +-1, so of three at least two are equal; the chosen one may lose to its twin."""
    rng = np.random.default_rng(seed)
    X = rng.choice([-1.0, 1.0], (1, 3, 1))
    X[0, 1] = X[0, 0]
    s = separability(X, [[1.0]], [0])
    assert s.feasible is False
    s.certificate.check()
