"""Gradient steps with a matrix on correlated covariates: the best one, and its risk."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import icl_optimal, icl_risk
from dsf.solvers.icl.estimators import debiased_step, gradient_step, measured, softmax_heads
from dsf.solvers.icl.prompts import Prompts, decaying

statement = (
    "For x ~ N(0, Lam), beta ~ N(0, Psi) the predictor x_q'G (1/L) sum y x has the risk s2 + "
    "tr(Lam [Psi - G Lam Psi - Psi Lam G' + G M G']), M = (1+1/L) Lam Psi Lam + (tr(Lam Psi) + "
    "s2)/L Lam, least at G* = Psi Lam M^-1; for Psi = psi I, G* = ((1+1/L) Lam + (tr Lam + "
    "s2/psi)/L)^-1. On centred covariates M = n(n+1)/L^2 Lam Psi Lam + n/L^2 (tr(Lam Psi) + s2) "
    "Lam with n/L before G Lam Psi: the limit of softmax heads with KQ = +-eps G."
)
reference = "zhang2023; ahn2023; wu2023; derived: the centred one"
falsified_by = "a gradient at G* that is not zero, or a mean further than four standard errors away"

LAM = decaying(5, 0.5)
P = Prompts(5, 40, 0.1, LAM)
PLAIN, CENTRED = "preconditioned_gd", "preconditioned_debiased_gd"


def best(method: str) -> np.ndarray:
    G = icl_optimal(method, 5, 40, 0.1, covariance=LAM).G
    assert G is not None
    return G


def estimators() -> dict:
    G, H = best(PLAIN), best(CENTRED)
    eps = 0.02
    heads = np.array([eps * H, -eps * H])
    return {
        PLAIN: lambda x: gradient_step(x, G),
        CENTRED: lambda x: debiased_step(x, H),
        "pair": lambda x: softmax_heads(x, heads, [1 / (2 * eps), -1 / (2 * eps)]),
    }


def claim(count: int = 20_000):
    """Means of the two best predictors and of a softmax pair, against the exact risks."""
    found = measured(estimators(), P, 0, count)
    theory = {k: icl_risk(k, 5, 40, 0.1, covariance=LAM).value for k in (PLAIN, CENTRED)}
    theory["pair"] = theory[CENTRED]  # up to O(eps^2)
    return [(found[k][0], theory[k], 4 * found[k][1]) for k in theory]


def test_monte_carlo() -> None:
    for computed, theory, tolerance in claim():
        assert abs(computed - theory) <= tolerance


@pytest.mark.slow
def test_all_batches_of_the_reference() -> None:
    found = measured(estimators(), P, 0, 200_000)
    for name, value in ((PLAIN, 0.23468), (CENTRED, 0.23738), ("pair", 0.23738)):
        assert found[name][0] == pytest.approx(value, abs=6e-6)
        assert found[name][1] == pytest.approx(0.0009, abs=6e-5)


def test_reference_numbers() -> None:
    for method, value in ((PLAIN, 0.2339271), (CENTRED, 0.2367709)):
        found = icl_risk(method, 5, 40, 0.1, covariance=LAM).value
        assert found == pytest.approx(value, abs=6e-8)
    known = [0.407170, 0.715027, 1.183290, 1.649786, 1.973418]
    np.testing.assert_allclose(np.linalg.eigvalsh(best(PLAIN)), known, atol=6e-7)


def test_the_isotropic_step_costs_much() -> None:
    """G = I/(1 + cd) on these covariates: .8433 plain and .7974 centred, against .234."""
    eta = 1 / (1 + 0.0275 * 5)
    steps = {"gd": gradient_step, "debiased_gd": debiased_step}
    run = {k: (lambda x, f=f: f(x, eta)) for k, f in steps.items()}
    found = measured(run, P, 0, 100_000)
    for method, value in (("gd", 0.84334), ("debiased_gd", 0.79737)):
        exact = icl_risk(method, 5, 40, 0.1, step=eta, covariance=LAM).value
        assert exact == pytest.approx(value, abs=6e-6)
        assert abs(found[method][0] - exact) <= 4 * found[method][1]


@pytest.mark.parametrize("method", [PLAIN, CENTRED])
def test_no_other_matrix_is_better(method: str) -> None:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 4, 4))
    Lam, Psi = A @ A.T, B @ B.T
    options = {"covariance": Lam, "prior": Psi}
    found = icl_optimal(method, 4, 6, 0.3, **options)
    assert found.G is not None
    for size in (1e-3, 0.1):
        for _ in range(10):
            G = found.G + size * rng.standard_normal((4, 4))
            assert icl_risk(method, 4, 6, 0.3, G=G, **options).value > found.value
    least = (
        0.3
        + np.trace(Lam @ Psi)
        - np.trace(Lam @ found.G @ Lam @ Psi) * (1.0 if method == PLAIN else 5 / 6)
    )
    assert found.value == pytest.approx(least, rel=1e-10)


def test_the_short_form_for_a_round_prior() -> None:
    Lam = decaying(3, 0.7)
    G = icl_optimal(PLAIN, 3, 8, 0.2, covariance=Lam, prior=0.5 * np.eye(3)).G
    short = np.linalg.inv((1 + 1 / 8) * Lam + (3 + 0.2 / 0.5) / 8 * np.eye(3))
    np.testing.assert_allclose(G, short, rtol=1e-11)


def test_the_shape_of_zhang_et_al() -> None:
    """Noise-free, beta ~ N(0, I): the prediction is x_q'Gam^-1 (1/M) sum y x with
    Gam = (1 + 1/N) Lam + tr(Lam)/N I; trained at N and used at M, its bias stays as M grows."""
    Lam, N = decaying(3, 0.5), 20
    options = {"covariance": Lam, "prior": np.eye(3)}
    G = icl_optimal(PLAIN, 3, N, 0.0, **options).G
    np.testing.assert_allclose(G, np.linalg.inv((1 + 1 / N) * Lam + 3 / N * np.eye(3)), rtol=1e-11)
    at = [icl_risk(PLAIN, 3, N, 0.0, test_length=M, **options).value for M in (10**3, 10**6, 10**9)]
    E = np.eye(3) - G @ Lam
    assert at[2] == pytest.approx(np.trace(Lam @ E @ E.T), rel=1e-7) and at[2] > 0.01
    assert at[0] > at[1] > at[2]


def test_a_covariance_of_lower_rank() -> None:
    """What lies outside the span of the covariates is neither predicted nor needed."""
    thin = np.diag([1.0, 2.0, 0.0])
    for method in (PLAIN, CENTRED):
        small = {"covariance": np.diag([1.0, 2.0]), "prior": np.eye(2) / 3}
        whole = icl_optimal(method, 3, 7, 0.1, covariance=thin)
        assert whole.value == pytest.approx(icl_optimal(method, 2, 7, 0.1, **small).value)
        assert whole.G is not None and np.abs(whole.G[2]).max() < 1e-12
