"""What centring the covariates costs: 1/L at the best steps; at one step it may win."""

from __future__ import annotations

import math

import pytest

from dsf.solvers import icl_optimal, icl_risk

statement = (
    "With zero-mean covariates the plain step is better than the debiased one at the best steps of "
    "both, for all d, L and s2: the least risks are 1 + s2 - L/(L+1+k) and 1 + s2 - (L-1)/(L+k), "
    "k = d(1+s2). At one step eta > 0 the debiased one is better if and only if eta (1 + k/(2L)) > "
    "1, for the risks differ by eta (2 L eta - 2 L + k eta)/L^2."
)
reference = "derived; the crossing is seen in the published notebook of he2025"
falsified_by = "d, L, s2 at which the best debiased step is better, or a crossing elsewhere"


def claim(eta: float = 0.897, d: int = 5, s2: float = 0.1):
    """Where the two risks cross, by the exact risks at lengths around it, against the formula."""
    crossing = eta * d * (1 + s2) / (2 * (1 - eta))
    below, above = math.floor(crossing), math.ceil(crossing)
    gaps = [gap(L, eta, d, s2) * L**2 / eta for L in (below, above)]  # linear in L
    found = below + gaps[0] / (gaps[0] - gaps[1])
    return found, crossing, 1e-9


def gap(L: int, eta: float, d: int, s2: float) -> float:
    """Risk of the plain step less that of the debiased one."""
    return (
        icl_risk("gd", d, L, s2, step=eta).value - icl_risk("debiased_gd", d, L, s2, step=eta).value
    )


def test_the_crossing() -> None:
    computed, theory, tolerance = claim()
    assert abs(computed - theory) <= tolerance
    assert theory == pytest.approx(23.95, abs=0.005)
    assert gap(20, 0.897, 5, 0.1) > 0 > gap(25, 0.897, 5, 0.1)


def test_the_difference_as_an_expression() -> None:
    import sympy

    L, d, s, eta = sympy.symbols("L d s eta", positive=True)
    n = L - 1
    plain = 1 + s - 2 * eta + eta**2 * ((L + d + 1) / L + s * d / L)
    centred = 1 + s - 2 * eta * n / L + eta**2 * (n * (n + d + 1) + s * d * n) / L**2
    formula = eta * (2 * L * eta - 2 * L + d * (1 + s) * eta) / L**2
    assert sympy.simplify(plain - centred - formula) == 0
    k = sympy.Symbol("k", nonnegative=True)
    best = sympy.factor(L / (L + 1 + k) - (L - 1) / (L + k))
    assert sympy.simplify(best - (k + 1) / ((L + k) * (L + k + 1))) == 0  # positive


@pytest.mark.parametrize("d", [1, 5, 60])
@pytest.mark.parametrize("L", [1, 3, 40])
@pytest.mark.parametrize("s2", [0.0, 0.1, 4.0])
def test_the_plain_step_is_better_at_best(d: int, L: int, s2: float) -> None:
    plain, centred = (icl_optimal(m, d, L, s2) for m in ("gd", "debiased_gd"))
    k = d * (1 + s2)
    difference = (k + 1) / ((L + k) * (L + k + 1))
    assert centred.value - plain.value == pytest.approx(difference, rel=1e-9)
