"""The rules of the figures on the Bigram-Backcopy task, on tables that a training could give."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.figures import Table
from dsf.figures.dynamics import bigram_backcopy, deconstructed, sink_operations
from dsf.solvers.dynamics.bigram_backcopy import draw_task

KINDS = sink_operations.PARAMETERS["paper"]["kinds"]
GOOD, BAD, OPEN = "matches the statement", "does not hold", "no value known"


def operations(free=0.9, drained=0.6, outliers=4.0, softmax_kurtosis=30.0, **shares):
    """A table in which all that is said holds, with changes of alpha_1 by kind."""
    good = {"softmax": 0.6, "sigmoid, normalised": 0.5, "key bias": 0.02}
    rows = []
    for kind in KINDS:
        share = shares.get(kind.replace(" ", "_"), good.get(kind, 0.1))
        rows.append({
            "kind": kind, "seed": 0, "steps": 500, "batch": 16, "step": 500, "alpha_1": share,
            "weight_1": share, "row_sum": 1 - free * (kind == "key bias"), "bigram": 0.05,
            "backcopy": 0.1, "value_start": drained, "value_other": 1.0,
            "kurtosis": softmax_kurtosis if kind == "softmax" else outliers, "infinity": 8.0,
        })  # fmt: skip
    return Table(rows)


def said(module, table):
    """What the paper says, shortened, and the verdict."""
    return {f.paper: f.verdict for f in module.findings(table)}


def verdict(module, table, words):
    found = [v for paper, v in said(module, table).items() if paper.startswith(words)]
    assert len(found) == 1, words
    return found[0]


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        ("Softmax attention has", {"softmax": 0.301}, {"softmax": 0.299}),
        ("Normalised sigmoid", {"sigmoid,_normalised": 0.301}, {"sigmoid,_normalised": 0.299}),
        ("Sigmoid without", {"sigmoid": 0.299}, {"sigmoid": 0.301}),
        ("A key bias", {"key_bias": 0.299}, {"key_bias": 0.301}),
        ("A key bias", {"free": 0.301}, {"free": 0.299}),
        ("Clipping and gates", {"outliers": 3.9}, {"outliers": 30.1}),
        ("A gate after", {"gate_per_head": 0.59}, {"gate_per_head": 0.61}),
        ("A gate on values", {"gate_on_values": 0.299}, {"gate_on_values": 0.301}),
        ("A gate on values", {"drained": 0.51}, {"drained": 0.49}),
    ],
)
def test_rules_on_operations(words, inside, outside):
    assert verdict(sink_operations, operations(**inside), words) == GOOD
    assert verdict(sink_operations, operations(**outside), words) == BAD


def test_verdicts_on_operations():
    assert set(said(sink_operations, operations()).values()) == {GOOD}
    calm = operations(softmax_kurtosis=5.9)
    assert verdict(sink_operations, calm, "Clipping and gates") == OPEN
    assert verdict(sink_operations, operations(softmax_kurtosis=6.1), "Clipping and gates") == GOOD
    for loss, count in ((0.199, 7), (0.201, 1)):  # not learned: one finding, without a verdict
        late = Table([{**r, "backcopy": loss} for r in operations()])
        assert len(said(sink_operations, late)) == count
    assert list(said(sink_operations, late).values()) == [OPEN]
    few = Table(r for r in operations() if r["kind"] in ("softmax", "ReLU"))
    assert list(said(sink_operations, few).values()) == [GOOD]  # nothing on kinds that were not run


def mixers(**backcopy):
    good = {"MLP": 2.5, "Non-approximate": 2.4}
    return Table(
        {
            "variant": v, "seed": 0, "layers": 1, "steps": 500, "batch": 16, "bigram": 0.05,
            "backcopy": backcopy.get(v.replace("-", "_"), good.get(v, 0.05)), "no_copy": 2.6,
        }
        for v in deconstructed.VARIANTS
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "name", "copies"),
    [
        ("Fixed maps", "RndEmbQK", GOOD),
        ("Fixed maps", "StaticEmbQK", GOOD),
        ("Approximate keeps", "Approximate", GOOD),
        ("Without mixing", "MLP", BAD),
        ("Non-approximate", "Non_approximate", BAD),
    ],
)
def test_rules_on_deconstructed_attention(words, name, copies):
    """A variant copies below 0.25 of the loss without copying, here 0.65, and fails above 0.5."""
    fails = {GOOD: BAD, BAD: GOOD}[copies]
    for loss, expected in ((0.64, copies), (0.66, OPEN), (1.29, OPEN), (1.31, fails)):
        assert verdict(deconstructed, mixers(**{name: loss}), words) == expected


def test_verdicts_on_deconstructed_attention():
    assert list(said(deconstructed, mixers()).values()) == [GOOD] * 4
    assert list(said(deconstructed, mixers(Standard=0.66)).values()) == [OPEN]


def trained(relu=0.1, step=2250, **changes):
    """A table as a successful training would give it, with changes in its softmax rows."""
    good = {
        "bigram": 0.02, "backcopy": 0.02, "no_attention_bigram": 0.05, "no_attention_backcopy": 4.0,
        "no_mlp_bigram": 0.7, "no_mlp_backcopy": 1.0, "start_other": 0.6, "share_other": 0.6,
        "start_trigger": 1e-3, "previous_trigger": 0.9, "value_start": 1.0, "value_other": 6.0,
        "delta": 9.0, "delta_spread": 0.1,
    }  # fmt: skip
    rows = []
    for attention in bigram_backcopy.NAMES:
        row = good | (changes if attention == "softmax" else {"share_other": relu})
        rows.append({"attention": attention, "seed": 0, "step": step, **row})
    return Table(rows)


SINK = 4 * bigram_backcopy.UNIFORM


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        ("Non-trigger tokens", {"share_other": 1.01 * SINK}, {"share_other": 0.99 * SINK}),
        ("Triggers attend", {"previous_trigger": 0.51}, {"previous_trigger": 0.49}),
        ("Triggers attend", {"start_trigger": 0.0099}, {"start_trigger": 0.0101}),
        ("The value of the start", {"value_start": 4.19}, {"value_start": 4.21}),
        ("The sink logits", {"delta_spread": 0.89}, {"delta_spread": 0.91}),
        ("ReLU attention", {"relu": 0.99 * SINK}, {"relu": 1.01 * SINK}),
        ("Leaving out attention", {"no_attention_backcopy": 0.21},
         {"no_attention_backcopy": 0.19}),
        ("Leaving out attention", {"no_attention_bigram": 0.099}, {"no_attention_bigram": 0.101}),
        ("Leaving out the MLP", {"no_mlp_bigram": 0.21}, {"no_mlp_bigram": 0.19}),
    ],
)  # fmt: skip
def test_rules_on_trained_sinks(words, inside, outside):
    assert verdict(bigram_backcopy, trained(**inside), words) == GOOD
    assert verdict(bigram_backcopy, trained(**outside), words) == BAD


def test_verdicts_on_trained_sinks():
    assert list(said(bigram_backcopy, trained(backcopy=0.199)).values())[:5] == [GOOD] * 5
    assert list(said(bigram_backcopy, trained(backcopy=0.201)).values()) == [OPEN]
    for step, expected in ((2249, OPEN), (2250, BAD)):  # ReLU is judged once its share has settled
        assert verdict(bigram_backcopy, trained(0.5, step=step), "ReLU attention") == expected


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
    assert every == set(sink_operations.KINDS) == set(sink_operations.LOOKS)


def test_pictures_keep_runs_of_different_length_apart(table):
    """The losses are those of the run that is drawn, and its title says after how many steps."""
    import matplotlib.pyplot as plt

    drawn = bigram_backcopy.draw(table("dynamics/bigram_backcopy"))
    assert drawn.axes[3].get_title() == "Softmax after 20 steps: parts left out"
    assert [t.get_text() for t in drawn.axes[3].get_legend().texts] == ["bigram", "backcopy"]
    plt.close(drawn)
