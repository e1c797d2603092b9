"""Exact risks of gradient steps at finite length, against their short forms and Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from dsf.solvers import icl_optimal, icl_risk
from dsf.solvers.icl.estimators import (
    debiased_step,
    gradient_step,
    least_squares,
    measured,
    ridge,
    softmax_heads,
)
from dsf.solvers.icl.heads import best_values
from dsf.solvers.icl.prompts import Array, Drawn, Prompts

statement = (
    "For x ~ N(0, I), beta ~ N(0, I/d): one step eta has the risk 1 + s2 - 2 eta + eta^2 "
    "((L+d+1)/L + s2 d/L), least at L/(L+1+d(1+s2)); on centred covariates, with n = L-1, "
    "1 + s2 - 2 eta n/L + eta^2 (n(n+d+1) + s2 d n)/L^2, least at L/(L+d(1+s2)). For L > d+1 "
    "least squares has s2 (1 + d/(L-d-1)), for d > L+1 (1 - L/d) + s2 (1 + L/(d-L-1))."
)
reference = "derived from Wishart moments, for the estimators of he2025"
falsified_by = "a Monte Carlo mean further than four standard errors away"

P = Prompts(5, 40, 0.1)
ETA = 2 * 0.13 * 3.45
MU = float(best_values(P, [0.3, -0.3])[0])
HEADS = {  # heads: omega, mu
    "one head": ([5**-0.5], [1.6276947]),
    "one head, trained": ([0.5177], [1.5523]),
    "pair": ([0.13, -0.13], [3.45, -3.45]),
    "small pair": ([0.01, -0.01], [ETA / 0.02, -ETA / 0.02]),
    "wide pair": ([0.3, -0.3], [MU, -MU]),
}
ESTIMATORS: dict[str, Callable[[Drawn], Array]] = {
    **{k: partial(softmax_heads, omega=w, mu=m) for k, (w, m) in HEADS.items()},
    "gd": lambda x: gradient_step(x, ETA),
    "debiased_gd": lambda x: debiased_step(x, ETA),
    "ridge": lambda x: ridge(x, 0.5),
    "ols": least_squares,
}
# seed 0: of one batch of 2000, and of 100 batches
REFERENCE = {
    "one head": (0.395868, 0.410845),
    "one head, trained": (None, 0.407780),
    "pair": (0.232527, 0.243341),
    "small pair": (None, 0.243275),
    "wide pair": (None, 0.248815),
    "gd": (0.231565, 0.241518),
    "debiased_gd": (0.232303, 0.243277),
    "ridge": (0.113355, 0.114548),
    "ols": (0.113267, 0.114789),
}


def short_form(method: str, d: int, L: int, s2: float, eta: float = ETA) -> float:
    n = L - 1
    if method == "gd":
        return 1 + s2 - 2 * eta + eta**2 * ((L + d + 1) / L + s2 * d / L)
    if method == "debiased_gd":
        return 1 + s2 - 2 * eta * n / L + eta**2 * (n * (n + d + 1) + s2 * d * n) / L**2
    if L > d + 1:
        return s2 * (1 + d / (L - d - 1))
    return (1 - L / d) + s2 * (1 + L / (d - L - 1))


def claim(count: int = 20_000, seed: int = 0):
    """Monte Carlo means of the three estimators against the exact risks."""
    names = ("gd", "debiased_gd", "ols")
    found = measured({k: ESTIMATORS[k] for k in names}, P, seed, count)
    theory = {
        k: icl_risk(k, 5, 40, 0.1, **({} if k == "ols" else {"step": ETA})).value for k in names
    }
    return [(found[k][0], theory[k], 4 * found[k][1]) for k in names]


def test_monte_carlo() -> None:
    for computed, theory, tolerance in claim():
        assert abs(computed - theory) <= tolerance


@pytest.mark.parametrize("d", [1, 2, 5, 30])
@pytest.mark.parametrize("L", [1, 2, 7, 40])
@pytest.mark.parametrize("s2", [0.0, 0.1, 3.0])
def test_short_forms(d: int, L: int, s2: float) -> None:
    for method in ("gd", "debiased_gd"):
        for eta in (0.0, 0.5, 2.0):
            exact = icl_risk(method, d, L, s2, step=eta).value
            assert exact == pytest.approx(short_form(method, d, L, s2, eta), rel=1e-12, abs=1e-13)
    best = icl_optimal("gd", d, L, s2), icl_optimal("debiased_gd", d, L, s2)
    assert best[0].step == pytest.approx(L / (L + 1 + d * (1 + s2)), rel=1e-12)
    assert best[1].step == pytest.approx(L / (L + d * (1 + s2)), rel=1e-12)
    assert best[0].value == pytest.approx(1 + s2 - best[0].step, rel=1e-12)
    assert best[1].value == pytest.approx(1 + s2 - (L - 1) / (L + d * (1 + s2)), rel=1e-12)
    if abs(L - d) > 1:
        assert icl_risk("ols", d, L, s2).value == pytest.approx(short_form("ols", d, L, s2))
    elif s2 > 0:
        assert icl_risk("ols", d, L, s2).value == float("inf")


def test_least_norm_against_monte_carlo() -> None:
    exact = icl_risk("ols", 12, 5, 0.2).value
    mean, error = measured({"ols": least_squares}, Prompts(12, 5, 0.2), 0, 20_000)["ols"]
    assert abs(mean - exact) <= 4 * error


def test_one_batch_of_the_reference() -> None:
    known = {k: first for k, (first, _) in REFERENCE.items() if first is not None}
    found = measured({k: ESTIMATORS[k] for k in known}, P, 0, 2000)
    for name, value in known.items():
        assert found[name][0] == pytest.approx(value, abs=6e-7), name


@pytest.mark.slow
def test_all_batches_of_the_reference() -> None:
    found = measured(ESTIMATORS, P, 0, 200_000)
    for name, (_, value) in REFERENCE.items():
        assert found[name][0] == pytest.approx(value, abs=6e-7), name
    for name, error in (("one head", 0.0017), ("pair", 0.0009), ("ridge", 0.0004)):
        assert found[name][1] == pytest.approx(error, abs=6e-5)


def test_numbers_of_the_reference() -> None:
    for method, step, value in (
        ("gd", 0.897, 0.2413580), ("debiased_gd", 0.897, 0.2432117),
        ("gd", None, 0.239785), ("debiased_gd", None, 0.242857), ("ols", None, 0.1147059),
    ):  # fmt: skip
        found = icl_risk(method, 5, 40, 0.1, step=step).value
        assert found == pytest.approx(value, abs=6e-7)


def test_the_proportional_limit() -> None:
    """d/L = xi: both tend to s2 + (1+s2) xi / (1 + (1+s2) xi) at their best steps."""
    xi, s2 = 0.3, 0.5
    limit = s2 + (1 + s2) * xi / (1 + (1 + s2) * xi)
    for method in ("gd", "debiased_gd"):
        gaps = [abs(icl_risk(method, int(xi * L), L, s2).value - limit) for L in (100, 200, 400)]
        np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], 2.0, rtol=0.02)
