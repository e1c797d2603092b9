"""Regression at test time on a map that changes from segment to segment: who follows it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dsf.solvers.local_linear import experiments
from dsf.solvers.local_linear.experiments import relative_errors

statement = (
    "512 tokens in segments of 256 with a linear map and a region of keys each, without noise, d = "
    "8, untrained layers. Over all tokens local linear attention has a smaller relative error than "
    "softmax attention and than ridge regression on the past (Mesa); late in the first segment "
    "Mesa has a smaller one than both. DeltaNet with full steps has the smallest of all four in "
    "both places."
)
reference = (
    "after the first experiment of zuo2026, on data of our own; that "
    "DeltaNet wins without noise is ours"
)
falsified_by = "a mean error over seeds 0 to 2 in another order"

MODELS = ("mesa", "softmax", "lla", "deltanet")


@cache
def errors(S: int = 256, seeds: int = 3) -> dict[str, tuple[float, float]]:
    """Relative squared errors of each model: over all tokens, and the last quarter of segment 1."""
    draws = [experiments.segments(seed, S) for seed in range(seeds)]
    found = {m: np.array([relative_errors(m, k, v) for k, v in draws]) for m in MODELS}
    late = slice(S * 3 // 4 - 1, S - 1)
    return {m: (float(e.mean()), float(e[:, late].mean())) for m, e in found.items()}


def claim(S: int = 256):
    """The order of the models by their errors, as the statement has it."""
    whole, first = ({m: x[place] for m, x in errors(S).items()} for place in (0, 1))
    return [
        (float(whole["deltanet"] < whole["lla"] < min(whole["softmax"], whole["mesa"])), 1.0, 0.0),
        (float(first["deltanet"] < first["mesa"] < min(first["softmax"], first["lla"])), 1.0, 0.0),
    ]


# all tokens; last quarter of the first segment: from an implementation of its own
KNOWN = {
    64: {"mesa": (0.7443, 0.0000), "softmax": (0.4921, 0.1768), "lla": (0.3405, 0.0012),
         "deltanet": (0.2625, 0.0064)},
    256: {"mesa": (0.3320, 0.0000), "softmax": (0.2766, 0.2046), "lla": (0.0792, 0.0005),
          "deltanet": (0.0526, 0.0000)},
}  # fmt: skip


@pytest.mark.parametrize("S", KNOWN)
def test_known_errors(S):
    for model, known in KNOWN[S].items():
        assert errors(S)[model] == pytest.approx(known, abs=6e-5), model


def test_the_order():
    assert all(computed == theory for computed, theory, _ in claim())


def test_in_short_segments_mesa_is_the_best_of_the_first():
    """After 64 tokens the delta rule has not arrived yet."""
    late = {m: x[1] for m, x in errors(64).items()}
    assert min(late, key=late.__getitem__) == "mesa"
