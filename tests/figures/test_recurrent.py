"""What the figures on trained models find: the smoke profile, and both sides of a rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from changes import put, times

from dsf.figures import Table
from dsf.figures.models import recurrent

KEPT = Path(__file__).resolve().parents[2] / "figures/models/results/recurrent.csv"


def test_random_weights_are_not_judged(figure, table):
    found = figure("models/recurrent").findings(table("models/recurrent"))
    assert [f.verdict for f in found] == ["no value known"]
    assert "random weights alone" in found[0].ours


OPEN, BAD = "no value known", "does not hold"


@pytest.mark.parametrize(
    ("words", "change", "verdict"),
    [
        ("Nothing on the states", times("sufficient", 1), OPEN),
        ("Nothing on the states", put("sufficient", 127, weights="trained", error=0.1), OPEN),
        ("Nothing on the states", put("sufficient", 128, weights="trained", error=0.1), BAD),
        ("Nothing on the states", put("sufficient", 200, layer="voice/lstm", weights="trained",
                                      which=0, error=0.1), BAD),
        ("Nothing on random", times("necessary", 1), OPEN),
        ("Nothing on random", put("necessary", 83, weights="random", error=0.1), BAD),
        ("Nothing on random", put("necessary", 84, weights="random", error=0.1), OPEN),
        ("Nothing on random", put("necessary", 3, layer="voice/lstm", weights="random"), BAD),
    ],
)  # fmt: skip
def test_the_rules_have_two_sides(words, change, verdict):
    rows = [dict(r) for r in Table.from_csv(KEPT.read_text())]
    change(rows)
    [found] = [f for f in recurrent.findings(Table(rows)) if f.paper.startswith(words)]
    assert found.verdict == verdict


def test_the_kept_counts_are_ordered():
    for r in Table.from_csv(KEPT.read_text()):
        assert 0 <= r["necessary"] <= r["sufficient"] <= r["own"]


def test_it_is_drawn(table):
    for rows in (table("models/recurrent"), Table.from_csv(KEPT.read_text())):
        left, right = recurrent.draw(rows).axes
        assert len(right.get_yticks()) == len(rows.values("layer"))
        assert left.get_title() == "Against the error"
