"""The figure on memory in use: a closed gate empties the state; every rule has two sides."""

from __future__ import annotations

import numpy as np
import pytest
from changes import put, times

from dsf.figures import Table
from dsf.figures.models import memory_use

HOLDS, FAILS = "matches the statement", "does not hold"


def test_linear_attention_uses_every_state_and_a_closed_gate_none(table):
    rows = table("models/memory_use").where(what="separator", cut=memory_use.MIDDLE)
    assert set(rows.where(mixer="linear attention").column("size")) == {memory_use.STATES}
    assert max(rows.where(mixer="GLA").column("size")) < memory_use.STATES / 4


@pytest.mark.parametrize(
    ("i", "change", "verdict"),
    [
        (0, times("size", 1.0), HOLDS),
        (0, put("size", 9.0, mixer="GLA", cut=32), FAILS),
        (0, put("size", 1.0, mixer="linear attention", cut=32), FAILS),
        (1, times("size", 1.0), FAILS),
        (1, put("size", 40.0, mixer="GLA", cut=32), HOLDS),
        (2, times("size", 1.0), HOLDS),
        (2, put("recall", 0.0, temperature=64), FAILS),
    ],
)
def test_the_rules_have_two_sides(i, change, verdict, table):
    rows = [dict(r) for r in table("models/memory_use")]
    change(rows)
    assert memory_use.findings(Table(rows))[i].verdict == verdict


def test_sizes_do_not_exceed_what_a_cut_allows(table):
    for r in table("models/memory_use").where(what="separator"):
        assert 0 <= r["size"] <= min(r["cut"], memory_use.TOKENS - r["cut"])
    assert np.all(np.array(table("models/memory_use").column("recall")) <= 1)
