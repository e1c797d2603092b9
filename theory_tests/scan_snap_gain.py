"""Relative gain of distinct tokens: exact in the reduced flow, approximate in the full one."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.attention_metrics import entropy
from dsf.solvers.scan_snap import Classes, Flow, example, full_flow, reduced_flow

statement = (
    "For distinct tokens l, l' of one class, f_l^2/f_l'^2 - 1 grows by the factor e^{2 z_l}, which "
    "depends on l only; for the dominating l0, e^{2 f_l0(0)^2 B} <= e^{2 z_l0} <= e^{2 B}. Common "
    "tokens lose attention, distinct ones gain it."
)
reference = "tian2023, theorems 2 and 3"
falsified_by = "two tokens l' with different factors, a crossed bound, or a common token that gains"

TIMES = np.array([0.0, 1.0, 8e2, 8e4, 1e7])


def factors(classes: Classes, flow: Flow) -> tuple[np.ndarray, np.ndarray]:
    """(r(t)/r(0) for all other distinct tokens of class 0 [times l'], e^{2 z_l0} [times])."""
    own = np.flatnonzero(~classes.common & (classes.P[0] > 0))
    lead, rest = own[-1], own[:-1]
    ratio = np.array(
        [(c[lead] / c[rest]) ** 2 - 1 for c in (classes.attention(z)[0] for z in flow.z)]
    )
    return ratio / ratio[0], np.exp(2 * flow.z[:, 0, lead])


def claim(eta_Y: float = 1.0, eta_Z: float = 1.0):
    """The largest relative departure from the identity over five times, against zero."""
    classes = example()
    gain, chi = factors(classes, reduced_flow(classes, eta_Y, eta_Z, TIMES))
    return np.abs(gain / chi[:, None] - 1).max(), 0.0, 1e-8


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
def test_identity_is_exact_in_the_reduced_flow(eta_Y: float) -> None:
    computed, theory, tolerance = claim(eta_Y)
    assert abs(computed - theory) <= tolerance


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
def test_two_sided_bound(eta_Y: float) -> None:
    classes = example()
    flow = reduced_flow(classes, eta_Y, 1.0, TIMES)
    _, chi = factors(classes, flow)
    c = classes.P[0]
    own = np.flatnonzero(~classes.common & (c > 0))
    start = c[own[-1]] ** 2 / np.sum(c**2)
    slack = 1e-9
    assert np.all(np.exp(2 * start * flow.B[:, 0]) <= chi * (1 + slack))
    assert np.all(chi <= np.exp(2 * flow.B[:, 0]) * (1 + slack))


@pytest.mark.parametrize("eta_Y", [1.0, 10.0, 100.0])
def test_signs_hold_in_the_full_flow(eta_Y: float) -> None:
    classes = example()
    z = full_flow(classes, eta_Y, 1.0, np.array([0.0, 8.0, 1e5])).z[1:]
    used = classes.P > 0
    assert np.all(z[:, used & classes.common] < 0)
    assert np.all(z[:, used & ~classes.common] > 0)


def test_the_full_flow_keeps_the_identity_only_for_fast_decoders_and_short_times() -> None:
    classes = example()
    spread = {}
    for eta_Y in (1.0, 100.0):
        flow = full_flow(classes, eta_Y, 1.0, np.array([0.0, 8.0, 8e2]))
        gain, _ = factors(classes, flow)
        spread[eta_Y] = np.ptp(gain, axis=1) / gain.mean(axis=1)
    assert spread[100.0][1] < 0.01
    assert spread[1.0][2] > 0.2


def test_larger_decoder_rates_freeze_denser() -> None:
    classes = example()
    times = np.array([0.0, 1e5])
    final = [
        entropy(classes.attention(full_flow(classes, eta_Y, 1.0, times).z[-1])[0])
        for eta_Y in (1.0, 10.0, 100.0)
    ]
    np.testing.assert_allclose(final, [1.896, 2.185, 2.364], atol=1e-3)
