"""The figures of training dynamics: their numbers in the smoke profile, never their pixels."""

from __future__ import annotations

import dataclasses
import importlib
from functools import cache

import numpy as np
import pytest

from dsf.errors import DomainError, ShapeError, UnknownNameError
from dsf.figures import VERDICTS, Table
from dsf.figures._catalogue import catalogue
from dsf.figures.dynamics import bigram_backcopy as sink_figure
from dsf.figures.dynamics import entropy_dilution
from dsf.figures.dynamics import scan_snap_growth as growth_figure
from dsf.solvers.bigram_backcopy import ATTENTION, draw_task, measure, model, train
from dsf.solvers.sequence_classes import descend, syn

NAMES = (
    "scan_snap_growth", "sink_flows", "syn_small", "bigram_backcopy", "entropy_dilution",
    "adam_vs_sgd",
)  # fmt: skip
KNOWN = {  # verdict of each figure in the smoke profile; another one has to be looked at
    "scan_snap_growth": "agrees in part",
    "sink_flows": "agrees in part",
    "syn_small": "agrees",
    "bigram_backcopy": "no number in the paper",  # twenty steps are too few to judge
    "entropy_dilution": "no number in the paper",
    "adam_vs_sgd": "agrees",
}


def module(name):
    return importlib.import_module(f"dsf.figures.dynamics.{name}")


@cache
def table(name):
    """The table of the smoke profile, on its way through CSV as the runner reads it."""
    return Table.from_csv(Table(module(name).compute("smoke")).to_csv())


def test_the_gallery_has_the_six_figures_in_order():
    found = [f for f in catalogue("dsf.figures") if f.name.startswith("dynamics/")]
    assert [f.name for f in found] == [f"dynamics/{name}" for name in NAMES]
    assert all(f.literals()["PAPER"] and f.literals()["DIFFERS"] for f in found)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_computed_judged_and_drawn(name):
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    from dsf.style import style

    text, verdict = module(name).measured(table(name))
    assert verdict in VERDICTS and verdict == KNOWN[name], text
    with style():
        figure = module(name).draw(table(name))
        assert isinstance(figure, Figure)
        figure.canvas.draw()
        assert figure.get_size_inches()[0] <= 6.75
    plt.close(figure)


@pytest.mark.parametrize(
    ("name", "column", "factor"),
    [
        ("scan_snap_growth", "numerical", 1.001),
        ("sink_flows", "law", 1.001),
        ("adam_vs_sgd", "flow", 1.01),
        ("syn_small", "common", -1.0),
        ("entropy_dilution", "weight", -1.0),
    ],
)
def test_a_figure_says_when_its_numbers_are_wrong(name, column, factor):
    wrong = [dict(r) for r in table(name)]
    for r in wrong:
        if r[column] is not None:
            r[column] *= factor
    assert module(name).measured(Table(wrong))[1] == "does not hold"


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


def test_the_relevant_key_leads_by_the_same_noise_for_every_length():
    a, b = (entropy_dilution.logits(n, 5, 0) for n in (16, 64))
    np.testing.assert_array_equal(a[:, 0], b[:, 0])
    assert np.abs(a[:, 1:]).max() <= entropy_dilution.NOISE
    rows = table("entropy_dilution").where(logits="gaussian", temperature="constant", n=64)
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


# -------------------------------------------------------------------- Bigram-Backcopy
def test_sequences_follow_the_rules():
    task = draw_task()
    x = task.sequences(np.random.default_rng(3), 400, 48)
    assert np.all(x[:, 0] == task.V) and not np.isin(x[:, 1], task.triggers).any()
    trigger = np.isin(x[:, 1:-1], task.triggers)
    np.testing.assert_array_equal(x[:, 2:][trigger], x[:, :-2][trigger])
    counts = np.zeros_like(task.P)
    np.add.at(counts, (x[:, 1:-1][~trigger], x[:, 2:][~trigger]), 1)
    seen = counts.sum(1)
    for v in np.flatnonzero(seen > 800):
        error = np.abs(counts[v] / seen[v] - task.P[v])
        assert np.all(error < 5 * np.sqrt(task.P[v] / seen[v]) + 5 / seen[v])


def test_the_oracle_is_the_true_model():
    task = draw_task()
    x = task.sequences(np.random.default_rng(0), 5, 12)
    loss = task.oracle_loss(x)
    for b in range(5):
        for t in range(1, 12):
            now, following = x[b, t], x[b, t + 1]
            wanted = 0.0 if now in task.triggers else -np.log(task.P[now, following])
            assert loss[b, t - 1] == pytest.approx(wanted)


@pytest.mark.parametrize("attention", ATTENTION)
def test_attention_variants(attention):
    import torch

    net = model(5, 7, 8, attention)
    x = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    y, parts = net(x)
    A, s = parts["A"].detach(), parts["logits"].detach()
    assert y.shape == (3, 7, 5) and torch.all(A.triu(1) == 0)
    now = torch.ones(7, 7).tril().bool()
    if attention == "softmax":
        torch.testing.assert_close(A.sum(-1), torch.ones(3, 7))
    elif attention == "key bias":
        assert torch.all(A.sum(-1) < 1) and torch.all(A[:, now] > 0)
    else:
        f = torch.relu if attention == "relu" else torch.sigmoid
        torch.testing.assert_close(A[:, now], f(s)[:, now])
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 5
    torch.testing.assert_close(net(changed)[0][:, :-1], y[:, :-1])  # causal
    with pytest.raises(UnknownNameError, match="softmax, relu"):
        model(5, 7, 8, "linear")


def test_training_lowers_the_loss_and_repeats():
    task = draw_task(V=8, triggers=2)
    first = train(task, steps=40, length=12, batch=8, record=(0,))
    again = train(task, steps=40, length=12, batch=8, record=(0,))
    assert first == again
    assert first[-1]["bigram"] < first[0]["bigram"] and first[-1]["step"] == 40


def test_measures_of_an_untrained_head_are_uniform():
    task = draw_task()
    x = task.sequences(np.random.default_rng(1), 64, 48)
    net = model(task.V + 1, 48)
    for p in (net.qkv,):
        p.data.zero_()
    found = measure(net, task, x)
    assert found["start_other"] == pytest.approx(sink_figure.UNIFORM, rel=0.05)
    assert found["share_other"] == pytest.approx(found["start_other"])
    assert found["delta"] == 0 and found["value_start"] == 0
