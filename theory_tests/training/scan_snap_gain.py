"""Relative gain of distinct tokens: exact in the reduced flow, approximate in the full one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dsf.solvers.dynamics.scan_snap import Classes, Flow, example, full_flow, reduced_flow
from dsf.solvers.heads.attention_metrics import entropy

statement = (
    "For distinct tokens l, l' of one class, f_l^2/f_l'^2 - 1 grows by the factor e^{2 z_l}, which "
    "depends on l only; for the dominating l0, if it is the largest token of its class, common "
    "ones included, e^{2 f_l0(0)^2 B} <= e^{2 z_l0} <= e^{2 B}."
)
reference = "tian2023, theorem 3"
falsified_by = "two tokens l' with different factors, or a crossed bound"

TIMES = np.array([0.0, 1.0, 8e2, 8e4, 1e7])


def factors(classes: Classes, flow: Flow) -> tuple[np.ndarray, np.ndarray]:
    """(r(t)/r(0) for all other distinct tokens of class 0 [times l'], e^{2 z_l0} [times])."""
    own = np.flatnonzero(~classes.common & (classes.P[0] > 0))
    lead, rest = own[-1], own[:-1]
    ratio = np.array(
        [(c[lead] / c[rest]) ** 2 - 1 for c in (classes.attention(z)[0] for z in flow.z)]
    )
    return ratio / ratio[0], np.exp(2 * flow.z[:, 0, lead])


@cache
def reduced(eta_Y: float, eta_Z: float = 1.0) -> Flow:
    """The reduced flow of the example at TIMES."""
    return reduced_flow(example(), eta_Y, eta_Z, TIMES)


def claim(eta_Y: float = 1.0, eta_Z: float = 1.0):
    """The largest relative departure from the identity over five times, against zero."""
    gain, chi = factors(example(), reduced(eta_Y, eta_Z))
    return np.abs(gain / chi[:, None] - 1).max(), 0.0, 1e-8


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
def test_identity_is_exact_in_the_reduced_flow(eta_Y: float) -> None:
    computed, theory, tolerance = claim(eta_Y)
    assert abs(computed - theory) <= tolerance


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
def test_two_sided_bound(eta_Y: float) -> None:
    classes, flow = example(), reduced(eta_Y)
    _, chi = factors(classes, flow)
    c = classes.P[0]
    own = np.flatnonzero(~classes.common & (c > 0))
    start = c[own[-1]] ** 2 / np.sum(c**2)
    slack = 1e-9
    assert np.all(np.exp(2 * start * flow.B[:, 0]) <= chi * (1 + slack))
    assert np.all(chi <= np.exp(2 * flow.B[:, 0]) * (1 + slack))


def test_a_larger_common_token_breaks_the_lower_bound() -> None:
    """Token 2 dominates the distinct ones of class 0; token 0 is common and larger."""
    classes = Classes(np.array([[0.6, 0.2, 0.15, 0.05, 0, 0], [0.01, 0.5, 0, 0, 0.39, 0.1]]))
    flow = reduced_flow(classes, 1.0, 10.0, np.array([0.0, 1e4]))
    start = classes.P[0, 2] ** 2 / np.sum(classes.P[0] ** 2)
    found = 2 * flow.z[-1, 0, 2], 2 * start * flow.B[-1, 0]
    np.testing.assert_allclose(found, [0.078, 0.257], rtol=5e-3)
    shared = Classes(np.array([[0.3, 0.5, 0.2, 0, 0], [0.3, 0, 0, 0.6, 0.1]]))
    flow = reduced_flow(shared, 1.0, 10.0, np.array([0.0, 1e4]))
    start = shared.P[0, 1] ** 2 / np.sum(shared.P[0] ** 2)
    assert 0 < 2 * start * flow.B[-1, 0] <= 2 * flow.z[-1, 0, 1]


def test_bound_of_the_slow_decoder() -> None:
    """At eta_Y = 1, t = 8e4 the gain lies far from both bounds."""
    classes = example()
    flow = reduced_flow(classes, 1.0, 1.0, np.array([0.0, 8e4]))
    _, chi = factors(classes, flow)
    start = classes.P[0, 11] ** 2 / np.sum(classes.P[0] ** 2)
    B = flow.B[-1, 0]
    found = [np.exp(2 * start * B), chi[-1], np.exp(2 * B)]
    np.testing.assert_allclose(found, [3.93, 148.4, 9.6e4], rtol=5e-3)


def test_first_gain_is_that_of_the_probabilities() -> None:
    """With Z(0) = 0, r(0) = (P(l0|n)/P(l|n))^2 - 1 for the attention and for f alike."""
    classes = example()
    c = classes.attention(np.zeros(classes.P.shape))[0]
    f = c / np.linalg.norm(c)
    P = classes.P[0]
    for own in range(6, 11):
        expected = (P[11] / P[own]) ** 2 - 1
        assert (f[11] / f[own]) ** 2 - 1 == pytest.approx(expected, rel=1e-12)


# spread (standard deviation over mean) of the gain over l', at t = 8, 8e2, 8e4
SPREAD = {1.0: (0.0027, 0.473, 0.693), 10.0: (0.0139, 0.1415, 0.288), 100.0: (0.0023, 0.016, 0.041)}


@pytest.mark.parametrize("eta_Y", SPREAD)
def test_the_full_flow_keeps_the_identity_only_for_fast_decoders_and_short_times(
    eta_Y: float,
) -> None:
    classes = example()
    flow = full_flow(classes, eta_Y, 1.0, np.array([0.0, 8.0, 8e2, 8e4]))
    gain, chi = factors(classes, flow)
    spread = gain.std(axis=1) / gain.mean(axis=1)
    np.testing.assert_allclose(spread[1:], SPREAD[eta_Y], rtol=0.03)
    if eta_Y == 100.0:
        assert np.abs(gain[1] / chi[1] - 1).max() < 0.01


def test_larger_decoder_rates_freeze_denser() -> None:
    classes = example()
    times = np.array([0.0, 1e5])
    first, final = [], []
    for eta_Y in (1.0, 3.0, 10.0, 30.0, 100.0):
        c = classes.attention(full_flow(classes, eta_Y, 1.0, times).z)[:, 0]
        first.append(entropy(c[0]))
        final.append(entropy(c[1]))
    assert np.all(np.diff(final) > 0) and final[-1] < first[0]
    np.testing.assert_allclose(first, 2.3797, atol=1e-4)
    np.testing.assert_allclose(final[::2], [1.896, 2.185, 2.364], atol=1e-3)
