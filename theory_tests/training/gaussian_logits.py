"""Entropy of softmax over Gaussian logits: the random energy model and its critical scale."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.interventions import softmax

statement = (
    "For n independent N(0, 1) logits with inverse temperature tau = b sqrt(2 log n) the entropy "
    "over log n tends to 1 - b^2 for b <= 1 and to 0 above. So a constant tau dilutes, H = log n - "
    "tau^2/2, c sqrt(log n) keeps its share, and c log n freezes every row: log n is the right "
    "order for bounded logits only."
)
reference = "derrida1981, the random energy model; zhang2024 (arXiv 2411.12892) for the scale"
falsified_by = "a share of the entropy off 1 - b^2 by more than its corrections at finite n"


def shares(n: int, tau: float, draws: int = 40, seed: int = 0) -> np.ndarray:
    """H / log n of every draw."""
    s = np.random.default_rng([seed, n]).standard_normal((draws, n))
    return entropy(softmax(tau * s)) / math.log(n)


def claim(n: int = 2**14, tau: float = 1.0):
    """H / log n against 1 - tau^2 / (2 log n)."""
    return shares(n, tau).mean(), 1 - tau**2 / (2 * math.log(n)), 0.002


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.5])
def test_below_the_critical_scale(tau: float) -> None:
    computed, theory, tolerance = claim(tau=tau)
    assert abs(computed - theory) <= tolerance * max(1.0, tau**4)


def constant(n: int) -> float:
    return 1.0


def logarithmic(n: int) -> float:
    return 0.5 * math.log(n)


def root(n: int) -> float:
    return 0.7 * math.sqrt(2 * math.log(n))


# H / log n of one draw, as measured elsewhere: within the spread of single draws here
QUOTED = [
    (constant, 64, 0.891), (constant, 1024, 0.928), (constant, 16384, 0.949),
    (logarithmic, 64, 0.63), (logarithmic, 16384, 0.28), (root, 64, 0.65), (root, 16384, 0.55),
]  # fmt: skip


@pytest.mark.parametrize(("tau", "n", "value"), QUOTED)
def test_quoted_values_are_draws_of_ours(tau, n: int, value: float) -> None:
    found = shares(n, tau(n), 200)
    assert abs(value - found.mean()) < 2 * found.std() + 0.005  # digits of the quotation


def test_the_order_log_n_freezes_and_its_root_does_not() -> None:
    sizes = (2**6, 2**10, 2**14)
    frozen, kept = ([shares(n, tau(n), 200).mean() for n in sizes] for tau in (logarithmic, root))
    assert frozen[0] > frozen[1] > frozen[2] and frozen[2] < 0.3
    assert kept[0] > kept[1] > kept[2] > 1 - 0.7**2  # from above


def test_frozen_rows_keep_less_than_a_bounded_entropy() -> None:
    """At b = 3 the weights tend to Poisson-Dirichlet(1/b), of entropy psi(1) - psi(1 - 1/b)."""
    from scipy.special import digamma

    limit = float(digamma(1) - digamma(2 / 3))
    for n in (2**6, 2**10, 2**14):
        H = shares(n, 3 * math.sqrt(2 * math.log(n)), 200) * math.log(n)
        assert H.mean() < limit + 3 * H.std() / math.sqrt(200)
        assert H.mean() > limit / 2
