"""A change of x or of A is a change of the target, of half-Lipschitz size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.theory_tests.protocol import judge

statement = (
    "|softmax(y) - softmax(z)| <= |y - z| / 2, and 1/2 is sharp.  With x' in the place of x the "
    "residual f' - b is f - b~ for a target b~ with |b - b~| = |f' - f| <= |A| |x' - x| / 2; with "
    "A' in the place of A, |b - b^| <= |x| |A' - A| / 2; both without conditions.  The paper has "
    "M = n^1.5 exp(10 R^2), R >= 4, in the place of |A| / 2 and |x| / 2: since |b - b~| is never "
    "above sqrt 2, that says something only for changes below sqrt 2 / M, about 1e-69 or less."
)
reference = "derived; li2023, main theorem, for M"
falsified_by = "a change whose shift of the target is above half of |A| |x' - x| or |x| |A' - A|"


def shifts(A: np.ndarray, x: np.ndarray, dA: np.ndarray, dx: np.ndarray):
    """((shift, bound) of x -> x + dx, (shift, bound) of A -> A + dA), spectral norms."""
    f = softmax(A @ x)
    by_x = float(np.linalg.norm(softmax(A @ (x + dx)) - f))
    by_A = float(np.linalg.norm(softmax((A + dA) @ x) - f))
    return (
        (by_x, float(np.linalg.norm(A, 2) * np.linalg.norm(dx)) / 2),
        (by_A, float(np.linalg.norm(x) * np.linalg.norm(dA, 2)) / 2),
    )


def log10_constant(n: int, R: float) -> float:
    """log10 of M = n^1.5 exp(10 R^2).

    >>> round(log10_constant(10, 4.0), 2)
    70.99
    """
    return float(1.5 * np.log10(n) + 10 * R**2 / np.log(10))


def claim():
    """Reference shifts, a pair at which 1/2 is reached, and the size of M |dx|."""
    rng = np.random.default_rng(11)
    A, x = rng.normal(size=(10, 4)), rng.normal(size=4)
    A, x = A / np.linalg.norm(A, 2), x / np.linalg.norm(x)
    dx, dA = 5e-4 * rng.normal(size=4), 1e-3 * rng.normal(size=(10, 4))
    found = np.array([shift for shift, _ in shifts(A, x, dA, dx)])
    t = 1e-4
    (shift, bound), _ = shifts(np.eye(2), np.zeros(2), np.eye(2), np.array([t, -t]))
    vacuous = log10_constant(10, 4.0) + np.log10(np.linalg.norm(dx))
    return [
        (found, np.array([7.23885603e-5, 2.76008387e-4]), 1e-12),
        (shift / bound, 1.0, 1e-8),
        (vacuous, np.log10(9.9e67), 5e-3),
    ]


def test_claim():
    assert judge(claim()).holds


@given(st.integers(1, 10), st.integers(1, 5), st.integers(0, 10**6), st.floats(-6, 1))
def test_the_two_bounds(n, d, seed, size):
    rng = np.random.default_rng(seed)
    A, dA = rng.standard_normal((n, d)), 10**size * rng.standard_normal((n, d))
    x, dx = rng.standard_normal(d), 10**size * rng.standard_normal(d)
    for shift, bound in shifts(A, x, dA, dx):
        assert shift <= bound + 1e-15 and shift <= np.sqrt(2)


@given(st.integers(1, 8), st.integers(0, 10**6))
def test_the_shifted_target(n, seed):
    """f' - b = f - b~: a residual after the step is one before it, for another target."""
    rng = np.random.default_rng(seed)
    A, b, x, dx = rng.standard_normal((n, 3)), rng.dirichlet(np.ones(n)), *rng.normal(size=(2, 3))
    f, after = softmax(A @ x), softmax(A @ (x + dx))
    shifted = b - (after - f)
    np.testing.assert_allclose(after - b, f - shifted, atol=1e-15)
    assert shifted.sum() == pytest.approx(1)  # but it may have negative entries


def test_where_the_bound_of_the_paper_says_something():
    """Changes up to sqrt 2 / M: at R = 4 below 1e-69 for any n, below 1e-70 for n = 10."""
    assert np.log10(np.sqrt(2)) - log10_constant(1, 4.0) < -69
    assert np.log10(np.sqrt(2)) - log10_constant(10, 4.0) < -70
