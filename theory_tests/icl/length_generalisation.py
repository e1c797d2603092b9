"""Trained at one length, used at another: what attention and unnormalised linear attention do."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dsf.solvers import icl_risk
from dsf.solvers.icl.estimators import gradient_step, measured, softmax_heads
from dsf.solvers.icl.prompts import Prompts

statement = (
    "For x ~ N(0, I), softmax heads of one (omega, mu) and linear attention divided by the length "
    "tend to the risk s2 + (1 - eta)^2 as the length grows, eta = mu'omega or the step. Linear "
    "attention with the factor 1/L of training has the step eta L'/L at length L', and its risk "
    "grows with L'."
)
reference = "he2025, claim of length generalisation; derived: the limits"
falsified_by = "a risk at a long prompt off the limit, or an unnormalised layer whose risk stays"

ETA = 40 / (40 + 1 + 5 * 1.1)  # the best plain step at L = 40
UNNORMALISED = {20: 0.4849, 40: 0.2398, 80: 0.8595, 100: 1.7243}
LIMITS = {"one head": (0.7279, 0.174), "pair": (0.897, 0.1106)}
HEADS = {"one head": ([5**-0.5], [1.6276947]), "pair": ([0.13, -0.13], [3.45, -3.45])}


def unnormalised(length: int) -> float:
    """The risk at `length` of the sum over examples divided by 40."""
    return icl_risk("gd", 5, length, 0.1, step=ETA * length / 40).value


def claim(length: int = 10**7):
    """The exact risk of the step at a long prompt, against s2 + (1 - eta)^2."""
    found = icl_risk("gd", 5, 40, 0.1, test_length=length).value
    return found, 0.1 + (1 - ETA) ** 2, 100 / length


def test_the_limit_of_the_step() -> None:
    for length in (10**4, 10**7):
        computed, theory, tolerance = claim(length)
        assert abs(computed - theory) <= tolerance
    other = icl_risk("debiased_gd", 5, 40, 0.1, step=0.897, test_length=10**8).value
    assert other == pytest.approx(0.1 + 0.103**2, abs=1e-6)


def test_the_unnormalised_layer() -> None:
    for length, value in UNNORMALISED.items():
        assert unnormalised(length) == pytest.approx(value, abs=6e-5)
    prompts = Prompts(5, 80, 0.1)
    run = {"sum": lambda x: gradient_step(x, ETA * 80 / 40)}
    mean, error = measured(run, prompts, 0, 20_000)["sum"]
    assert abs(mean - unnormalised(80)) <= 4 * error
    grid = [unnormalised(L) for L in (50, 100, 200, 400)]
    assert np.all(np.diff(grid) > 0) and grid[-1] > 50


@cache
def sampled(length: int, count: int) -> dict[str, tuple[float, float]]:
    """Mean risk and its standard error of all heads on the same prompts."""
    run = {name: lambda x, h=heads: softmax_heads(x, *h) for name, heads in HEADS.items()}
    return measured(run, Prompts(5, length, 0.1), 0, count)


@pytest.mark.parametrize("name", HEADS)
def test_softmax_heads_at_long_prompts(name: str) -> None:
    eta, known = LIMITS[name]
    assert np.dot(*HEADS[name]) == pytest.approx(eta, abs=6e-5)
    limit = 0.1 + (1 - eta) ** 2
    assert limit == pytest.approx(known, abs=6e-5)
    gaps = []
    for length, count in ((40, 4000), (400, 4000), (4000, 1000)):
        mean, error = sampled(length, count)[name]
        gaps.append(mean - limit)
    assert gaps[0] > 5 * gaps[1] > 0 and abs(gaps[2]) < 4 * error + 0.2 * gaps[1]
