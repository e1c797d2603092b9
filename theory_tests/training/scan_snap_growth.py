"""Growth of one common token's logit: the closed form, and the two phases it contains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.scan_snap import FIGURE, growth, growth_numerically, logit

statement = (
    "With one common token, B(t) = (1/4) log(1 + 2K(M-1)^2/(M^2 C0) (eta_Z/eta_Y) u(t)^2) with "
    "e^u + (M-1)u = 1 + M eta_Y t/K: log t while u is small (scanning), log log t later (snapping)."
)
reference = "tian2023, theorem 4 (its two expressions are the limits); closed form derived here"
falsified_by = "an integration of the two differential equations that leaves the closed form"

TIMES = np.array([1.0, 10, 50, 100, 200, 400, 700, 1e4, 1e6])
# B at TIMES for M = 1000, K = 10, eta_Z = 0.5, C0 = 1 (reference values, five digits)
KNOWN = {
    0.5: [0.01217, 0.44740, 1.20687, 1.54101, 1.77126, 1.86255, 1.90592, 2.03465, 2.18602],
    1.0: [0.02378, 0.59869, 1.36825, 1.59818, 1.68941, 1.74142, 1.77365, 1.88767, 2.03195],
    2.0: [0.04549, 0.75961, 1.42531, 1.51641, 1.56837, 1.60753, 1.63465, 1.73922, 1.87720],
    5.0: [0.10115, 0.97005, 1.30710, 1.35349, 1.39021, 1.42203, 1.44549, 1.54121, 1.67172],
}


def claim(eta_Y: float = 1.0, M: int = 1000, K: int = 10, eta_Z: float = 0.5, C0: float = 1.0):
    """The closed form against the integrated equations, at times up to 1e6."""
    computed = growth_numerically(TIMES, eta_Y, eta_Z, K, M, C0)
    return computed, growth(TIMES, eta_Y, eta_Z, K, M, C0), 1e-8


@pytest.mark.parametrize("eta_Y", KNOWN)
def test_closed_form_solves_the_equations(eta_Y: float) -> None:
    computed, theory, tolerance = claim(eta_Y)
    np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)
    np.testing.assert_allclose(theory, KNOWN[eta_Y], rtol=0, atol=6e-6)


@pytest.mark.parametrize(("M", "K"), [(50, 3), (1000, 10), (100_000, 30)])
def test_other_sizes(M: int, K: int) -> None:
    computed, theory, tolerance = claim(2.0, M, K)
    np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)


def test_phases() -> None:
    early, late = np.array([1e-6, 1e-5]), np.array([1e12, 1e14])
    K, M = FIGURE["K"], FIGURE["M"]
    np.testing.assert_allclose(logit(early, 1.0, 10, 1000), early / K, rtol=1e-5)
    np.testing.assert_allclose(logit(late, 1.0, 10, 1000), np.log(M * late / K), rtol=1e-3)


@pytest.mark.parametrize("C0", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("eta_Y", [0.5, 5.0])
def test_the_two_expressions_of_the_paper_are_its_limits(eta_Y: float, C0: float) -> None:
    """Up to (1/4) log C0, by which they differ from zero at t = 0."""
    K, M, eta_Z = 10, 100_000, 0.5
    turn = K * np.log(M) / eta_Y
    scale = 2 * K * (M - 1) ** 2 / M**2
    t = np.array([1e-4, 1e-2, 0.1]) * turn
    scanning = np.log(C0 + scale / K**2 * eta_Y * eta_Z * t**2) / 4
    found = growth(t, eta_Y, eta_Z, K, M, C0)
    np.testing.assert_allclose(found, scanning - np.log(C0) / 4, atol=1e-3)
    t = np.array([1e6, 1e9]) * turn
    snapping = np.log(C0 + scale * eta_Z / eta_Y * np.log(M * eta_Y * t / K) ** 2) / 4
    found = growth(t, eta_Y, eta_Z, K, M, C0)
    np.testing.assert_allclose(found, snapping - np.log(C0) / 4, atol=1e-3)


def test_fast_decoders_lead_early_and_end_lowest() -> None:
    curves = np.array([growth(TIMES, e, 0.5, 10, 1000, 1.0) for e in KNOWN])
    assert np.all(np.diff(curves[:, 0]) > 0)
    assert np.all(np.diff(curves[:, -1]) < 0)


def test_neighbouring_curves_cross_once() -> None:
    t = np.geomspace(0.1, 1e6, 2000)
    curves = np.array([growth(t, e, 0.5, 10, 1000, 1.0) for e in KNOWN])
    leads = np.diff(curves, axis=0) > 0
    assert np.all(leads[:, 0]) and not leads[:, -1].any()
    assert np.all((leads[:, 1:] != leads[:, :-1]).sum(axis=1) == 1)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(1.1, 10), st.floats(0.1, 1e5))
def test_faster_attention_or_both_faster_ends_sparser(
    eta_Y: float, eta_Z: float, factor: float, t: float
) -> None:
    base = growth(np.array(t), eta_Y, eta_Z, 10, 1000, 1.0)
    assert growth(np.array(t), eta_Y, factor * eta_Z, 10, 1000, 1.0) > base
    assert growth(np.array(t), factor * eta_Y, factor * eta_Z, 10, 1000, 1.0) > base
