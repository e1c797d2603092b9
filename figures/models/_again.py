"""The kept result of a figure with a part of it computed again, from weights that are kept too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsf.figures import Finding, Table, again
from dsf.figures.runner.catalogue import Figure
from dsf.figures.runner.kept import kept

KEPT = "kept weights of some heads"  # where the profile default takes its weights from
SUFFIX = "_again"
COUNTS = ("necessary", "sufficient", f"necessary{SUFFIX}", f"sufficient{SUFFIX}")
NEAR = 1  # state: by so much last bits may move a bound
ALIKE = 1e-5  # relative: weights are kept in single precision


def beside(source: str, keys: Sequence[str], found: Iterable[Mapping[str, Any]]) -> Table:
    """The kept rows of the figure in a file; what was found again stands beside, named x_again.

    Raises ValueError where what was found does not belong to one kept row.
    """
    stored = kept(Figure(Path(source).stem, "", Path(source)))
    if stored is None:
        raise ValueError(f"{source}: nothing is kept of this figure")
    rows = [dict(r) for r in stored[0]]
    for new in found:
        hit = [r for r in rows if all(r[k] == new[k] for k in keys)]
        if len(hit) != 1:
            raise ValueError(f"{source}: {len(hit)} kept rows with {[new[k] for k in keys]}")
        hit[0].update({k + SUFFIX: x for k, x in new.items() if k not in keys})
    return Table(rows)


def part(table: Table, column: str) -> Table:
    """The rows of which a column was computed again; none in profiles that do not do so."""
    name = column + SUFFIX
    return Table(r for r in table if r.get(name) is not None)


def counts(table: Table, what: str) -> list[Finding]:
    """Whether counts that were enclosed again agree with the kept ones.

    Both enclosures are proved, so they meet; the new one is as narrow.  It may be narrower: what
    suffices comes from a search with a time limit.
    """
    rows = part(table, "necessary")
    if not rows:
        return []
    other, agree = [], True
    for r in rows:
        low, high, new_low, new_high = (r[c] for c in COUNTS)
        meet = new_low <= high and low <= new_high
        agree &= meet and new_low >= low - NEAR and new_high <= high + NEAR
        if (low, high) != (new_low, new_high):
            other.append(f"{new_low} to {new_high} for {low} to {high}")
    told = f"{what}: {len(rows) - len(other)} of {len(rows)} enclosures of counts are the same"
    return [again(told + (f", else {'; '.join(other)}" if other else ""), agree)]


def numbers(
    table: Table, columns: Sequence[str], what: str, within: float = ALIKE
) -> list[Finding]:
    """Whether numbers that were computed again are the kept ones, to a relative distance."""
    rows = part(table, columns[0])
    if not rows:
        return []
    off = max(abs(r[c + SUFFIX] - r[c]) / (abs(r[c]) or 1.0) for r in rows for c in columns)
    told = f"differ by at most {off:.0e}, relatively" if off else "are the same to the last bit"
    return [again(f"{what}: {len(rows) * len(columns)} numbers {told}", off <= within)]
