"""The gradient that the decoder sends back: its size gamma(t) in closed form and in two regimes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.scan_snap import decoder_gain, logit
from dsf.solvers.heads.interventions import softmax

statement = (
    "With orthonormal f_n of K uniform classes and M outputs, Y (e_n - alpha_n) = gamma (iota f_n "
    "- beta sum_{n' != n} f_n') with iota = M/(M-1), beta = M/(M-1)^2, gamma = ((M-1)^2/M) u / "
    "(M-1+e^u) and e^u + (M-1) u = 1 + M eta_Y t/K: ((M-1)/M)^2 eta_Y t/K at first, "
    "((M-1)/M)^2 K log(M eta_Y t/K)/(eta_Y t) at the end."
)
reference = "tian2023, theorem 1; the closed form and the factors iota and beta are derived here"
falsified_by = "a gradient flow of the decoder that leaves the closed form, or another limit"

TIMES = np.array([0.0, 1.0, 10.0, 100.0, 1000.0, 1e4])


def flow(eta_Y: float, F: np.ndarray, M: int, t: np.ndarray) -> np.ndarray:
    """Y(e_n - alpha_n) [times tokens K] along Y' = eta_Y/K F (e_n - alpha_n)', F [tokens K]."""
    from scipy.integrate import solve_ivp

    d, K = F.shape

    def error(Y: np.ndarray) -> np.ndarray:
        return np.eye(K, M) - softmax(F.T @ Y)

    def right(_: float, y: np.ndarray) -> np.ndarray:
        return (eta_Y / K * F @ error(y.reshape(d, M))).ravel()

    run = solve_ivp(right, (0.0, t[-1]), np.zeros(d * M), "LSODA", t, rtol=1e-11, atol=1e-13)
    return np.array([(error(Y) @ Y.T).T for Y in run.y.T.reshape(-1, d, M)])


def orthonormal(K: int, d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, K)))[0]


def claim(K: int = 4, M: int = 30, eta_Y: float = 1.0, seed: int = 0):
    """The sent-back gradients of a decoder in flow, against gamma (iota f - beta sum f')."""
    F = orthonormal(K, 8, seed)
    gamma = decoder_gain(TIMES, eta_Y, K, M)[:, None, None]
    others = F.sum(1, keepdims=True) - F
    theory = gamma * (M / (M - 1) * F - M / (M - 1) ** 2 * others)
    return flow(eta_Y, F, M, TIMES), theory, 1e-9


@pytest.mark.parametrize(
    ("K", "M", "eta_Y"), [(2, 2, 1.0), (4, 4, 0.3), (4, 30, 1.0), (7, 50, 5.0)]
)
def test_closed_form(K: int, M: int, eta_Y: float) -> None:
    computed, theory, tolerance = claim(K, M, eta_Y)
    np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)
    assert np.abs(theory).max() > 0.1


def test_weak_correlation_is_a_small_error() -> None:
    """Classes that overlap by epsilon leave the closed form by O(epsilon)."""
    K, M, F = 4, 30, orthonormal(4, 8, 0)
    t = np.array([0.0, 10.0, 100.0])
    away = []
    for epsilon in (0.02, 0.04):
        G = F + epsilon * F.sum(1, keepdims=True)
        G /= np.linalg.norm(G, axis=0)
        others = G.sum(1, keepdims=True) - G
        gamma = decoder_gain(t, 1.0, K, M)[:, None, None]
        theory = gamma * (M / (M - 1) * G - M / (M - 1) ** 2 * others)
        away.append(np.abs(flow(1.0, G, M, t) - theory).max())
    assert 0 < away[0] < 0.2 and away[1] / away[0] == pytest.approx(2, rel=0.1)


@given(st.floats(0.05, 20), st.integers(2, 50), st.integers(2, 5000), st.floats(0.1, 1e6))
def test_integral(eta_Y: float, K: int, M: int, t: float) -> None:
    """int_0^t gamma = K (M-1)^2 u^2 / (2 M^2 eta_Y): gamma dt is a multiple of u du."""
    from scipy.integrate import quad

    u = float(logit(np.array(t), eta_Y, K, M))

    # by substitution dt = (M-1+e^u) K/(eta_Y M) du on the solver's own gamma
    def density(v: float) -> float:
        time = (np.expm1(v) + (M - 1) * v) * K / (M * eta_Y)
        gamma = float(decoder_gain(np.array(time), eta_Y, K, M))
        return gamma * (M - 1 + np.exp(v)) * K / (eta_Y * M)

    found = quad(density, 0, u, epsrel=1e-10)[0]
    assert found == pytest.approx(K * (M - 1) ** 2 * u**2 / (2 * M**2 * eta_Y), rel=1e-8)


@pytest.mark.parametrize("M", [200, 10_000, 1_000_000])
@pytest.mark.parametrize("eta_Y", [0.1, 0.9])
def test_two_regimes(M: int, eta_Y: float) -> None:
    """gamma over its two expressions stays in fixed bounds, whatever M."""
    K = 10
    turn = K * np.log(M) / eta_Y
    early = np.geomspace(1e-3, 1, 50) * turn
    ratio = decoder_gain(early, eta_Y, K, M) / (eta_Y * early / K)
    assert np.all((ratio > 0.3) & (ratio <= 1)) and ratio[0] > 0.98
    late = np.geomspace(2, 1e6, 50) * turn
    ratio = decoder_gain(late, eta_Y, K, M) / (K * np.log(M * eta_Y * late / K) / (eta_Y * late))
    # at twice the turn the ratio tends to 2 as M grows, and then falls to 1
    assert np.all((ratio > 0.99) & (ratio < 2.2)) and abs(ratio[-1] - 1) < 0.01


@pytest.mark.parametrize("M", [2, 3, 10, 200])
def test_the_two_ends_in_the_limit(M: int) -> None:
    """At M = 2 both have the factor 1/4."""
    K, factor = 10, ((M - 1) / M) ** 2
    t = np.array([1e-6, 1e-5])
    np.testing.assert_allclose(decoder_gain(t, 1.0, K, M), factor * t / K, rtol=1e-5)
    t = np.array([1e30, 1e60])
    late = factor * K * np.log(M * t / K) / t
    ratio = decoder_gain(t, 1.0, K, M) / late
    assert np.all(np.abs(ratio - 1) < 0.05 * M) and abs(ratio[1] - 1) < abs(ratio[0] - 1) + 1e-12


def test_the_logarithm_needs_the_factor_m() -> None:
    """With log(eta_Y t/K) in place of log(M eta_Y t/K) the ratio grows with M at the turn."""
    K, found = 10, []
    for M in (1e3, 1e6, 1e12, 1e24):
        t = 2 * K * np.log(M)
        found.append(float(decoder_gain(np.array(t), 1.0, K, int(M))) * t / (K * np.log(t / K)))
    assert np.all(np.diff(found) > 1.0) and found[-1] > 12
