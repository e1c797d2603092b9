"""The figures of training dynamics: their numbers in the smoke profile."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.figures import Table
from dsf.figures.dynamics import bigram_backcopy as sink_figure
from dsf.figures.dynamics import entropy_dilution
from dsf.figures.dynamics import scan_snap_growth as growth_figure
from dsf.figures.dynamics import syn_adam as adam_figure
from dsf.solvers.dynamics.sequence_classes import descend, syn


@pytest.mark.parametrize(
    ("name", "column", "factor"),
    [
        ("scan_snap_growth", "numerical", 1.001),
        ("sink_flows", "law", 1.001),
        ("adam_vs_sgd", "flow", 1.01),
        ("syn_small", "common", -1.0),
        ("syn_small", "loss", 2.0),
        ("syn_medium", "entropy", -1.0),
        ("entropy_dilution", "weight", -1.0),
        ("ssa_matrix_norm", "kl", -1.0),
        ("clipped_softmax", "gap", 1.01),
        ("gate_positions", "rank", 2),
        ("visual_sinks", "least_leading", -1.0),
        ("soft_injection", "law", 1.5),
        ("deconstructed_maps", "copied", 0.5),
    ],
)
def test_a_figure_says_when_its_numbers_are_wrong(name, column, factor, figure, table):
    wrong = [dict(r) for r in table(f"dynamics/{name}")]
    for r in wrong:
        if r[column] is not None:
            r[column] *= factor
    assert figure(f"dynamics/{name}").measured(Table(wrong))[1] == "does not hold"


def trained(relu=0.1, **changes):
    """A table as a successful training would give it, with changes in its softmax rows."""
    good = {
        "bigram": 0.02, "backcopy": 0.02, "no_attention_bigram": 0.05, "no_attention_backcopy": 4.0,
        "no_mlp_bigram": 0.7, "no_mlp_backcopy": 1.0, "start_other": 0.6, "share_other": 0.6,
        "start_trigger": 1e-3, "previous_trigger": 0.9, "value_start": 1.0, "value_other": 6.0,
        "delta": 9.0, "delta_spread": 0.1,
    }  # fmt: skip
    rows = []
    for attention in sink_figure.NAMES:
        row = good | (changes if attention == "softmax" else {"share_other": relu})
        rows.append({"attention": attention, "seed": 0, "step": 1000, **row})
    return Table(rows)


def test_the_verdict_on_trained_sinks():
    assert sink_figure.measured(trained())[1] == "agrees"
    assert sink_figure.measured(trained(delta_spread=3.0))[1] == "agrees in part"
    assert sink_figure.measured(trained(relu=0.4))[1] == "agrees in part"
    assert sink_figure.measured(trained(share_other=0.1))[1] == "does not hold"
    assert sink_figure.measured(trained(no_mlp_bigram=0.03))[1] == "does not hold"
    assert sink_figure.measured(trained(backcopy=1.0))[1] == "no number in the paper"


def test_phases_meet_at_the_stated_time():
    found = [growth_figure.turn(e) for e in (0.5, 1.0, 2.0, 5.0)]
    np.testing.assert_allclose(found, [138.2, 69.1, 34.5, 13.8], atol=0.06)


def test_the_relevant_key_leads_by_the_same_noise_for_every_length(table):
    a, b = (entropy_dilution.logits(n, 5, 0) for n in (16, 64))
    np.testing.assert_array_equal(a[:, 0], b[:, 0])
    assert np.abs(a[:, 1:]).max() <= entropy_dilution.NOISE
    rows = table("dynamics/entropy_dilution").where(logits="gaussian", temperature="constant", n=64)
    assert rows[0]["entropy"] == pytest.approx(0.891, abs=0.01)


# -------------------------------------------------------------------------- Syn-Small
# losses of one run of the public code (Syn-Small, rates 1 and 1), by iteration
LOGGED = {0: 3.526360, 2: 2.367910, 4: 0.733475, 6: 0.160805, 8: 0.044429, 10: 0.012952}


def test_syn_small_has_the_losses_of_the_public_log():
    """The logged losses lie within four standard deviations of a run here."""
    at = list(LOGGED)
    found = np.array([descend(syn(), 1.0, 1.0, 10, seed).loss[at] for seed in range(8)])
    spread = np.std(found, axis=0, ddof=1)
    assert found[0, 0] == pytest.approx(np.log(34))
    assert np.all(spread / found.mean(0) < 0.08)
    off = np.abs(found.mean(0) - list(LOGGED.values()))
    assert np.all(off <= 4 * spread + 1e-6)


def test_a_decoder_with_two_outputs_is_another_experiment():
    """With one output per class the same recipe ends much sparser: the vocabulary matters."""
    task = syn()
    small = dataclasses.replace(task, outputs=2)
    mass = [
        descend(which, 1.0, 1.0, 50, seed=0).attention[-1][:, :10].sum(1).mean()
        for which in (task, small)
    ]
    np.testing.assert_allclose(mass, [0.39, 0.30], atol=0.02)


def test_runs_keep_distributions_and_refuse_bad_input():
    run = descend(syn(), 1.0, 1.0, 10, seed=1)
    np.testing.assert_allclose(run.attention.sum(-1), 1)
    assert np.all(run.attention[:, 0, 20:] == 0) and np.all(run.attention[:, 1, 10:20] == 0)
    again = descend(syn(), 1.0, 1.0, 10, seed=1, every=5)
    np.testing.assert_array_equal(again.attention, run.attention[::5])
    with pytest.raises(DomainError, match="positive"):
        descend(syn(), 0.0, 1.0, 1, 0)
    with pytest.raises(UnknownNameError, match="momentum, adam"):
        descend(syn(), 1.0, 1.0, 1, 0, rule="muon")
    with pytest.raises(ShapeError, match="2 classes need query"):
        dataclasses.replace(syn(), outputs=1)


def test_rates_that_pick_the_same_tokens_are_seen(table):
    c = np.tile(np.arange(20.0), (3, 2, 1))
    assert adam_figure.overlaps(c) == (1.0, 1.0)
    c[1] = c[1, :, ::-1]
    assert adam_figure.overlaps(c) == (pytest.approx(1 / 3), 1.0)
    same = [dict(r) for r in table("dynamics/syn_adam")]
    for r in same:
        r["attention"] = r["token"] / 190
    assert adam_figure.measured(Table(same))[1] == "does not hold"
