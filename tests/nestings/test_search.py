"""The search finds what is known to be there, and the kept table is about today's catalogue."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nesting_grid import Grid
from nesting_proofs import proved
from nesting_search import BUDGET, Pair
from search_nestings import KEPT, about, searched

import dsf

LINES = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
FOUND = {(r["special"], r["general"]): r for r in LINES if "maps" in r}
NOTHING = {(r["special"], b): told for r in LINES for b, told in r.get("nothing in", {}).items()}


# ------------------------------------------------------------------ the search
# a tenth of the candidates is enough for what is known; the table was made with all of them
BUDGETS = pytest.mark.parametrize(
    "budget", [BUDGET // 10, pytest.param(BUDGET, marks=pytest.mark.slow)]
)


def maps(special, general, budget=BUDGET):
    return Pair(special, general, budget).search().maps


@BUDGETS
def test_the_exact_map_that_was_once_called_a_limit_is_found_and_proved(budget):
    """v <- 2v, o <- 1/2: the state is twice that of rglru."""
    found = maps(dsf.rglru, dsf.qlstm, budget)
    best = next(m for m in found if m.made["v"].told("v") == "2 v")
    assert str(best) == "v <- 2 v, log_f <- log a, g <- sqrt(1 - a^2) i, o <- 1/2"
    said, edge = proved(best)
    assert said == "proved" and edge.certificate is not None


@pytest.mark.parametrize(
    ("special", "general", "told"),
    [
        (dsf.retnet, dsf.gla, "q <- q, k <- k, v <- v, log_a <- log gamma"),
        (dsf.mamba2, dsf.gla, "q <- q, k <- k, v <- dt v, log_a <- dt a"),
        (dsf.qlstm, dsf.deltanet, "q <- o, k <- 1, v <- (1 - f)^-1 g v, beta <- (1 - f)"),
    ],
    ids=str,
)
@BUDGETS
def test_edges_of_the_table_are_found_and_proved(special, general, told, budget):
    found = maps(special, general, budget)
    assert told in [str(m) for m in found]
    assert proved(found[0])[0] == "proved"


@BUDGETS
def test_a_map_into_a_normaliser_and_one_with_a_later_state_are_found(budget):
    """Their states are no multiples of those of special, so the prover is given them by hand."""
    for general in (dsf.mlstm, dsf.mamba3(skip=True)):
        found = maps(dsf.rglru, general, budget)
        assert found and proved(found[0])[0].startswith("not asked")


@pytest.mark.parametrize(
    ("special", "general"),
    [(dsf.gla, dsf.retnet), (dsf.qlstm, dsf.rglru), (dsf.linear_attn, dsf.gla)],
    ids=str,
)
def test_nothing_is_found_where_a_separation_is_proved(special, general):
    assert dsf.compare(general, special).verdict.name in ("NESTED", "NESTED_LIMIT", "DIFFERENT")
    assert maps(special, general) == []


def test_a_wrong_map_does_not_pass_the_last_stage():
    pair = Pair(dsf.retnet, dsf.gla, BUDGET // 10)
    right = pair.search().maps[0]
    q = next(p for p in pair.grid.products if p.told() == "2 q")
    wrong = type(right)(right.special, right.general, {**right.made, "q": q})
    assert pair.last(right) and not pair.last(wrong)


def test_products_are_what_they_say():
    grid = Grid(dsf.qlstm, 1)
    i = next(i for i, p in enumerate(grid.products) if p.told() == "1/2 (1 - f) g^-1")
    tok = grid.tokens
    want = (1 - np.exp(tok.log_f)) / tok.g / 2
    assert np.allclose(grid.values[i][..., 0], want[:, 0, :, 0], rtol=1e-14)


# ------------------------------------------------------------------ the kept table
def test_the_table_is_about_this_catalogue():
    """Otherwise: run `python tests/nestings/search_nestings.py` again."""
    kept = {k: LINES[0][k] for k in about()}
    assert kept == about()


def test_the_table_holds_every_pair_without_an_exact_chain():
    wanted = {(repr(a), repr(b)) for a, b in searched()}
    assert wanted == FOUND.keys() | NOTHING.keys() and not FOUND.keys() & NOTHING.keys()
    assert LINES[0]["total"]["pairs"] == len(wanted)
    assert LINES[0]["total"]["with maps"] == len(FOUND)


def test_where_nothing_was_found_all_candidates_were_tried():
    assert not [pair for pair, told in NOTHING.items() if "not all tried" in told]


def test_what_is_left_are_maps_onto_features_taken_as_free_tokens():
    """The tokens of taylor and favor are declared wider than what those feature maps reach (the
    first feature of taylor is 1), so that others lie in them says nothing of these maps.  A map
    into any other family would be an edge that the table of the package lacks.
    """
    for r in FOUND.values():
        general = dsf.family(r["general"])
        assert general.cls is dsf.linear_attn.cls
        assert general.defaults()["phi"] in ("taylor", "favor"), r
        assert r["known"] == "none"
