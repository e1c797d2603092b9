"""Error against states of one head, proved on both sides, and the convex hull below its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dsf.models.replacement.replaced import error_of, states_of
from dsf.states import Realization, realize

ERRORS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
Points = list[tuple[int, float]]  # (states, squared error)


@dataclass(frozen=True, eq=False)
class Curve:
    """Recurrences of one head, from 0 states to those of the least error, each with its proof.

    reached   (states, error of the recurrence): the corners of the hull of squared errors
    needed    (states, error that no recurrence with so many states is below)
    """

    proofs: tuple[Realization, ...]
    reached: tuple[tuple[int, float], ...]
    needed: tuple[tuple[int, float], ...]

    def proof(self, states: int) -> Realization:
        """That of the recurrence with so many states."""
        return self.proofs[[n for n, _ in self.reached].index(states)]


def curve(M: np.ndarray, rtol: Sequence[float], time_limit: float) -> Curve:
    """The curve of a head with weights M [L L] at 0 states and at the errors `rtol`."""
    errors = tuple(sorted(map(float, rtol), reverse=True))
    none = realize(M, states=0, time_limit=time_limit)
    found = [none, *realize(M, rtol=errors, time_limit=time_limit)]
    best: dict[int, tuple[float, Realization]] = {}
    for x in found:
        n, error = states_of(x), error_of(x)
        if n not in best or error < best[n][0]:
            best[n] = error, x
    sizes = [n for n, _ in hull([(n, error**2) for n, (error, _) in best.items()])]
    # fewer than x.lower states leave an error above e: so many as x.lower - 1 do
    needed = [(0, float(none.lower))]
    needed += [(int(x.lower) - 1, e) for x, e in zip(found[1:], errors, strict=True) if x.lower]
    needed.append((max(n for n, _ in needed) + 1, 0.0))
    return Curve(
        tuple(best[n][1] for n in sizes), tuple((n, best[n][0]) for n in sizes), tuple(needed)
    )


def floors(needed: Sequence[tuple[int, float]]) -> Points:
    """For each number of states the largest error that is proved to remain, squared."""
    top = max(n for n, _ in needed)
    return [(n, max(e for k, e in needed if k >= n) ** 2) for n in range(top + 1)]


def hull(points: Points) -> Points:
    """The corners of the lower convex hull of falling points, from left to right.

    >>> hull([(0, 4.0), (1, 3.0), (2, 0.0), (3, 0.0)])
    [(0, 4.0), (2, 0.0)]
    """
    kept: Points = []
    for n, x in sorted(points):
        if kept and (n == kept[-1][0] or _slope(kept[-1], (n, x)) >= 0):
            continue  # no lower, or by less than the smallest float for each state
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) >= _slope(kept[-1], (n, x)):
            kept.pop()
        kept.append((n, x))
    return kept


def steps(corners: Points) -> list[tuple[float, int]]:
    """(gain for each state, states) from corner to corner; gains fall."""
    return [(-_slope(a, b), b[0] - a[0]) for a, b in pairwise(corners)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
