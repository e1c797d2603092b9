"""When redistribution of attention raises the entropy of a row for sure."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.interventions import redistribute
from dsf.theory_tests.training.var_redistribution import masks

statement = (
    "If after the move the least sink weight is at least the largest weight of the other image "
    "tokens, the new row is majorised by the old one and its entropy is not smaller; otherwise the "
    "entropy may go either way."
)
reference = "kang2025 (arXiv 2503.03321) for the rule; the statement is derived here"
falsified_by = "a row with this order whose entropy falls, or whose partial sums grow"


def draw(seed: int, strength: float = 20.0) -> tuple[np.ndarray, np.ndarray, bool]:
    """(row, new row, whether the sinks still lead)."""
    rng = np.random.default_rng(seed)
    image, sinks = masks(rng, 16)
    a = rng.dirichlet(np.where(sinks, strength, 2.0))
    new = redistribute(a, image, sinks)
    return a, new, bool(new[sinks].min() >= new[image & ~sinks].max())


def claim(draws: int = 300):
    """Of the rows where the sinks still lead: how many gain entropy, against all of them."""
    rows = [draw(seed) for seed in range(draws)]
    leading = [(a, b) for a, b, leads in rows if leads]
    return sum(bool(entropy(b) > entropy(a)) for a, b in leading), len(leading), 0


def test_entropy_rises_where_the_sinks_still_lead() -> None:
    computed, theory, _ = claim()
    assert computed == theory > 50


@pytest.mark.parametrize("seed", range(100))
def test_majorisation(seed: int) -> None:
    """Sums of the k largest weights never grow; that is majorisation."""
    a, new, leads = draw(seed)
    if leads:
        old_sums, new_sums = (np.cumsum(np.sort(x)[::-1]) for x in (a, new))
        assert np.all(new_sums <= old_sums + 1e-14)


def test_without_the_order_it_goes_either_way() -> None:
    changes = [entropy(b) - entropy(a) for a, b, leads in map(draw, range(100)) if not leads]
    weak = [draw(seed, strength=1.0) for seed in range(100)]
    changes += [entropy(b) - entropy(a) for a, b, leads in weak if not leads]
    assert min(changes) < -0.01 and max(changes) > 0.01
