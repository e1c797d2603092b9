"""The figures on random features: their verdicts in the smoke profile, their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.figures.random_features import attention_output, kernel_errors
from dsf.solvers.random_features.directions import known_kind

LETTERS = {"matches the statement": "S", "does not hold": "-", "no value known": "o"}
SMOKE = {
    "random_features/kernel_errors": "SSSoo",
    "random_features/attention_output": "SSoo",
    "random_features/heads_learning": "SSoo",
}


@pytest.mark.parametrize("name", SMOKE)
def test_what_they_find(name, figure, table):
    found = figure(name).findings(table(name))
    assert "".join(LETTERS[f.verdict] for f in found) == SMOKE[name]


# |Y' - Y| / |Y| of Taylor features and of independent random ones, as computed elsewhere
TAYLOR = {(0.5, 2): 0.0138, (0.5, 4): 4.5e-4, (1.0, 2): 0.411, (1.0, 4): 0.149}
MEDIANS = {
    ("favor", 16): 0.595,
    ("favor", 64): 0.359,
    ("hyperbolic", 64): 0.239,
    ("trig", 64): 0.23,
}


@pytest.mark.parametrize("scale, order", TAYLOR)
def test_taylor_outputs(scale, order):
    found = attention_output.taylor(scale, order)["error"]
    assert found == pytest.approx(TAYLOR[scale, order], rel=0.01)


@pytest.mark.parametrize("kind, m", MEDIANS)
def test_medians_of_random_outputs(kind, m):
    """The same draws: medians over 15 seeds agree to their three digits."""
    found = [attention_output.one(0.5, kind, False, m, s)["error"] for s in range(15)]
    assert np.median(found) == pytest.approx(MEDIANS[kind, m], abs=6e-4)


def test_the_map_prefers_hyperbolic_to_favor(table):
    """As many features of hyperbolic are never worse (random_features/which_features)."""
    best = kernel_errors.best(table("random_features/kernel_errors"), False)
    assert "favor" not in {known_kind("test", kind) for kind, _ in best.values()}
