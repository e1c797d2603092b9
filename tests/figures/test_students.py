"""What the figure on students finds, in the smoke profile and on both sides of each rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from changes import put, times

from dsf.core.errors import MissingExtraError
from dsf.figures import Table
from dsf.figures.models import _trained, students

BAD = "does not hold"
KEPT = Path(__file__).resolve().parents[2] / "figures/models/results/students.csv"


def test_the_smoke_profile_judges_no_head(figure, table):
    found = figure("models/students").findings(table("models/students"))
    assert len(found) == 3 and "random" in found[-1].ours
    for row in table("models/students").where(what="frozen"):
        assert row["floor"] <= min(row["balanced"], row["sequential"], row["fitted"])


@pytest.mark.parametrize(
    ("words", "inside", "outside"),
    [
        ("Nothing on one decay", times("fitted", 0.01, into="mamba2"),
         times("fitted", 10.0, into="mamba2")),
        ("Nothing on the amount", put("test", 9.0, texts=1), put("test", 0.0, texts=1)),
        ("Nothing on the rows", times("test", 0.01, into=students.NORMALISED),
         times("test", 100.0, into=students.NORMALISED)),
        ("Nothing on the rows", times("fitted", 1.0),
         times("test", 100.0, into=students.NORMALISED, start_from=students.COPIED)),
        ("Nothing on what copied", times("fitted", 1.0),
         times("test", 0.5, into="gla", start_from=students.COPIED)),
        ("Nothing on what copied", times("fitted", 1.0),
         times("test", 0.8, into=students.NORMALISED, start_from=students.COPIED)),
    ],
)  # fmt: skip
def test_every_rule_has_two_sides(words, inside, outside):
    kept = Table.from_csv(KEPT.read_text())
    verdicts = []
    for change in (inside, outside):
        rows = [dict(r) for r in kept]
        change(rows)
        found = [f for f in students.findings(Table(rows)) if f.paper.startswith(words)]
        assert len(found) == 1
        verdicts.append(found[0].verdict)
    assert verdicts[0] != BAD and verdicts[1] == BAD


def test_floors_are_below_everything_that_was_reached():
    for row in Table.from_csv(KEPT.read_text()).where(what="frozen"):
        assert row["floor"] <= min(row["balanced"], row["sequential"], row["fitted"])


def test_copied_projections_are_few_of_the_directions_of_the_scores():
    rng = np.random.default_rng(0)
    Wq, Wk = rng.standard_normal((2, 20, 12))
    found = students.few(Wq, Wk)
    got = found["Wq"][0] @ found["Wk"][0].T / np.sqrt(students.LEARNT)
    scores = Wq @ Wk.T / np.sqrt(12)
    s = np.linalg.svd(scores, compute_uv=False)
    assert np.linalg.matrix_rank(got) == students.LEARNT
    assert np.linalg.norm(scores - got) == pytest.approx(np.linalg.norm(s[students.LEARNT :]))


def test_every_number_of_texts_has_every_start(table):
    rows = table("models/students").where(what="learned")
    cells = {(r["texts"], r["into"], r["start_from"]) for r in rows}
    wanted = {(n, into, start) for n in (1, 4) for into, start, _ in students.LEARNERS}
    assert cells == wanted and (1, "gla", students.COPIED) in wanted
    for r in rows:
        assert r["floor"] <= r["fitted"] <= r["start"] or r["into"] == students.NORMALISED


def test_a_model_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("DSF_MODELS", str(tmp_path))
    _trained.loaded.cache_clear()
    with pytest.raises(MissingExtraError, match="dsf models --fetch"):
        _trained.loaded()
