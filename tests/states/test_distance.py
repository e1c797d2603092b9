"""How far two operators are apart: the bounds that are found, and those that are refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.claims.distance import Distance
from dsf.core.errors import CertificateError
from dsf.states.distance import distance

pytestmark = pytest.mark.rigor


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12), st.integers(-450, 500))
def test_bounds_are_checked_and_close(seed, rows, columns, power):
    """Heads of several sizes, in any order: the largest decides."""
    rng = np.random.default_rng(seed)
    scale = rng.permutation([1.0, 1e-3, 1e-9])[:, None, None] * 2.0**power
    M, N = scale * rng.standard_normal((2, 3, rows, columns))
    found = distance(M, N)
    true = max(np.linalg.norm(E, 2) for E in M - N)
    assert found.lower <= true * (1 + 1e-12) and true <= found.upper * (1 + 1e-12)
    assert found.upper - found.lower <= 2e-3 * true
    assert found.check()


def passes(lower: float, upper: float, M: float, N: float, v: float) -> bool:
    """Whether these bounds of |M - N| are taken, for two numbers."""
    M1, N1 = (np.full((1, 1, 1), x) for x in (M, N))
    claim = Distance(lower=lower, upper=upper, M=M1, N=N1, v=np.full((1, 1), v))
    try:
        with np.errstate(all="ignore"):
            claim.check()
    except CertificateError:
        return False
    return True


@given(
    st.integers(-1060, 1020), st.floats(1.0, 2.0), st.floats(0.0, 1.0),
    st.sampled_from([1 - 4e-10, 1.0, 1 + 4e-10]),
    st.sampled_from([0.0, 1e-16, 1e-13, 3e-10, 1e-4, 0.5]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_false_bound_of_two_numbers_passes(power, m, n, v, by, down, low_side):
    """One bound is true, the other moved by much or little; by the exact difference of the two."""
    M, N = np.ldexp(m, power), np.ldexp(n, power)
    true = abs(Fraction(M) - Fraction(N))
    moved = float(true) * (1 - by if down else 1 + by)
    if np.isinf(moved):
        return
    lower, upper = (moved, 2 * float(true)) if low_side else (0.0, moved)
    if passes(lower, upper, M, N, v):
        assert Fraction(lower) <= true <= Fraction(upper)


def test_bounds_that_hardly_miss_are_refused():
    assert passes(0.999, 1.001, 2.0, 1.0, 1.0)
    assert not passes(1 + 3e-10, 1.001, 2.0, 1.0, 1 + 4e-10)  # the vector is longer than 1
    assert not passes(1e250, 1e300, 1e200, 0.0, 1.0)  # the square overflows
    assert passes(0.0, 1e300, 1e200, 0.0, 1.0)
    small = 1.2345678912345e-160  # whose square is known to a few digits
    root = float(np.sqrt(small * small))
    assert root > small
    assert not passes(root * (1 - 1e-9), 1e-159, small, 0.0, 1.0)


def test_a_vector_of_one_head_is_enough_and_an_upper_bound_needs_all():
    M, N = np.array([3.0, 1.0]).reshape(2, 1, 1), np.zeros((2, 1, 1))
    v = np.ones((2, 1))
    for order in (M, M[::-1]):
        Distance(lower=2.9, upper=3.1, M=order, N=N, v=v).check()
        with pytest.raises(CertificateError, match="<= 2 does not follow"):
            Distance(lower=0.5, upper=2.0, M=order, N=N, v=v).check()
        with pytest.raises(CertificateError, match=r">= 3\.05 does not follow"):
            Distance(lower=3.05, upper=3.1, M=order, N=N, v=v).check()
