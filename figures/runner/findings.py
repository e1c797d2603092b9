"""What a figure finds: for each thing that the paper says, what we measured, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

NUMBER, STATEMENT = "matches the number", "matches the statement"
NOT, UNKNOWN = "does not hold", "no value known"
VERDICTS = (NUMBER, STATEMENT, NOT, UNKNOWN)
AGAIN = "The kept result, a part of it computed again"


@dataclass(frozen=True)
class Finding:
    """One line of the table under a figure.

    paper     what the paper says, one clause, with its number if there is one
    ours      what we measured, one clause
    verdict   one of `VERDICTS`
    source    where a figure speaks of several papers: the arXiv number of the one that says it
    """

    paper: str
    ours: str
    verdict: str
    source: str = ""

    def __post_init__(self) -> None:
        if not (self.paper and self.ours):
            raise ValueError(f"a finding needs what the paper says and what is measured: {self}")
        if self.verdict not in VERDICTS:
            known = ", ".join(map(repr, VERDICTS))
            raise ValueError(f"verdict {self.verdict!r} is none of {known}")


def number(
    paper: str,
    ours: str,
    *,
    known: float | Sequence[float],
    found: float | Sequence[float],
    within: float,
    source: str = "",
) -> Finding:
    """A known number, or several: it matches if every |found - known| <= within |known|.

    nan and inf match nothing.  Raises ValueError where there are more of one than of the other, or
    none, and where no distance is relative: within <= 0, or a known number that is 0 or infinite.

    >>> number("0.5", "0.52", known=0.5, found=0.52, within=0.05).verdict
    'matches the number'
    """
    wanted = [float(x) for x in ([known] if isinstance(known, (int, float)) else known)]
    got = [float(x) for x in ([found] if isinstance(found, (int, float)) else found)]
    if len(wanted) != len(got) or not wanted:
        raise ValueError(f"{paper!r}: {len(wanted)} numbers are known, {len(got)} were measured")
    if within <= 0 or not all(y != 0 and isfinite(y) for y in wanted):
        raise ValueError(
            f"{paper!r}: within={within} of {known} is no relative distance; it must be positive, "
            "and what is known to be 0 or infinite is a `statement`"
        )
    pairs = zip(got, wanted, strict=True)
    near = all(isfinite(x) and abs(x - y) <= within * abs(y) for x, y in pairs)
    return Finding(paper, ours, NUMBER if near else NOT, source)


def statement(paper: str, ours: str, holds: bool, source: str = "") -> Finding:
    """A statement without a number, and whether it holds on our numbers."""
    return Finding(paper, ours, STATEMENT if holds else NOT, source)


def unknown(paper: str, ours: str, source: str = "") -> Finding:
    """Something of which the paper gives no value that we know."""
    return Finding(paper, ours, UNKNOWN, source)


def derived(paper: str, ours: str, holds: bool, source: str = "") -> Finding:
    """Something of ours, of which the paper says nothing: no value is known, unless it fails.

    >>> derived("no closed form is given", "ours is off by 1e-9", True).verdict
    'no value known'
    """
    return unknown(paper, ours, source) if holds else Finding(paper, ours, NOT, source)


def again(ours: str, agrees: bool) -> Finding:
    """A part of the kept result that another profile computes again: it says what, and how near.

    >>> again("3 of 3 counts are the same", True).verdict
    'no value known'
    """
    return derived(AGAIN, ours, agrees)


def overall(verdicts: Iterable[str]) -> str:
    """One verdict for a figure: what does not hold first, then what matches.

    >>> overall(["matches the statement", "does not hold"])
    'does not hold'
    """
    found = set(verdicts)
    return next((v for v in (NOT, NUMBER, STATEMENT) if v in found), UNKNOWN)


def tally(verdicts: Sequence[str]) -> str:
    """The verdict of a figure, and of how many lines that can be judged it holds.

    >>> tally(["matches the number", "does not hold", "no value known"])
    'does not hold (1 of 2 does)'
    """
    judged = [v for v in verdicts if v != UNKNOWN]
    whole = overall(verdicts)
    if whole != NOT or len(judged) < 2:
        return whole
    good = sum(v != NOT for v in judged)
    return f"{whole} ({good} of {len(judged)} {'does' if good == 1 else 'do'})"
