"""Cases in which a bound without its rounding term would be false, decided by fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import flint
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dsf.solvers.svm import certify, nuclear
from dsf.solvers.svm.check import balls
from dsf.solvers.svm.problem import MarginProblem, scale


def on_columns(keys, bound):
    """Rows <key_j, w> >= 1 where the bound is 1, = 0 where it is 0, on a column w."""
    bound = np.asarray(bound, dtype=float)
    n = len(bound)
    return MarginProblem.of(keys, [[1.0]], np.arange(n), -1, np.zeros(n, int), bound, bound == 0)


# ------------------------------------------------------ equalities that are nearly met
@pytest.mark.parametrize(("norm", "p"), [("frobenius", None), ("nuclear", None), ("entrywise", 3)])
@given(st.integers(1, 10**4), st.integers(4, 40))
def test_a_margin_bought_by_missing_an_equality_is_not_proved(norm, p, slope, k):
    """x + slope y >= 1 under y = 0: g* = 1 at (1, 0), but (1, d) has the margin 1 + slope d."""
    d = 2.0**-k / slope
    problem = on_columns([[1.0, slope], [0.0, 1.0]], [1, 0])
    rows = scale(problem)
    W = np.array([[1.0], [d]])
    proved = certify.primal(problem, rows, W, norm, p)
    lower = Fraction(proved.lower) * Fraction(2) ** rows.exponent
    assert 1 - Fraction(4, 2**k) <= lower <= 1
    found, _ = balls.primal(balls.Rows(**problem.arrays()), W, norm, p)
    assert found <= 1


def nearly_dependent():
    """Rows (1, 0, 0) and (1, t, 0) whose cosine c is 1 - 1.51 2^-53: it rounds to 1 - 2^-52."""
    t = math.sqrt(2 * 1.51 * 2.0**-53)
    return t, np.array([[1.0, 0.0, 0.0], [1.0, t, 0.0]])


def test_the_distance_to_nearly_dependent_equalities():
    """The float inverse of the Gram matrix is a third too small here, which rho makes good."""
    t, rows = nearly_dependent()
    x = 2.0**-30
    w = np.array([[x], [-2 * x / t], [1.0]])
    problem = on_columns(np.vstack([rows, [[0.0, -1024.0, 1.0]]]), [0, 0, 1])
    data = balls.Rows(**problem.arrays())
    with flint.ctx.workprec(balls.BITS):
        miss, _ = balls.margins(data, w)
        off = balls.distance(data, [abs(m) for m in miss])
        proved, _ = balls.primal(data, w, "frobenius", None)
        # both equalities leave (0, 0, z) only: that is how far the nearest one is
        nearest = sum(Fraction(v) ** 2 for v in w[:2, 0])
        exact = flint.arb(flint.fmpq(nearest.numerator, nearest.denominator)).sqrt()
        assert exact <= off.upper() <= 1.01 * exact
        assert proved.upper() <= 1


# ------------------------------------------------------------- the tail of a rank
@given(st.floats(1e-3, 1e3), st.integers(1, 200), st.sampled_from([0, 1, 0.5, 0.75]))
def test_the_tail_of_a_tiny_gap_is_not_rounded_away(lower, steps, ratio):
    """G = diag(1, ratio, 0) and bounds some floats apart: the tail is (1/L - 1/U)/(1 - ratio)."""
    upper = lower
    for _ in range(steps):
        upper = math.nextafter(upper, math.inf)
    k, tail = nuclear.rank_bound(SimpleNamespace(lower=lower, upper=upper), np.diag([1, ratio, 0]))
    assert k == (1 if ratio < 1 else 2)
    exact = (1 / Fraction(lower) - 1 / Fraction(upper)) / (1 - Fraction(ratio if k == 1 else 0))
    assert exact <= Fraction(tail) <= 2 * exact + Fraction(1e-12 / lower)
