"""The forced residual norm: quartic root of log^2 t under gradient steps, far beyond with Adam."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.dynamics.residual_toy import forced, forced_flow, train

statement = (
    "With the gradient log(t)/(t m^3) the norm under its flow is (m0^4 + 2 rate log^2 t)^{1/4}, "
    "which hardly moves. Adam divides by the size of the gradient and grows, at no steady rate: "
    "faster and faster until the gradient is below the eps of its denominator, which stops it."
)
reference = "guo2024, the residual toy of the public code; the closed form is derived here"
falsified_by = "gradient steps that leave the closed form, or an Adam path of constant slope"


def claim(steps: int = 10_000, start: float = 10.0, rate: float = 0.3):
    """m after gradient steps against the closed form of the flow.

    The sum of log(t)/t differs from its integral by the Stieltjes constant, -0.0728 in the limit.
    """
    tolerance = 0.08 * rate / start**3
    return (
        forced("sgd", steps, start, rate)[-1],
        forced_flow(np.array(steps), start, rate),
        tolerance,
    )


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_gradient_steps_follow_the_closed_form(rate: float) -> None:
    computed, theory, tolerance = claim(rate=rate)
    assert abs(computed - theory) <= tolerance


def test_reference_values() -> None:
    adam = forced("adam", 10_000)
    found = adam[[100, 1000, 2500, 5000, 10_000]]
    np.testing.assert_allclose(found, [19.5, 27.9, 33.6, 41.6, 64.0], atol=0.06)
    # while the closed form of the flow has moved by 0.0127 in all


def test_adam_grows_at_no_steady_rate() -> None:
    """Its slope rises from 0.0032 to 0.008 and falls below a twentieth of that: eps takes over."""
    marks = np.array([2500, 5000, 7500, 10_000, 14_000, 16_000, 90_000, 100_000])
    slopes = (np.diff(forced("adam", 100_000)[marks]) / np.diff(marks))[::2]
    np.testing.assert_allclose(slopes, [0.003210, 0.005096, 0.007955, 0.000344], rtol=2e-3)


@pytest.mark.parametrize(
    ("optimiser", "known"),
    [
        ("sgd", {1000: (4.83, 1.82), 10_000: (7.16, 2.36), 100_000: (9.48, 2.81)}),
        ("adam", {1000: (2.43, 2.03), 10_000: (7.90, 4.42), 100_000: (23.8, 7.53)}),
    ],
)
def test_two_letters(optimiser: str, known: dict[int, tuple[float, float]]) -> None:
    path = train(optimiser, 100_000)
    for step, pair in known.items():
        np.testing.assert_allclose(path[step], pair, rtol=3e-3)


def test_the_logit_grows_like_the_logarithm_of_time_under_gradient_steps() -> None:
    """loss = e^{-y nu} with nu -> 1 gives y' = e^{-y}: one ln 10 per decade."""
    y = train("sgd", 100_000)[:, 0]
    np.testing.assert_allclose(np.diff(y[[1000, 10_000, 100_000]]), np.log(10), rtol=0.02)


def test_the_end_of_the_growth_is_the_eps_of_adam() -> None:
    """Without it y grows on at one rate; with it y stops near the y at which e^{-y} = 1e-8."""
    bare = train("adam without eps", 100_000)[:, 0]
    assert bare[100_000] - bare[60_000] == pytest.approx(bare[60_000] - bare[20_000], rel=0.01)
    y = train("adam", 100_000)[:, 0]
    reached = np.searchsorted(y, np.log(1e8))
    np.testing.assert_allclose(y[: reached // 2], bare[: reached // 2], rtol=1e-4)
    assert y[100_000] - y[60_000] < 0.1 * (bare[100_000] - bare[60_000])
