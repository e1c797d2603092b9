"""The gradient is Lipschitz, with the constant that bounds the step size of gradient descent."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from dsf.solvers.svm.instances import Instance, draw, gradient
from dsf.theory_tests import judge

statement = (
    "|grad L(W) - grad L(V)| <= L_W |W - V| with L_W = (1/n) sum_i a_i b_i, a_i = |v| |z_i|^2 "
    "|X_i|^3, b_i = M_0 |v| |X_i| + 3 M_1, and M_0 = 1/4, M_1 = 1 for the logistic loss; the bound "
    "is loose: on random data no slope above 0.06 L_W was found."
)
reference = "tarzanagh2023, smoothness of the risk"
falsified_by = "two weights whose gradients differ by more than L_W times their distance"

M_0, M_1 = 0.25, 1.0  # the logistic loss: |l''| <= 1/4, |l'| <= 1


def constant(i: Instance) -> float:
    """L_W with spectral norms of the X_i."""
    v, z = np.linalg.norm(i.v), np.linalg.norm(i.z, axis=1)
    X = np.linalg.norm(i.X, 2, axis=(1, 2))
    return float(np.mean(v * z**2 * X**3 * (M_0 * v * X + 3 * M_1)))


def claim(seed: int = 0, n: int = 3, T: int = 4, d: int = 5, size: float = 1.0) -> list:
    """Slopes between 30 pairs at all distances, and along the steepest direction at each point."""
    i = draw(seed, n, T, d)
    rng = np.random.default_rng(seed)
    slopes = []
    for distance in np.logspace(-6, 2, 30):
        W, E = rng.standard_normal((2, d, d)) * [[[size]], [[1.0]]]
        E *= distance / np.linalg.norm(E)
        slopes += [_slope(i, W, E), _slope(i, W, _steepest(i, W, E))]
    largest = max(slopes) / constant(i)
    return [(max(largest, 1.0), 1.0, 0.0), (max(largest, 0.06), 0.06, 0.0)]


def _slope(i: Instance, W: np.ndarray, E: np.ndarray) -> float:
    difference = gradient(W + E, i.X, i.z, i.scores) - gradient(W, i.X, i.z, i.scores)
    return float(np.linalg.norm(difference) / np.linalg.norm(E))


def _steepest(i: Instance, W: np.ndarray, E: np.ndarray) -> np.ndarray:
    """Ten steps of the power method on the Hessian by differences; of length 1e-5."""
    for _ in range(10):
        E = 1e-5 * E / np.linalg.norm(E)
        change = gradient(W + E, i.X, i.z, i.scores) - gradient(W - E, i.X, i.z, i.scores)
        if not change.any():  # the attention is saturated: no slope to be seen here
            return E
        E = change
    return 1e-5 * E / np.linalg.norm(E)


@settings(max_examples=25)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 5), st.integers(1, 5),
    st.floats(0.0, 10.0),
)  # fmt: skip
def test_lipschitz(seed, n, T, d, size):
    judgement = judge(claim(seed, n, T, d, size))
    assert judgement.holds, "\n".join(judgement.lines)
