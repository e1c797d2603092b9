"""A gate on values removes a common value, which softmax cannot, and its gradient with it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import sigmoid, softmax, tempered

statement = (
    "Softmax rows sum to one, so values with a common part c give c whatever the logits are; a "
    "value temperature tau_v -> 0 mutes it. For a gate from the value itself, y = sigmoid(v'w) v, "
    "dy_a/dv_b = g delta_ab + g(1-g) v_a w_b, which goes to zero with g."
)
reference = "zhang2024 (arXiv 2411.12892) and arXiv 2510.09017; derived here"
falsified_by = "a logit that removes the common part, or another Jacobian"


def jacobian(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    g = sigmoid(v @ w)
    return g * np.eye(len(v)) + g * (1 - g) * np.outer(v, w)


def claim(p: int = 5, seed: int = 0):
    """The Jacobian [p p] of the gated value, by complex steps, against the formula."""
    v, w = np.random.default_rng(seed).standard_normal((2, p))
    step = 1e-30
    moved = v + 1j * step * np.eye(p)
    found = (moved / (1 + np.exp(-(moved @ w)))[:, None]).imag.T / step
    return found, jacobian(v, w), 1e-14


@given(st.integers(1, 8), st.integers(0, 99))
def test_jacobian(p: int, seed: int) -> None:
    computed, theory, tolerance = claim(p, seed)
    np.testing.assert_allclose(computed, theory, atol=10 * tolerance)


def test_both_terms_vanish_with_the_gate() -> None:
    v, w = np.random.default_rng(0).standard_normal((2, 4))
    w *= -np.sign(v @ w)
    sizes = [np.linalg.norm(jacobian(v, c * w)) for c in (1, 10, 30, 100)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 1e-10


@given(st.integers(0, 99), st.floats(0, 100))
def test_softmax_cannot_mute_a_common_value(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    s, common = scale * rng.standard_normal((6, 9)), rng.standard_normal(3)
    np.testing.assert_allclose(softmax(s) @ np.tile(common, (9, 1)), np.tile(common, (6, 1)))
    muted = tempered(s, np.ones(6), np.full(9, 1e-9)) @ np.tile(common, (9, 1))
    np.testing.assert_allclose(muted, 1e-9 * np.tile(common, (6, 1)))
