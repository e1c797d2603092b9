"""Orthogonal directions: exact errors through a Kummer function; positive features always gain."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers import random_directions, softmax_kernel_features, softmax_kernel_mse
from dsf.solvers.random_features.variance import pair_gain, pair_moment
from dsf.theory_tests.random_features.kernel_mse import points

statement = (
    "For two rows of one orthogonal block E e^{w1'z} e^{w2'z} = C(s) = 1F1(d; d/2; s/2), s = "
    "|z|^2, and E cos cos the same at -s. Since (d)_n/(d/2)_n <= 2^n, C(s) <= e^s for s >= 0: "
    "orthogonal directions never raise the error of favor, hyperbolic and favor++ features."
)
reference = "derived; beside choromanski2021, theorem 2"
falsified_by = "a double sum, a sample or a known value that differs, or a gain below zero"


def double_sum(s: Fraction, d: int, terms: int = 40) -> Fraction:
    """sum_{j+k < terms} (s/2)^{j+k}/(j! k!) (d/2)_j (d/2)_k / (d/2)_{j+k}, exactly."""
    return sum((s / 2) ** n * c for n, c in enumerate(coefficients(d, terms)))  # type: ignore[return-value]


@cache
def coefficients(d: int, terms: int) -> list[Fraction]:
    """sum_{j+k = n} (d/2)_j (d/2)_k / (j! k! (d/2)_n) for n < terms."""
    a = Fraction(d, 2)
    rising = [Fraction(1)]
    for n in range(terms):
        rising.append(rising[-1] * (a + n))
    parts = [r / factorial(j) for j, r in enumerate(rising)]
    return [sum(parts[j] * parts[n - j] for j in range(n + 1)) / rising[n] for n in range(terms)]


def claim(d: int = 8, s: float = 1.0):
    """1F1 against the double sum in rationals, at s and -s."""
    exact = [float(double_sum(Fraction(t), d)) for t in (s, -s)]
    return pair_moment([s, -s], d), np.array(exact), 1e-11


@pytest.mark.parametrize("d", [2, 3, 8, 16])
@pytest.mark.parametrize("s", [0.0, 0.125, 1.0, 4.0])
def test_kummer(d, s):
    computed, theory, tolerance = claim(d, s)
    np.testing.assert_allclose(computed, theory, rtol=tolerance, atol=tolerance)


KNOWN = {
    (8, 0.1): 1.1046274927, (8, 1): 2.6037283460, (8, 4): 33.1451945, (8, -0.1): 0.9043774190,
    (8, -1): 0.3462730470, (8, -4): -0.0064445, (64, 4): 48.9667370, (64, -4): 0.0159507613,
}  # fmt: skip


@pytest.mark.parametrize("d, s", KNOWN)
def test_known_values(d, s):
    assert float(pair_moment(s, d)) == pytest.approx(KNOWN[d, s], rel=1e-8, abs=5e-8)


@given(st.integers(1, 64), st.floats(-1, 1))
def test_the_gain_is_the_difference(d, s):
    assert float(pair_gain(s, d)) == pytest.approx(np.exp(s) - float(pair_moment(s, d)), abs=1e-14)


@given(st.integers(1, 100), st.floats(0, 30))
def test_positive_features_gain(d, s):
    assert float(pair_gain(s, d)) >= 0
    for n in range(20):  # the proof, factor by factor
        assert d + n <= 2 * (Fraction(d, 2) + n)


def test_known_errors():
    x, y = points(8, 0)
    found = [float(softmax_kernel_mse(x, y, 8, k, orthogonal=True)) for k in ("favor", "trig")]
    np.testing.assert_allclose(found, [0.1900003156, 0.0766397958], rtol=1e-8)


@pytest.mark.parametrize("kind, m", [("favor", 3), ("trig", 3), ("hyperbolic", 3), ("trig", 7)])
def test_a_sample_agrees(kind, m):
    """d = 3: one block, and two whole blocks with one row of a third."""
    x, y = points(3, 2, 0.5)
    omega = random_directions(9 * 20_000, 3, seed=4, orthogonal=True).reshape(-1, 9, 3)[:, :m]
    phi, psi = (
        softmax_kernel_features(z, omega.reshape(-1, 3), kind) * len(omega) ** 0.5 for z in (x, y)
    )
    parts = (phi * psi).reshape(-1, len(omega), m) if phi.size > omega.size / 3 else phi * psi
    estimates = parts.reshape(-1, len(omega), m).sum((0, 2))
    squares = (estimates - np.exp(x @ y)) ** 2
    error = squares.std() / np.sqrt(len(squares))
    wanted = softmax_kernel_mse(x, y, m, kind, orthogonal=True)
    assert abs(squares.mean() - wanted) < 5 * error
    assert wanted < softmax_kernel_mse(x, y, m, kind)


def test_one_direction_has_no_pair():
    x, y = points(5, 0)
    assert softmax_kernel_mse(x, y, 1, orthogonal=True) == softmax_kernel_mse(x, y, 1)
