"""The verdicts of the figures: which rows match, which do not, and what a figure says of itself."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dsf.figures import VERDICTS, Finding, derived, number, overall, statement, tally, unknown

NUMBER, STATEMENT, NOT, UNKNOWN = VERDICTS


@given(
    known=st.floats(1e-6, 1e6),
    sign=st.sampled_from([1, -1]),
    side=st.sampled_from([1, -1]),
    within=st.floats(0.01, 0.9),
)
def test_a_number_matches_up_to_its_relative_distance_and_no_further(known, sign, side, within):
    known *= sign
    for reach, verdict in ((0.999, NUMBER), (1.001, NOT)):
        found = known * (1 + side * reach * within)
        assert number("p", "o", known=known, found=found, within=within).verdict == verdict


@pytest.mark.parametrize("found", [3.0, 5.0])
def test_the_edge_belongs_to_the_match(found):
    assert number("p", "o", known=4.0, found=found, within=0.25).verdict == NUMBER


@pytest.mark.parametrize("place", range(3))
def test_of_several_numbers_each_has_to_match(place):
    found = [1.0, -2.0, 3.0]
    assert number("p", "o", known=(1, -2, 3), found=tuple(found), within=0.1).verdict == NUMBER
    found[place] *= 1.2
    assert number("p", "o", known=(1, -2, 3), found=found, within=0.1).verdict == NOT


@pytest.mark.parametrize("found", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_matches_none(found):
    assert number("p", "o", known=1.0, found=found, within=0.5).verdict == NOT


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"known": 0.0}, "no relative distance"),
        ({"known": math.inf}, "no relative distance"),
        ({"within": 0.0}, "no relative distance"),
        ({"known": (1.0, 2.0)}, "2 numbers are known, 1 were measured"),
        ({"known": (), "found": ()}, "0 numbers are known"),
    ],
)
def test_a_rule_that_cannot_judge_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        number("p", "o", **{"known": 1.0, "found": 1.0, "within": 0.1} | wrong)


def test_statements_and_what_is_unknown():
    assert statement("a", "b", True).verdict == STATEMENT
    assert statement("a", "b", False).verdict == NOT
    assert unknown("a", "b").verdict == UNKNOWN
    assert derived("a", "b", True).verdict == UNKNOWN  # it may not claim agreement
    assert derived("a", "b", False).verdict == NOT
    for bad in (("", "b", NOT), ("a", "", NOT), ("a", "b", "agrees")):
        with pytest.raises(ValueError, match=r"finding|none of"):
            Finding(*bad)


@pytest.mark.parametrize(
    ("rows", "verdict", "shown"),
    [
        ([], UNKNOWN, UNKNOWN),
        ([UNKNOWN], UNKNOWN, UNKNOWN),
        ([UNKNOWN, STATEMENT], STATEMENT, STATEMENT),
        ([UNKNOWN, STATEMENT, NUMBER], NUMBER, NUMBER),
        ([UNKNOWN, NUMBER, STATEMENT, NOT], NOT, f"{NOT} (2 of 3 do)"),
        ([NOT, STATEMENT], NOT, f"{NOT} (1 of 2 does)"),
        ([NOT, UNKNOWN], NOT, NOT),
    ],
)
def test_one_row_that_does_not_hold_decides_and_knowing_nothing_claims_nothing(
    rows, verdict, shown
):
    for order in (rows, rows[::-1]):
        assert overall(order) == verdict and tally(order) == shown
