"""Verdicts of the figures on exchanged attention, from tables that a training could give."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.figures import Table
from dsf.figures.dynamics import deconstructed, sink_operations
from dsf.solvers.dynamics.bigram_backcopy import draw_task

KINDS = sink_operations.PARAMETERS["default"]["kinds"]


def operations(free=0.9, **shares):
    """A table in which all that is expected holds, with changes of alpha_1 by kind."""
    good = {"softmax": 0.6, "sigmoid, normalised": 0.5, "key bias": 0.02}
    rows = []
    for kind in KINDS:
        share = shares.get(kind.replace(" ", "_"), good.get(kind, 0.1))
        rows.append({
            "kind": kind, "seed": 0, "steps": 500, "batch": 16, "step": 500, "alpha_1": share,
            "weight_1": share, "row_sum": 1 - free * (kind == "key bias"), "bigram": 0.05,
            "backcopy": 0.1, "value_start": 1.0, "value_other": 2.0, "kurtosis": 3.0,
            "infinity": 8.0,
        })  # fmt: skip
    return Table(rows)


def test_verdict_on_operations():
    judge = sink_operations.measured
    assert judge(operations())[1] == "agrees"
    for change, words in (
        ({"ReLU": 0.5}, "Not here: ReLU and sigmoid have none"),
        ({"softmax": 0.2}, "softmax has a sink"),
        ({"gate_per_head": 0.7}, "Not here: gates"),
        ({"free": 0.1}, "Not here: the key bias"),
    ):
        text, verdict = judge(operations(**change))
        assert verdict == "agrees in part" and words in text.partition("As stated")[2]
    late = Table([{**r, "backcopy": 2.0} for r in operations()])
    assert judge(late)[1] == "no number in the paper"
    none = operations(
        0.0, softmax=0.2, ReLU=0.4, gate=0.5, key_bias=0.4, **{"clipped,_α_=_3": 0.5,
        "sigmoid,_normalised": 0.1},
    )  # fmt: skip
    assert judge(none)[1] == "does not hold"


def mixers(**backcopy):
    good = {"MLP": 2.5, "Non-approximate": 2.4}
    return Table(
        {
            "variant": v, "seed": 0, "layers": 1, "steps": 500, "batch": 16, "bigram": 0.05,
            "backcopy": backcopy.get(v.replace("-", "_"), good.get(v, 0.05)), "no_copy": 2.6,
        }
        for v in deconstructed.VARIANTS
    )  # fmt: skip


def test_verdict_on_deconstructed_attention():
    judge = deconstructed.measured
    assert judge(mixers())[1] == "agrees"
    text, verdict = judge(mixers(Non_approximate=0.3))
    assert verdict == "agrees in part" and "Non-approximate copies" in text
    assert judge(mixers(MLP=0.3))[1] == "does not hold"
    assert judge(mixers(RndEmbQK=2.5))[1] == "does not hold"
    assert judge(mixers(Standard=2.5))[1] == "no number in the paper"


def test_loss_without_copying():
    """The entropy of the token before each trigger, from the chain itself: second-order counts of
    a long simulation against the figure's sample."""
    task = draw_task()
    found = deconstructed.without_copy(task)
    x = task.sequences(np.random.default_rng(9), 4000, 48)
    pairs = {v: [] for v in task.triggers}
    for t in range(2, 48):
        for v in task.triggers:
            pairs[v].append(x[x[:, t] == v, t + 1])
    losses = []
    for drawn in pairs.values():
        y = np.concatenate(drawn)
        p = np.bincount(y, minlength=task.V) / len(y)
        losses += [-np.log(p[y])]
    assert found == pytest.approx(np.concatenate(losses).mean(), abs=0.03)


def test_unknown_kinds_do_not_hide():
    every = {k for p in sink_operations.PARAMETERS.values() for k in p["kinds"]}
    assert every == set(sink_operations.KINDS)
