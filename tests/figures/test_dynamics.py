"""The figures of training dynamics: their numbers in the smoke profile."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.figures.dsf import memory, reversed_sigmoid
from dsf.figures.dynamics import adam_vs_sgd as adam_toy
from dsf.figures.dynamics import entropy_dilution
from dsf.figures.dynamics import scan_snap_growth as growth_figure
from dsf.figures.dynamics import syn_adam as adam_figure
from dsf.solvers.dynamics.sequence_classes import descend, syn


def test_steps_that_are_drawn_are_the_same_on_every_machine():
    """Rounded grids: none of their numbers is so near a half that its last bits could decide."""
    grids = [np.geomspace(1, p["free"], p["points"]) for p in adam_toy.PARAMETERS.values()]
    grids += [np.linspace(1, p["forced"], p["points"]) for p in adam_toy.PARAMETERS.values()]
    grids += [np.geomspace(1, p["length"] // 2, 41) for p in memory.PARAMETERS.values()]
    grids += [np.geomspace(1, p["steps"], 61) for p in reversed_sigmoid.PARAMETERS.values()]
    for grid in grids:
        from_half = np.abs(grid - np.floor(grid) - 0.5)
        assert np.all(from_half > 1e-9 * grid)  # a million times the rounding of the grid


@pytest.mark.parametrize("name", ["ssa_matrix_norm", "visual_sinks", "clipped_softmax"])
def test_grids_of_kept_results_are_those_in_the_record(name, figure):
    module = figure(f"dynamics/{name}")
    folder = Path(module.__file__).parent / "results"
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert module.PARAMETERS["paper"] == record["parameters"]


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


def test_rates_that_pick_the_same_tokens_are_seen():
    c = np.tile(np.arange(20.0), (3, 2, 1))
    assert adam_figure.overlaps(c) == (1.0, 1.0)
    c[1] = c[1, :, ::-1]
    assert adam_figure.overlaps(c) == (pytest.approx(1 / 3), 1.0)


# ------------------------------------------------------------------------------ pictures
def drawn(figure, name, table):
    from matplotlib import pyplot as plt

    made = figure(name).draw(table(name))
    plt.close(made)
    return made


def texts(axes):
    return [t.get_text() for t in axes.texts]


def test_broken_bars_carry_their_values(figure, table):
    """Concentration and sink weight of the approximate variant lie far beyond the axes."""
    name = "dynamics/deconstructed_maps"
    axes = drawn(figure, name, table).axes
    rows = table(name).where(mixer="approximate")
    for panel, column in ((axes[1], "concentration"), (axes[3], "sink")):
        means = [np.mean(rows.where(data=d).column(column)) for d in ("random", "copy")]
        assert texts(panel) == [f"{m:.3g}" for m in means if m > panel.get_xlim()[1]] != []
    assert not any(texts(panel) for panel in (axes[0], axes[2], axes[4], axes[5]))


def test_labels_say_what_the_lines_are(figure, table):
    laws = drawn(figure, "dynamics/entropy_dilution", table).axes
    assert [a.get_legend().texts[-1].get_text()[:4] for a in laws] == ["law:", "law "]
    assert texts(laws[0]) == ["limit 0.00", "limit 0.00", "limit 0.44"]
    bands = drawn(figure, "dynamics/syn_medium", table)
    assert [texts(a) for a in bands.axes] == [["1.4", "2.0"], ["1.7", "2.0"]]
    assert "paper, read off" in [t.get_text() for t in bands.legends[0].texts]
    clipped = drawn(figure, "dynamics/clipped_softmax", table)
    assert clipped.axes[2].get_legend() is None  # it stands below, not on the curve
    assert [t.get_text()[:13] for t in clipped.legends[0].texts] == ["logits of std"] * 3
    sinks = drawn(figure, "dynamics/sink_operations", table).axes[0]
    assert sinks.get_title() == "One seed"
