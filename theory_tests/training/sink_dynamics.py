"""Attention sinks in the simplified dynamics: growth, value drain, and where both stop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.active_dormant import draw, flow

statement = (
    "With the sink value pinned, its logits grow like (1/2) log(2 pi_v Var_{p_v}(zbar) t); with "
    "the logits pinned, the value drains exponentially to -e^{-a}(zbar - mean); with both free, "
    "the logits meet at a finite value and growth stops."
)
reference = "guo2024, the simplified Bigram-Backcopy dynamics; the constant is derived here"
falsified_by = "a slope other than 1/2, another constant or limit, or joint growth without bound"


def claim(seed: int = 0, t: float = 1e10):
    """Sink logits at time t with the value pinned at 0, against the law."""
    sink = draw(seed)
    run = flow(sink, np.zeros(4), np.zeros(8), np.array([0.0, t]), train="alpha")
    return run.alpha[-1], sink.logarithmic_law(np.array([t]))[0], 1e-3


def test_gradients_are_derivatives_of_the_loss() -> None:
    sink, rng = draw(0), np.random.default_rng(1)
    alpha, beta = rng.standard_normal(4), rng.standard_normal(8)
    for which, index in ((0, 2), (1, 5)):
        e = [np.zeros(4), np.zeros(8)]
        e[which][index] = 1e-6
        up, down = (sink.loss(alpha + s * e[0], beta + s * e[1]) for s in (1, -1))
        slope = (up - down) / 2e-6
        assert sink.gradients(alpha, beta)[which][index] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("c", [0.0, 0.7])
def test_pinned_value_gives_slope_one_half_and_the_constant(c: float) -> None:
    sink = draw(0)
    times = np.array([0.0, 1e8, 1e10])
    run = flow(sink, np.zeros(4), np.full(8, c), times, train="alpha")
    slope = (run.alpha[2] - run.alpha[1]) / np.log(100)
    np.testing.assert_allclose(slope, 0.5, atol=5e-3)
    np.testing.assert_allclose(run.alpha[2], sink.logarithmic_law(times[2:])[0], atol=1e-3)


def test_reference_values_of_the_pinned_flow() -> None:
    """Before e^alpha is far above W the slope exceeds one half; the constant value drops out."""
    sink = draw(0)
    times = np.array([0.0, 1e4, 1e6, 1e8, 1e10])
    runs = [flow(sink, np.zeros(4), np.full(8, c), times, train="alpha") for c in (0.0, 0.7)]
    np.testing.assert_allclose(runs[0].alpha, runs[1].alpha, atol=1e-6)
    slow = np.array(
        [-t * sink.gradients(a, np.zeros(8))[0][0]
         for t, a in zip(times, runs[0].alpha, strict=True)]
    )  # fmt: skip
    np.testing.assert_allclose(slow[1:], [2.178, 0.5292, 0.50233, 0.50023], rtol=2e-4)
    known = [11.0795, 12.0943, 12.0284, 11.8371]
    np.testing.assert_allclose(runs[0].alpha[-1], known, atol=6e-5)
    law = sink.logarithmic_law(times[-1:])[0]
    np.testing.assert_allclose(law, [11.0799, 12.0945, 12.0285, 11.8373], atol=6e-5)


@pytest.mark.parametrize("a", [0.0, 1.5])
def test_pinned_logits_drain_the_value(a: float) -> None:
    sink = draw(0)
    rate = sink.drain_rate(a)
    times = np.array([0.0, 15 / rate, 18 / rate, 45 / rate])
    run = flow(sink, np.full(4, a), np.zeros(8), times, train="beta")
    left = np.linalg.norm(run.beta - sink.drained(a), axis=1)
    assert np.log(left[1] / left[2]) / (times[2] - times[1]) == pytest.approx(rate, rel=1e-2)
    assert left[3] < 1e-7 * left[0]
    np.testing.assert_allclose(run.beta.mean(axis=1), 0, atol=1e-9)
    known = {0.0: (4.45e-4, 6.3417), 1.5: (5.151e-3, 1.4150)}[a]
    assert rate == pytest.approx(known[0], rel=2e-3)
    assert np.linalg.norm(sink.drained(a)) == pytest.approx(known[1], abs=1e-4)


@given(st.integers(0, 2))
def test_joint_flow_stops_at_a_common_finite_logit(seed: int) -> None:
    sink = draw(seed)
    rng = np.random.default_rng(seed)
    rng.random(4 * 8 + 4 + 8)  # skip the numbers that `draw` took
    run = flow(sink, rng.random(4), np.zeros(8), np.array([0.0, 1e3, 1e5, 1e6]))
    assert np.ptp(run.alpha[2]) < 1e-8
    np.testing.assert_allclose(run.alpha[3], run.alpha[2], atol=1e-7)  # no growth any more
    assert run.alpha[2].mean() == pytest.approx([1.17502, 1.33916, 0.96429][seed], abs=1e-5)
    np.testing.assert_allclose(run.beta[2], sink.drained(run.alpha[2].mean()), atol=1e-4)
    assert sink.loss(run.alpha[2], run.beta[2]) < 1e-13
