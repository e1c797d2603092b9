"""Where the simplified sink dynamics can stop: a line of zero loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.active_dormant import draw, flow

statement = (
    "For every common sink logit a the value beta = c - e^{-a} (zbar - mean(zbar)) has loss zero, "
    "so (a, beta) is stationary and growth stops at a finite logit. In beta the loss is convex, "
    "and the mean of beta never moves."
)
reference = "guo2024, the stable phase; the zero loss and the conserved mean are derived here"
falsified_by = "a positive loss on the line, a chord below the loss, or a mean that drifts"


def claim(seed: int = 0, a: float = 1.0, mean: float = 0.0):
    """Loss and gradients at a point of the line, against zero."""
    sink = draw(seed)
    alpha, beta = np.full(4, a), sink.drained(a, mean)
    d_alpha, d_beta = sink.gradients(alpha, beta)
    return np.array([sink.loss(alpha, beta), *d_alpha, *d_beta]), np.zeros(13), 1e-12


@given(st.integers(0, 10_000), st.floats(-3, 8), st.floats(-5, 5))
def test_the_line_has_zero_loss_and_no_gradient(seed: int, a: float, mean: float) -> None:
    computed, theory, tolerance = claim(seed, a, mean)
    np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)


@given(st.integers(0, 10_000), st.floats(-3, 5), st.floats(0.01, 1))
def test_points_beside_the_line_have_a_positive_loss(seed: int, a: float, size: float) -> None:
    """Off the line the loss is positive: for another centred value, and for unequal logits."""
    sink = draw(seed)
    rng = np.random.default_rng(seed)
    away = rng.standard_normal(8)
    away *= size / np.linalg.norm(away - away.mean())
    assert sink.loss(np.full(4, a), sink.drained(a) + away) > 1e-13
    assert sink.loss(a + size * np.arange(4), sink.drained(a)) > 1e-13


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_loss_is_convex_in_the_value(seed: int, weight: float) -> None:
    sink = draw(seed)
    rng = np.random.default_rng(seed)
    alpha = 2 * rng.standard_normal(4)
    one, other = 10 * rng.standard_normal((2, 8))
    between = sink.loss(alpha, weight * one + (1 - weight) * other)
    chord = weight * sink.loss(alpha, one) + (1 - weight) * sink.loss(alpha, other)
    assert between <= chord + 1e-12 * max(1.0, chord)


@given(st.integers(0, 10_000))
def test_the_gradient_in_the_value_is_centred(seed: int) -> None:
    sink = draw(seed)
    rng = np.random.default_rng(seed)
    _, d_beta = sink.gradients(2 * rng.standard_normal(4), 10 * rng.standard_normal(8))
    assert abs(d_beta.sum()) < 1e-14 and np.abs(d_beta).max() > 1e-6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_joint_flow_keeps_the_mean_and_draws_the_logits_together(seed: int) -> None:
    sink = draw(seed)
    start = np.random.default_rng(seed + 100).random(4)
    run = flow(sink, start, np.arange(8.0), np.array([0.0, 1e3, 1e5]))
    np.testing.assert_allclose(run.beta.mean(axis=1), 3.5, atol=1e-9)
    spread = np.ptp(run.alpha, axis=1)
    assert spread[2] < 1e-8 < spread[0]
    np.testing.assert_allclose(run.beta[2], sink.drained(run.alpha[2].mean(), 3.5), atol=1e-5)


@given(st.integers(0, 50))
def test_a_large_logit_has_a_small_value_and_the_other_way_round(seed: int) -> None:
    """Mutual reinforcement: |centred beta| = e^{-a} |zbar - mean| on the line."""
    sink = draw(seed)
    sizes = [np.linalg.norm(sink.drained(a)) for a in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(np.diff(np.log(sizes)), -1, rtol=1e-12)
    # and a smaller value pushes the logits harder: d alpha = share (p - q)'(W beta - zbar)
    alpha = np.full(4, 2.0)
    pushes = [-sink.gradients(alpha, k * sink.drained(2.0))[0].sum() for k in (0.0, 0.5, 1.0)]
    assert pushes[0] > pushes[1] > pushes[2] > -1e-12
