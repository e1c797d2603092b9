"""Ridge and Bayes: quadrature for one covariate, a mean over Wishart matrices for more."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import icl_optimal, icl_risk
from dsf.solvers.icl.estimators import least_squares, measured, ridge
from dsf.solvers.icl.prompts import Prompts, decaying

statement = (
    "Bayes is ridge with the penalty s2 d on X'X and has the risk s2 + s2 E tr(X'X + s2 d)^-1; "
    "for d = 1 it is s2 + s2 int_0^inf e^(-s2 t) (1+2t)^(-L/2) dt. In the limit d/L = xi it is "
    "(s2 + (xi-1)/xi + sqrt(4 s2 + (s2 + (1-xi)/xi)^2))/2. The best gradient step is within a "
    "bounded factor of it, near 1 for s2 of order 1 and xi <= 1."
)
reference = "he2025, the limit (published code); derived: the integral"
falsified_by = "a reference value missed, or a mean further than four standard errors away"

# d = 5, s2 = 0.1: generator 1, (40000, L, 5) normal numbers for L = 10, 20, 40, 100 in this order
REFERENCE = {10: 0.19591, 20: 0.13393, 40: 0.114459, 100: 0.105288}
LIMIT = {10: 0.18443, 20: 0.13193, 40: 0.114057, 100: 0.105234}
ONE = {5: 0.1310441739, 40: 0.1026242904}  # d = 1, s2 = 0.1


def limit(xi: float, s2: float) -> float:
    """The risk of Bayes as d and L grow with d/L = xi."""
    root = np.sqrt(4 * s2 + (s2 + (1 - xi) / xi) ** 2)
    return float((s2 + (xi - 1) / xi + root) / 2)


def claim(L: int = 5):
    """The quadrature at d = 1 against 200 000 draws of X, within four standard errors."""
    exact = icl_risk("bayes", 1, L, 0.1)
    chi = np.random.default_rng(0).chisquare(L, 200_000)
    draws = 0.1 + 0.1 / (chi + 0.1)
    return exact.value, draws.mean(), 4 * draws.std() / len(draws) ** 0.5


@pytest.mark.parametrize("L", [1, 2, 5, 40])
def test_quadrature_against_draws(L: int) -> None:
    computed, theory, tolerance = claim(L)
    assert abs(computed - theory) <= tolerance


def test_reference_numbers() -> None:
    for L, value in ONE.items():
        found = icl_risk("bayes", 1, L, 0.1)
        assert found.kind == "quadrature" and found.value == pytest.approx(value, abs=6e-11)
    rng = np.random.default_rng(1)
    for L, value in REFERENCE.items():
        found = icl_risk("bayes", 5, L, 0.1, samples=40_000, seed=rng)
        assert found.value == pytest.approx(value, abs=6e-7 if L >= 40 else 6e-6)
        if L == 40:
            assert found.kind == "monte_carlo" and found.error == pytest.approx(8e-6, abs=5e-7)
        assert limit(5 / L, 0.1) == pytest.approx(LIMIT[L], abs=6e-6 if L < 40 else 6e-7)


@pytest.mark.parametrize(("d", "L"), [(1, 3), (3, 2), (3, 3), (4, 9)])
def test_bayes_is_the_best_ridge(d: int, L: int) -> None:
    s2 = 0.4
    bayes = icl_risk("bayes", d, L, s2, samples=2000)
    same = icl_risk("ridge", d, L, s2, penalty=s2 * d, samples=2000)  # the same draws
    assert same.value == pytest.approx(bayes.value, rel=1e-9)
    for factor in (0.3, 3.0):
        other = icl_risk("ridge", d, L, s2, penalty=factor * s2 * d, samples=2000)
        assert other.value > bayes.value


@pytest.mark.parametrize("penalty", [0.02, 0.1, 2.0])
def test_ridge_for_one_covariate_against_its_own_monte_carlo(penalty: float) -> None:
    exact = icl_risk("ridge", 1, 4, 0.3, penalty=penalty, covariance=[[2.0]], prior=[[0.5]])
    prompts = Prompts(1, 4, 0.3, np.array([[2.0]]), np.array([[0.5]]))
    mean, error = measured({"ridge": lambda x: ridge(x, penalty)}, prompts, 0, 40_000)["ridge"]
    assert exact.kind == "quadrature" and abs(mean - exact.value) <= 4 * error


def test_correlated_covariates_against_the_estimators() -> None:
    Lam, Psi = decaying(3, 0.5), np.diag([1.0, 0.5, 0.0])
    prompts = Prompts(3, 5, 0.2, Lam, Psi)
    found = measured({"ridge": lambda x: ridge(x, 0.7)}, prompts, 0, 20_000)["ridge"]
    same = icl_risk("ridge", 3, 5, 0.2, penalty=0.7, covariance=Lam, prior=Psi, seed=3)
    assert abs(found[0] - same.value) <= 4 * np.hypot(found[1], same.error)
    bayes = icl_risk("bayes", 3, 5, 0.2, covariance=Lam, prior=Psi, seed=3)
    assert bayes.value < same.value
    short = Prompts(3, 1, 0.2, Lam, Psi)
    found = measured({"ols": least_squares}, short, 0, 40_000)["ols"]
    exact = icl_risk("ols", 3, 1, 0.2, covariance=Lam, prior=Psi, samples=100_000)
    assert exact.kind == "monte_carlo"
    assert abs(found[0] - exact.value) <= 4 * np.hypot(found[1], exact.error)


def test_the_best_step_is_near_bayes_for_noise_of_order_one_only() -> None:
    """3.4444 and 3.4051 in the limit at s2 = 3, xi = 0.2; at s2 = 0.1 the factor is 2."""
    step = 3 + 4 * 0.2 / (1 + 4 * 0.2)
    assert step == pytest.approx(3.4444, abs=6e-5)
    assert limit(0.2, 3.0) == pytest.approx(3.4051, abs=6e-5)
    # their Monte Carlo at L = 100 (d = 20), 50 000 runs
    assert icl_optimal("debiased_gd", 20, 100, 3.0).value == pytest.approx(3.4419, rel=0.02)
    assert icl_risk("bayes", 20, 100, 3.0, samples=500).value == pytest.approx(3.4038, rel=0.02)
    small = icl_optimal("gd", 5, 40, 0.1).value / icl_risk("bayes", 5, 40, 0.1, samples=2000).value
    assert small == pytest.approx(0.2398 / 0.1145, abs=2e-3)
