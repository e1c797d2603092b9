"""Ridge regression: the distance to the exact solution is at most the residual over the penalty."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.solvers import ridge_path, ridge_regression, ridge_regression_in_blocks
from dsf.solvers.random_features.ridge import judged

statement = (
    "The minimiser theta* of |Phi theta - y|^2 + lambda |theta|^2 satisfies |theta - theta*| <= "
    "|Phi'(y - Phi theta) - lambda theta| / lambda for every theta; the bound that is returned, "
    "which adds the rounding of the residual, holds for the floats as they are."
)
reference = "strong convexity; rounding of inner products: higham2002, section 3.1"
falsified_by = "a solution in rational arithmetic that lies further away than the bound"


def exact(Phi: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """theta* [D] as rationals, from the normal equations of the floats."""

    def rational(x: float) -> fmpq:
        return fmpq(*float(x).as_integer_ratio())

    A = fmpq_mat(*Phi.shape, [rational(x) for x in Phi.ravel()])
    b = fmpq_mat(len(y), 1, [rational(x) for x in y])
    H = A.transpose() * A
    for i in range(Phi.shape[1]):
        H[i, i] += rational(penalty)
    return H.solve(A.transpose() * b)


def distance(theta: np.ndarray, wanted) -> float:
    """|theta - theta*|, differences taken exactly."""
    gaps = [fmpq(*float(t).as_integer_ratio()) - wanted[i, 0] for i, t in enumerate(theta)]
    return float(np.linalg.norm([int(g.p) / int(g.q) for g in gaps]))


def claim(n: int = 5, D: int = 7, penalty: float = 1e-3, seed: int = 0):
    """How far the distance exceeds the bound: not at all."""
    rng = np.random.default_rng(seed)
    Phi, y = rng.standard_normal((n, D)), rng.standard_normal(n)
    s = ridge_regression(Phi, y, penalty)
    excess = max(distance(s.theta, exact(Phi, y, penalty)) - s.error_bound, 0.0)
    return [(excess, 0.0, 0.0), (s.error_bound, 0.0, 1e-9 / penalty)]


@settings(max_examples=30)
@given(
    st.integers(1, 8), st.integers(1, 8), st.floats(-8, 1), st.integers(0, 10**6),
    st.booleans(),
)  # fmt: skip
def test_the_bound(n, D, log_penalty, seed, deficient):
    rng = np.random.default_rng(seed)
    Phi, y = rng.standard_normal((n, D)), rng.standard_normal(n)
    if deficient:
        Phi[:, -1] = Phi[:, 0]
    penalty = 10.0**log_penalty
    wanted = exact(Phi, y, penalty)
    parts = [Phi[:, :1], Phi[:, 1:]] if D > 1 else [Phi]
    sizes = [p.shape[1] for p in parts]
    for s in (
        ridge_regression(Phi, y, penalty),
        ridge_regression_in_blocks(lambda b: parts[b], sizes, y, penalty),
    ):
        assert distance(s.theta, wanted) <= s.error_bound
    s = ridge_regression(Phi, y, penalty)
    # and it is no more than rounding: at most 1.9 times this size in 4000 draws
    a, b, c = (float(np.linalg.norm(x)) for x in (Phi, y, s.theta))
    size = (n + D) * 2.0**-53 * (a * a * c + a * b + penalty * c)
    assert s.error_bound <= 4 * size / penalty
    path = ridge_path(Phi, y, [penalty, 1.0])[0]
    np.testing.assert_allclose(path, s.theta, atol=1e-10 / penalty)


def test_a_wrong_theta_is_judged_wrong():
    """Moved by 0.1 the residual is (1 + 1) 0.1, so the bound 0.2 covers the distance 0.1."""
    Phi, y = np.eye(3), np.ones(3)
    s = judged(lambda _: Phi, [3], y, np.array([0.6, 0.5, 0.5]), 1.0)
    assert s.error_bound == pytest.approx(0.2)
