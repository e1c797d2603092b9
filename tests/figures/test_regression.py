"""What the figures on softmax regression find: the smoke profile, and a table on either side of
each rule.

Training is too short in the smoke profile to be judged, so that table is the kept one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from changes import both, put, times

from dsf.figures import Table
from dsf.figures.regression import closeness, curvature, newton

BAD = "does not hold"
LETTERS = {
    "matches the number": "N", "matches the statement": "S", BAD: "-", "no value known": "o",
}  # fmt: skip
SMOKE = {
    "regression/closeness": "ooooooo",
    "regression/curvature": "SooSoo",
    "regression/newton": "Soooo",
}
KEPT = Path(__file__).resolve().parents[2] / "figures/regression/results/closeness.csv"


@pytest.mark.parametrize("name", SMOKE)
def test_what_they_find(name, figure, table):
    found = figure(name).findings(table(name))
    assert "".join(LETTERS[f.verdict] for f in found) == SMOKE[name]


LEAST = {"n": 2, "what": "range"}
RULES = [  # figure, first words of a finding, a change it bears, one it does not
    ("curvature", "B lies between", put("low", -3.9, **LEAST), put("low", -4.1, **LEAST)),
    ("curvature", "No smaller range", put("high", 1.24, **LEAST), put("high", 1.26, **LEAST)),
    ("curvature", "No sharp range", put("low", -0.2404, n=3, what="range"),
     put("low", -0.2405, n=3, what="range")),
    ("curvature", "No sharp range", put("high", 0.30811714, **LEAST),
     put("high", 0.3081, **LEAST)),
    ("curvature", "w² of at least 4", put("least", 1.1, what="convex", w2=5.0),
     put("least", 0.9, what="convex", w2=5.0)),
    ("curvature", "That 1 is enough", put("least", 0.51, what="convex", w2=1.5),
     put("least", 0.49, what="convex", w2=1.5)),
    ("curvature", "Nothing on weights", put("least", 0.27, what="convex", w2=0.5),
     put("least", 0.25, what="convex", w2=0.5)),
    ("newton", "A step multiplies", times("distance", 1.0, step=1, w2=100.0, n=2),
     times("distance", 400.0, step=1, w2=100.0, n=2)),
    ("newton", "No bound without", times("distance", 1.0, step=1, w2=30.0, n=2),
     times("distance", 10.0, step=1, w2=30.0, n=2)),
    ("newton", "No sharp factor", times("distance", 1.0, step=1, w2=4.0, n=20),
     times("distance", 200.0, step=1, w2=4.0, n=20)),
    ("newton", "Nothing on smaller", times("distance", 1.0, w2=0.6), put("distance", 2e-6, w2=0.6)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "inside", "outside"), RULES, ids=[f"{r[0]}: {r[1]}" for r in RULES]
)
def test_every_rule_has_two_sides(name, words, inside, outside, figure, table):
    module, smoke = figure(f"regression/{name}"), table(f"regression/{name}")
    verdicts = [verdict(module, smoke, words, change) for change in (inside, outside)]
    assert verdicts[0] != BAD and verdicts[1] == BAD


def verdict(module, table, words, change):
    rows = [dict(r) for r in table]
    change(rows)
    found = [f for f in module.findings(Table(rows)) if f.paper.startswith(words)]
    assert len(found) == 1, words
    return found[0].verdict


LAST = {"what": "training", "step": 2000}
TRAINED = [
    ("The losses of one", put("attention", lambda r: r["descent"] + 0.09 * r["nothing"], **LAST),
     put("attention", lambda r: r["descent"] + 0.11 * r["nothing"], heads=1, **LAST)),
    ("Preds Diff", put("predictions", 0.01, **LAST), put("predictions", 1.0, heads=2, **LAST)),
    ("Model Cos", put("rows_cosine", 0.86, **LAST), put("rows_cosine", 0.84, heads=4, **LAST)),
    ("Model Diff", put("rows", 0.001, **LAST), put("rows", 1.0, heads=4, **LAST)),
    ("Nothing on the signs", both(put("positive", lambda r: int(r["heads"] > 1), **LAST),
                                  put("attention", lambda r: 0.1 / r["heads"], **LAST)),
     both(put("positive", lambda r: int(r["heads"] > 1), **LAST),
          put("attention", lambda r: 0.1 * r["heads"], **LAST))),
    ("Nothing on several", put("descent", 1e-4, gradient_steps=3, **LAST),
     put("descent", 1.0, gradient_steps=3, **LAST)),
    ("Why one layer", times("attention", 1.0, what="single"),
     times("attention", 1.2, what="single", centred=True)),
    ("Why one layer", times("attention", 1.0, what="single"),
     times("attention", 0.5, what="single", centred=False)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "inside", "outside"), TRAINED)
def test_the_rules_of_training_have_two_sides(words, inside, outside):
    kept = Table.from_csv(KEPT.read_text(encoding="utf-8"))
    verdicts = [verdict(closeness, kept, words, change) for change in (inside, outside)]
    assert verdicts[0] != BAD and verdicts[1] == BAD


def test_a_short_training_is_not_judged():
    kept = Table.from_csv(KEPT.read_text(encoding="utf-8"))
    short = [r for r in kept if r["what"] == "single" or r["step"] < closeness.SETTLED]
    early = [f for f in closeness.findings(Table(short)) if "too early" in f.ours]
    assert len(early) == 6 and {f.verdict for f in early} == {"no value known"}


def test_the_search_finds_the_extremes_that_are_known():
    """At n = 2, of 4 p^2 (1 - p)(2 - 3p)."""
    found = curvature.extreme(2, 8)
    p = np.linspace(0, 1, 10**6 + 1)
    values = 4 * p**2 * (1 - p) * (2 - 3 * p)
    assert found["low"] == pytest.approx(values.min(), abs=1e-9)
    assert found["high"] == pytest.approx(values.max(), abs=1e-9)


def test_a_run_of_the_method():
    """Two rows: the distances fall, the exact method ends first, both at the same point."""
    rows = Table(newton.one(2, 1.0, 1.0, 0))
    slow, fast = (rows.where(method=m).column("distance") for m in ("approximate", "exact"))
    assert slow[0] == fast[0] and slow[-1] < 1e-8 and fast[-1] < 1e-8
    assert np.all(np.diff(slow) < 0) and len(fast) < len(slow)
