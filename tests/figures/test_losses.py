"""What the figure on losses finds: nothing on random weights, and a rule with two sides."""

from __future__ import annotations

import pytest

from dsf.figures import Table
from dsf.figures.models import _subject, loss


def trained(table, error):
    """The smoke table as if its weights were trained, with errors made of effective sizes."""
    rows = [dict(r) | {"source": _subject.REAL} for r in table("models/loss")]
    for r in rows:
        if r["what"] == "heads":
            r["error"] = error(r["size"])
    return Table(rows)


def test_random_weights_decide_nothing(table):
    [found] = loss.findings(table("models/loss"))
    assert found.verdict == "no value known" and "random" in found.ours


@pytest.mark.parametrize(
    ("error", "verdict", "rank"),
    [(lambda x: x**2, "matches the statement", "1.00"), (lambda x: -x, "does not hold", "-1.00")],
)
def test_the_rule_on_effective_sizes_has_two_sides(table, error, verdict, rank):
    first, *others = loss.findings(trained(table, error))
    assert first.verdict == verdict and first.ours.endswith(f": {rank}")
    assert {f.verdict for f in others} == {"no value known"} and len(others) == 4


def test_the_table_is_what_it_says(table):
    found = table("models/loss")
    whole = found.where(what="all", n=4)[0]
    assert whole["states"] == 4 * whole["heads"] == 32
    halves = [found.where(what=w, n=1)[0]["heads"] for w in ("low", "high")]
    assert halves == [4, 4]
    each = found.where(what="heads")
    assert len(each) == 8 and all(r["floor"] <= r["error"] < 1 for r in each)
    for r in found.where(what="plan"):
        assert r["states"] <= 8 * r["n"]


def test_the_model_has_to_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("DSF_MODELS", str(tmp_path))
    with pytest.raises(ImportError, match="dsf models --fetch"):
        _subject.real()
