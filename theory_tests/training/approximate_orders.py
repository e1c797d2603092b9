"""Orders of the Taylor series normalised one by one are not the normalised series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.solvers.heads.deconstructed import approximate, approximate_scan, orders, taylor
from dsf.theory_tests.run import run

statement = (
    "The approximate variant, mean of v + q'S1/q's1 + (q^2)'S2/(q^2)'s2, is the sum of three "
    "normalised linear attentions, with tokens (1, 1), (q, k) and (q^2, k^2): rows sum to 3, the "
    "state has p + 2(d p + d) numbers. The second denominator only grows; the first changes sign, "
    "and near a zero of it weights have no bound. The row does not change under q -> c q."
)
reference = "xue2025 (arXiv 2510.11602), the approximate variant as written; derived here"
falsified_by = "another row sum, a positive first denominator on every draw, or bounded weights"


def tokens(T: int, d: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, d)), rng.standard_normal((T, d)), rng.standard_normal((T, p))


def size(q: np.ndarray, k: np.ndarray) -> float:
    """How much the division amplifies rounding: the largest entry of the map, at least 1."""
    return float(np.abs(approximate(q, k)).max(initial=1.0))


def claim(T: int = 40, d: int = 4, p: int = 3, seed: int = 0) -> list:
    """Row sums, the recurrence, and the three linear attentions."""
    q, k, v = tokens(T, d, p, seed)
    A = approximate(q, k)
    tolerance = 1e-13 * size(q, k) ** 2
    family = dsf.linear_attn(normalise=True)
    ones = np.ones((T, 1))
    parts = [run(family, q=a, k=b, v=v) for a, b in ((ones, ones), (q, k), (q * q, k * k))]
    return [
        (A.sum(1), np.full(T, 3.0), tolerance),
        (approximate_scan(q, k, v)[0], A @ v, tolerance),
        (parts[0] + parts[1] + parts[2], A @ v, tolerance),
    ]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 999))
def test_forms_and_row_sums(T: int, d: int, p: int, seed: int) -> None:
    for computed, theory, tolerance in claim(T, d, p, seed):
        np.testing.assert_allclose(computed, theory, atol=tolerance)


@pytest.mark.parametrize("d, p", [(1, 1), (4, 3), (8, 2)])
def test_numbers_in_the_state(d: int, p: int) -> None:
    _, states = approximate_scan(*tokens(5, d, p, 0))
    assert sum(s[0].size for s in states) == p + 2 * (d * p + d)


def test_denominators() -> None:
    least = []
    for seed in range(50):
        q, k, _ = tokens(40, 4, 1, seed)
        first, second = (weights.sum(1) for weights in orders(q, k))
        assert np.any(first < 0) and np.any(first > 0) and np.all(second > 0)
        assert np.all(np.diff(np.cumsum(k * k, axis=0), axis=0) > 0)
        least.append(first.min())
    assert min(least) < -11 < max(least)  # one draw gave -11; it is nothing special
    assert min(approximate(*tokens(40, 4, 1, s)[:2]).min() for s in range(50)) < -100


def test_a_zero_of_the_denominator_is_a_pole() -> None:
    k = np.array([[1.0, 0.0], [-1.0, 1.0]])
    largest = [np.abs(approximate(np.array([[1.0, 1.0], [1.0, e]]), k)).max() for e in (1e-2, 1e-4)]
    assert largest == pytest.approx([1e2, 1e4], rel=0.1)


@given(st.integers(0, 99), st.sampled_from([-3.0, 0.1, 7.0]))
def test_the_length_and_sign_of_a_query_are_lost(seed: int, c: float) -> None:
    q, k, _ = tokens(12, 4, 1, seed)
    atol = 1e-12 * size(q, k) ** 2
    np.testing.assert_allclose(approximate(c * q, k), approximate(q, k), atol=atol)
    assert np.abs(taylor(c * q, k) - taylor(q, k)).max() > 1e-2
