"""A part of a kept result that is computed again: what agrees, what does not, where it is told."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dsf.figures import AGAIN, Table
from dsf.figures.models import _again, _survey, lengths, loss, recurrent
from dsf.figures.models._kept import LONG, long
from dsf.models import library

BAD = "does not hold"
FIGURES = ("states", "sizes", "lengths", "loss", "recurrent", "students")


def verdict(found):
    [one] = found
    assert one.paper == AGAIN
    return one.verdict


@pytest.mark.parametrize(
    ("new", "bad"),
    [
        ((5, 7), False),
        ((4, 8), False),  # last bits
        ((6, 6), False),  # narrower
        ((3, 7), True),
        ((5, 9), True),
        ((8, 8), True),  # both are proved, and they do not meet
    ],
)
def test_enclosures_agree_where_they_meet_and_are_as_narrow(new, bad):
    row = {"necessary": 5, "sufficient": 7}
    other = dict(zip(("necessary_again", "sufficient_again"), new, strict=True))
    table = Table([row | other, row])
    found = _again.counts(table, "two heads")
    assert (verdict(found) == BAD) == bad
    same = new == (5, 7)
    assert found[0].ours.startswith(f"two heads: {int(same)} of 1 enclosures")
    assert (f"{new[0]} to {new[1]} for 5 to 7" in found[0].ours) != same
    assert _again.counts(Table([row]), "two heads") == []


def test_numbers_agree_to_single_precision():
    row = {"error": 0.5, "size": 2.0}

    def judged(factor):
        again = {"error_again": 0.5, "size_again": 2.0 * factor}
        return _again.numbers(Table([row | again]), ("error", "size"), "one head")

    assert verdict(judged(1 + 1e-6)) != BAD and verdict(judged(1 + 1e-4)) == BAD
    assert "2 numbers are the same to the last bit" in judged(1)[0].ours
    assert _again.numbers(Table([row]), ("error",), "one head") == []
    other = Table([{"error": 1.0, "error_again": 1.02}])
    assert verdict(_again.numbers(other, ("error",), "one head", 0.03)) != BAD
    assert verdict(_again.numbers(other, ("error",), "one head", 0.01)) == BAD


def test_what_was_found_again_belongs_to_one_kept_row():
    keys = ("layer", "head", "probe", "tokens", "rtol")
    where = dict(zip(keys, (0, 0, "text", 64, 0.1), strict=True))
    found = _again.beside(lengths.__file__, keys, [where | {"necessary": 3}])
    assert len(_again.part(found, "necessary")) == 1
    assert len(found) == len(_again.beside(lengths.__file__, keys, []))
    for wrong in ({"layer": 77}, {"tokens": 65}):
        with pytest.raises(ValueError, match="0 kept rows"):
            _again.beside(lengths.__file__, keys, [where | wrong])
    with pytest.raises(ValueError, match="2 kept rows"):
        _again.beside(lengths.__file__, keys[:4], [where])
    with pytest.raises(ValueError, match="nothing is kept"):
        _again.beside(_survey.__file__, keys, [])


def test_one_head_is_counted_again_and_drawn(monkeypatch):
    monkeypatch.setattr(lengths, "HEADS", {"text": [(20, 6)]})
    monkeypatch.setitem(lengths.PARAMETERS["default"], "lengths", [64])
    table = lengths.compute("default")
    last = lengths.findings(table)[-1]
    assert last.paper == AGAIN and last.verdict != BAD and "2 of 2" in last.ours
    rows = [dict(r) for r in table]
    for r in rows:
        r["sufficient"] -= 2 * (r["necessary_again"] is not None)
    assert lengths.findings(Table(rows))[-1].verdict == BAD
    labels = lengths.draw(table).axes[0].get_legend_handles_labels()[1]
    assert "nine heads, counted again" in labels


def test_errors_of_one_head_are_computed_again(monkeypatch):
    monkeypatch.setattr(loss, "HEADS", {"text": [(20, 6)]})
    table = loss.compute("default")
    last = loss.findings(table)[-1]
    assert last.paper == AGAIN and last.verdict != BAD and "3 numbers" in last.ours
    labels = loss.draw(table).axes[2].get_legend_handles_labels()[1]
    assert "computed again" in labels


def test_trained_networks_are_counted_where_they_are(monkeypatch):
    asked = []

    def sweep(_, points):
        asked.extend((p["name"], p["weights"]) for p in points)
        return Table()

    monkeypatch.setattr(recurrent, "sweep", sweep)
    for here in (False, True):
        asked.clear()
        monkeypatch.setattr(library, "present", lambda name, here=here: here)
        found = recurrent.findings(recurrent.compute("default"))
        assert asked == [("letters", "random")] + [("letters", "trained")] * here
        assert all(f.paper != AGAIN for f in found)


def test_the_kept_queries_and_keys_are_of_a_head_that_retrieves():
    text, again = long("text"), long("repeat")
    for M in (text, again):
        assert M.shape == (LONG, LONG) and not np.triu(M, 1).any()
        assert np.allclose(M.sum(1), 1, atol=1e-12)
    half = (LONG - 1) // 2
    rows = np.arange(half + 2, LONG - 1)
    after = again[rows, rows - half + 1].mean()
    assert after > _survey.INDUCTION > 10 * text[rows, rows - half + 1].mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_what_the_default_profile_computes_again_agrees(name):
    module = importlib.import_module(f"dsf.figures.models.{name}")
    [found] = [f for f in module.findings(module.compute("default")) if f.paper == AGAIN]
    assert found.verdict != BAD, found.ours
