"""The figures on all heads of a model: what they judge, and what is said of them elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from changes import put, times

from dsf.figures import Table
from dsf.figures.models import lengths, one_head, sizes, states
from dsf.figures.models._kept import HEADS, TOKENS, kept
from dsf.figures.models._survey import grid

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "figures/models/results"


def table_of(name):
    return Table.from_csv((RESULTS / f"{name}.csv").read_text())


def test_every_head_is_counted_on_every_probe():
    table = table_of("states")
    assert len(table) == 270 * 3 * 2
    for r in table:
        assert 0 < r["necessary"] <= r["sufficient"] <= 256


def test_the_numbers_of_the_readme_are_those_of_the_figure():
    counts = [grid(table_of("states"), "sufficient", probe=p, rtol=0.01) for p in states.NAMES]
    text, worst = (int(np.sum(x <= 32)) for x in (counts[0], np.max(counts, 0)))
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"32 states suffice for {text} on a text and for {worst} on all three inputs" in said
    need = grid(table_of("states"), "necessary", probe="repeat", rtol=0.01)
    heads = [int(need[h, layer]) for layer, h in states.kinds(table_of("states"))["induction"]]
    assert f"its induction heads need {min(heads)} to {max(heads)}, of 256" in said


def test_heads_that_retrieve_are_seen_on_random_tokens_alone():
    known = states.kinds(table_of("states"))["induction"]
    assert len(known) >= 3
    for layer, head in known:
        on = {p: grid(table_of("states"), "necessary", probe=p, rtol=0.01)[head, layer]
              for p in states.NAMES}  # fmt: skip
        assert on["repeat"] > 150 > 70 > on["text"]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (times("tolerance", 1.0), "matches the statement"),
        (put("tolerance", 300.0, layer=3, head=1, probe="text"), "does not hold"),
    ],
)
def test_the_rule_of_the_sizes_has_two_sides(change, verdict):
    rows = [dict(r) for r in table_of("sizes")]
    change(rows)
    assert sizes.findings(Table(rows))[0].verdict == verdict


def test_slopes_are_states_for_each_doubling():
    rows = [
        {"layer": 0, "head": 0, "probe": "text", "tokens": L, "rtol": e, "necessary": n - 1,
         "sufficient": n + 1}
        for L, n in ((64, 3), (128, 5), (256, 7)) for e in lengths.RTOL
    ]  # fmt: skip
    assert lengths.slopes(Table(rows), "text", 0.1) == pytest.approx([2.0])


def test_kept_heads_are_heads():
    for probe, heads in HEADS.items():
        for layer, head in heads:
            M = kept(layer, head, probe)
            assert M.shape == (TOKENS, TOKENS) and not np.triu(M, 1).any()
            assert np.allclose(M.sum(1), 1, atol=1e-6) and M.min() >= 0
    again = kept(18, 6, "repeat")  # an induction head looks at what followed the last time
    half = (TOKENS - 1) // 2
    rows = np.arange(half + 2, TOKENS - 1)
    assert again[rows, rows - half + 1].mean() > 0.5


def test_the_story_has_the_numbers_of_its_head(table):
    r = table("models/one_head")[0]
    assert (r["necessary"], r["sufficient"], r["cut"]) == (4, 4, 29)
    assert 0.126 < r["floor"] <= r["reached"] < 0.127 and r["error"] <= one_head.ERROR
