"""The loss is convex in what is injected and in its weight, not in the parameter of the weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import inject, sigmoid

statement = (
    "For a linear readout the cross-entropy (and the squared loss) of (1-m) o + m e is convex in "
    "e and in m. With m = sigmoid(theta), d^2 L/dtheta^2 = L'' (m(1-m))^2 + L' m(1-m)(1-2m), which "
    "is negative where L' (2m - 1) > L'' m(1-m): the loss is not convex in theta."
)
reference = "derived; the operator is that of arXiv 2507.20906"
falsified_by = "a chord below the loss in e or m, or a second derivative in theta that stays >= 0"


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((6, 4)), *rng.standard_normal((2, 4))


def cross_entropy(read: np.ndarray, y: np.ndarray) -> float:
    s = read @ y
    return float(np.logaddexp.reduce(s) - s[0])


def derivatives(read: np.ndarray, o: np.ndarray, e: np.ndarray, m: float) -> tuple[float, float]:
    """L' and L'' in m: mean and variance of the logits' slopes."""
    s, slope = read @ inject(o, e, m), read @ (e - o)
    p = np.exp(s - np.logaddexp.reduce(s))
    return float(p @ slope - slope[0]), float(p @ slope**2 - (p @ slope) ** 2)


def claim(theta: float = 2.0, seed: int = 0, step: float = 1e-3):
    """The second difference in theta against the formula."""
    read, o, e = problem(seed)
    low, mid, high = (
        cross_entropy(read, inject(o, e, float(sigmoid(np.array(theta + h)))))
        for h in (-step, 0.0, step)
    )
    m = float(sigmoid(np.array(theta)))
    first, second = derivatives(read, o, e, m)
    theory = second * (m * (1 - m)) ** 2 + first * m * (1 - m) * (1 - 2 * m)
    return (low - 2 * mid + high) / step**2, theory, 1e-6


@given(st.integers(0, 99), st.floats(-4, 4))
def test_second_derivative_in_theta(seed: int, theta: float) -> None:
    computed, theory, tolerance = claim(theta, seed)
    assert abs(computed - theory) <= tolerance * max(1.0, abs(theory))


@pytest.mark.parametrize("seed", range(10))
def test_not_convex_in_theta(seed: int) -> None:
    curvatures = [claim(theta, seed)[1] for theta in np.linspace(-6, 6, 49)]
    assert min(curvatures) < -1e-4 and max(curvatures) > 1e-4


@given(st.integers(0, 99), st.floats(0, 1), st.floats(0.01, 1))
def test_convex_in_the_injected_vector_and_in_its_weight(seed: int, part: float, m: float) -> None:
    read, o, e = problem(seed)
    other = np.random.default_rng([seed, 1]).standard_normal(4)

    def vector(x: np.ndarray) -> float:
        return cross_entropy(read, inject(o, x, m))

    def weight(x: float) -> float:
        return cross_entropy(read, inject(o, e, x))

    mid = (1 - part) * e + part * other
    assert vector(mid) <= (1 - part) * vector(e) + part * vector(other) + 1e-12
    assert weight(part) <= (1 - part) * weight(0.0) + part * weight(1.0) + 1e-12


@given(st.integers(0, 99), st.floats(0, 1))
def test_the_squared_loss_is_convex_in_the_weight_too(seed: int, part: float) -> None:
    read, o, e = problem(seed)
    losses = [float(np.sum((read @ inject(o, e, m)) ** 2)) for m in (0.0, part, 1.0)]
    assert losses[1] <= (1 - part) * losses[0] + part * losses[2] + 1e-9
