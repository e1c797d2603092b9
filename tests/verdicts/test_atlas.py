"""The atlas: what is computed agrees with what is declared and with the literature's table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import dsf
from dsf.core.catalogue import everything, families, family
from dsf.core.errors import MissingExtraError, ShapeError, UnknownNameError
from dsf.core.facts import REGIONS, count
from dsf.core.mechanism import NAMED
from dsf.verdicts.atlas import COLUMNS
from dsf.verdicts.measure import eigenvalue_range
from dsf.verdicts.properties import Properties, measured, properties


@pytest.fixture(scope="module")
def table():
    return dsf.atlas()


@pytest.mark.smoke
def test_every_family_has_a_row_and_every_variant_that_differs(table):
    names = [row.mechanism for row in table.rows]
    assert set(families()) <= set(names) and len(set(names)) == len(names)
    assert {"deltanet(reach=2)", "rwkv6(read=after)", "retnet(rotation=True)"} <= set(names)
    assert "qlstm(reversed=True)" not in names  # the same properties and sizes as qlstm


@pytest.mark.parametrize("name", [str(f) for f in everything()])
def test_measured_properties_are_those_declared(name):
    found, facts = properties(family(name)), family(name).facts
    assert found.structure == facts.structure
    assert found.order_aware == facts.order_aware
    if found.linear:
        assert found.normalised == facts.normalised
        assert found.contraction == facts.contraction
        assert REGIONS[facts.eigenvalues](np.array([found.low, found.high], dtype=complex)).all()
        # one factor is the delta rule; two positive factors have a product of positive spectrum
        tighter = {"deltaproduct(steps=1)": "(-1, 1]", "deltaproduct(reach=1)": "(0, 1]"}
        assert found.region == tighter.get(name, facts.eigenvalues)


@pytest.mark.parametrize("name", [str(f) for f in everything()])
def test_properties_do_not_depend_on_the_draw(name):
    first = properties(family(name))
    mech = family(name).init(d=4, n=4, p=2, heads=1, seed=1)
    for seed in (1, 2):
        again = measured(mech, seed)
        assert replace(again, low=first.low, high=first.high) == first


def test_state_formulas_count_the_state(table):
    values = {"d": 8, "n": 4, "p": 4, "H": 2, "L": 32, "width": 4}
    for row in table.rows:
        sizes = dict(values, width=1) if "width=1" in row.mechanism else dict(values)
        if row.mechanism.partition("(")[0] in ("s4d", "rglru", "mamba"):
            sizes["p"] = 8  # one system per channel of the model
        if "taylor" in row.mechanism:
            sizes["n"] = 1 + 4 + 16  # features
        assert row.state == count(row.state_formula, sizes), row.mechanism


# mixer: (eigenvalues, parity, non-commuting), from the literature as collected in the survey table
LITERATURE = {
    "linear_attn": ("1", False, False),
    "retnet": ("(0, 1)", False, False),
    "retnet(rotation=True)": ("disc", False, False),
    "mamba2": ("(0, 1)", False, False),
    "mlstm": ("(0, 1)", False, False),
    "gla": ("(0, 1)", False, False),
    "rwkv6": ("(0, 1)", False, False),
    "rglru": ("(0, 1)", False, False),
    "mamba": ("(0, 1)", False, False),
    "s4d": ("disc", False, False),
    "lru": ("disc", False, False),
    "mamba3": ("disc", True, False),
    "deltanet": ("(0, 1]", False, True),
    "deltanet(reach=2)": ("(-1, 1]", True, True),
    "deltaproduct": ("closed disc", True, True),
    "window_softmax": ("0", False, False),
}


@pytest.mark.parametrize("name", LITERATURE)
def test_the_table_of_the_literature(table, name):
    region, parity, noncommuting = LITERATURE[name]
    row = table[name]
    ends = np.array([row.eigenvalue_low, row.eigenvalue_high], dtype=complex)
    assert REGIONS[region](ends).all()
    assert row.parity == parity and row.commuting == (not noncommuting)


def test_the_sampled_range_nearly_fills_the_region(table):
    for name in ("gla", "mamba2", "rwkv6", "mlstm", "qlstm", "deltanet"):
        assert table[name].eigenvalue_low < 0.01 and table[name].eigenvalue_high > 0.99, name
    assert table["deltanet(reach=2)"].eigenvalue_low < -0.99


def test_sizes_do_not_depend_on_the_draw(table):
    for seed in (1, 2):
        for row, other in zip(table.rows, dsf.atlas(seed=seed).rows, strict=True):
            for column in ("rank", "state", "memory"):
                assert getattr(row, column) == getattr(other, column), (row.mechanism, column)


def test_rank_is_bounded_by_the_state(table):
    for row in table.rows:
        if row.rank is not None:
            assert row.rank <= row.state
            assert row.rank >= 1 or row.mechanism == "window_softmax(width=1)"
    assert table["gla"].rank == 4  # n states reach rank n on a random input
    assert table["retnet(rotation=True)"].rank == 4  # n/2 complex states, n real ones
    assert table["linear_attn(phi=taylor)"].rank == 15  # 21 features, 15 different monomials
    assert table["softmax"].rank == 16  # half of the length: nothing is saved
    assert table["window_softmax"].rank == 3  # the last of four values is the token itself


def test_both_outcomes_occur_in_every_yes_or_no_column(table):
    for column in ("contraction", "commuting", "parity", "normalised", "order_aware"):
        assert {getattr(row, column) for row in table.rows} >= {True, False}, column


@pytest.mark.parametrize(
    ("low", "high", "real", "text"),
    [
        (-0.5, 0.999, True, "-0.50..0.99"),
        (0.5, 0.5, False, "|z| 0.50"),
        (1.0, 1.0, True, "1"),
        (1e-9, 1 - 1e-9, True, "0.00..0.99"),
    ],
)
def test_ranges_are_cut_and_keep_their_signs(low, high, real, text):
    found = Properties("diagonal", True, False, 0, 1, varies="A", low=low, high=high, real=real)
    assert eigenvalue_range(found) == text
    assert found.parity == (low < 0 or not real)


def test_print_fits_the_screen(table):
    lines = str(table).splitlines()
    assert max(map(len, lines)) <= 79
    assert repr(table) == str(table)
    for row in table.rows:
        shown = row.mechanism.partition("(")[2].rstrip(")") or row.mechanism
        assert sum(line.strip().startswith(shown) for line in lines) >= 2, row.mechanism
    wide = dsf.atlas("linear_attn(phi=taylor,order=3,normalise=True)", d=2, n=2, p=2)
    assert max(map(len, str(wide).splitlines())) <= 79


def test_json_and_pandas_hold_every_column(table):
    data = json.loads(table.to_json())
    assert data["columns"] == COLUMNS and set(data["rows"][0]) == set(COLUMNS)
    frame = table.to_pandas()
    assert [frame.index.name, *frame.columns] == list(COLUMNS)
    for row, record in zip(table.rows, data["rows"], strict=True):
        assert record["state"] == row.state == frame.loc[row.mechanism, "state"]


def test_missing_pandas_is_named(table, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="to_json"):
        table.to_pandas()


def test_latex_and_html(table):
    latex = table.to_latex()
    assert latex.count("\\\\") == len(table.rows) + 1
    assert "linear\\_attn" in latex and "*" not in latex
    html = table._repr_html_()
    assert html.count("<tr>") == len(table.rows) + 1 and "|A_t|_2 &lt;= 1" in html
    with pytest.raises(UnknownNameError, match="structure"):
        table.to_latex(["colour"])


def test_named_families_only():
    some = dsf.atlas(dsf.gla, "deltanet(reach=2)", d=4, n=2, p=3, heads=1, L=8)
    assert [row.mechanism for row in some.rows] == ["gla", "deltanet(reach=2)"]
    assert some["gla"].state == 6
    with pytest.raises(UnknownNameError, match="mamba"):
        dsf.atlas("mambo")
    with pytest.raises(ShapeError, match="at least 3"):
        dsf.atlas("gla", L=2)


def test_a_new_mechanism_gets_a_row():
    class Mine(families()["gla"].cls, name="my_gla"):
        pass

    try:
        assert dsf.atlas()["my_gla"].structure == "diagonal"
    finally:
        del NAMED["my_gla"]
