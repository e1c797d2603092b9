"""The search for a system with few states: compress once, slice, prove once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dsf.core.errors import DomainError
from dsf.states.apriori import TheoremBound, theorem_bounds
from dsf.states.compress import Compressed, OutOfTime, compress
from dsf.states.exact import exact_systems
from dsf.states.hankel import NO_CUT, Cut, best_count, best_gaps, spread_cuts, strength
from dsf.states.kept import Arrays
from dsf.states.operator import (
    Direction,
    Operator,
    System,
    feedthrough,
    operator,
    residual,
    size,
)
from dsf.states.rounding import ROOM, fro, norm_estimate
from dsf.states.verify import proved_error

RATIOS = (4.0, 32.0)  # compress at error/4 (error/20 finds the same systems), then once finer
EXACT_SIZE = 160  # up to this many rows the pass is untruncated and all theorems are evaluated
MEMORY = 2**31  # bytes that the coefficients of a system may take
PASS_SHARE = 0.7  # of the time left, for the compression pass
# relative to |M|: what is truncated below this is rounding, in a pass and in an exact one
ROUNDING, EXACT_ROUNDING = 1e-14, 1e-15
GRAM_SEES = 1e-7  # eigenvalues of a Gram matrix carry squares: below this times |M|, rounding
ERROR_SLACK = 1e-5  # of the proved error where it is the answer, in place of SLACK
# what a search leaves as notes: nothing that is proved
NOTES = re.compile(
    "compression stopped: ([0-9]+ states at|the time limit ended it at) cut [0-9]+ of [0-9]+"
    "(; the system is truncated on the way)?"
    "|no slice was proved at tolerance error/(4|32)"
    "|the time limit ended the search: the system could be smaller"
)


@dataclass(frozen=True, eq=False)
class Answer:
    """What is proved about one operator: a Hankel block and a system per direction, the error.

    A system None is the cache of all earlier inputs, which is exact.  `frobenius` is the norm of
    M - kernel in plain floats.
    """

    operator: Operator
    cuts: tuple[Cut, ...]
    systems: tuple[System | None, ...]
    error: float
    frobenius: float
    theorems: tuple[TheoremBound, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def necessary(self) -> int:
        """States that are necessary, all directions together."""
        return sum(cut.sigma.size for cut in self.cuts)

    @property
    def sufficient(self) -> int:
        """States of the systems, all directions together."""
        return sum(size(self.operator.M, system) for system in self.systems)


# ------------------------------------------------------- states for an error
def count_states(op: Operator, asked: float, deadline: float) -> Answer:
    """The fewest states found for the error `asked` (times |M| if relative), with both bounds."""
    # what a system must reach, and what a singular value must exceed
    target = asked * op.norm[0] * (1 - ROOM) if op.relative else asked
    floor = asked * op.norm[1] + op.radius
    if op.radius >= target and op.radius > 0.0:
        raise DomainError(
            f"realize: M is known to within radius = {op.radius:.3g} only, not below the "
            f"error asked for, {target:.3g}; no system can be proved. Ask for a larger error."
        )
    cuts = tuple(best_count(d.M, floor, spread_cuts(len(d.M), 3), d.kept) for d in op.directions)
    theorems: tuple[TheoremBound, ...] = ()
    notes: list[str] = []
    for ratio in RATIOS:
        try:
            passes = [_compressed(d, target / ratio, deadline) for d in op.directions]
        except OutOfTime as reason:
            notes.append(f"compression stopped: {reason}")
            break
        cuts = _refined(op, cuts, [_best_cuts(c.s, floor) for c in passes], floor)
        theorems = _theorems(op, passes, error=target)
        start, remarks = _start(op, passes, sum(c.sigma.size for c in cuts), target, deadline)
        notes += remarks
        if (found := _proved(op, passes, start, target)) is not None:
            return Answer(op, cuts, *found, theorems, tuple(notes))
        notes.append(f"no slice was proved at tolerance error/{ratio:g}")
    everywhere = [spread_cuts(len(d.M), 7) for d in op.directions]
    cuts = _refined(op, cuts, everywhere, floor)
    return Answer(op, cuts, *exact_systems(op, target), theorems, tuple(notes))


def _refined(
    op: Operator, cuts: tuple[Cut, ...], where: Sequence[list[int]], floor: float
) -> tuple[Cut, ...]:
    """Per direction the best of the cut known and of those at the places named."""
    pairs = zip(op.directions, where, strict=True)
    found = (best_count(d.M, floor, at, d.kept) for d, at in pairs)
    return tuple(max(pair, key=strength) for pair in zip(cuts, found, strict=True))


def _best_cuts(s: np.ndarray, floor: float) -> list[int]:
    """The cuts at which the compressed singular values s [L+1 n] promise the most states.

    Those are never above the true ones: so also the cut at which the next one comes closest.
    """
    if not s.size:
        return []
    above = (s > floor).sum(axis=1)
    last = s[np.arange(len(s)), np.maximum(above - 1, 0)]
    following = s[:, min(int(above.max()), s.shape[1] - 1)]
    picks = {int(np.lexsort((last, above))[-1]), int(np.argmax(following))}
    return sorted(k for k in picks if 0 < k < len(s) - 1)


# -------------------------------------------------- which slice of a pass
def _start(
    op: Operator, passes: list[Compressed], least: int, target: float, deadline: float
) -> tuple[int, list[str]]:
    """The first rung that reaches `target` in plain floats, and a note if the time ended."""
    ladder = _ladder(passes)

    def fits(i: int) -> bool:
        E, _ = residual(op, _slices(op, passes, ladder[i]), proved=False)
        return norm_estimate(E, above=target) + op.radius <= target

    top = len(ladder) - 1
    return _first(fits, min(least, top), top, deadline)


def _proved(
    op: Operator, passes: list[Compressed], start: int, target: float
) -> tuple[tuple[System, ...], float, float] | None:
    """The slice at `start`, or a little above, that is proved to reach `target`; None if none is.

    With it its proved error and the Frobenius norm of M - kernel.
    """
    ladder = _ladder(passes)
    top = len(ladder) - 1
    for i in sorted({min(i, top) for i in (start, start + 1, start + 3, top)}):
        systems = _slices(op, passes, ladder[i])
        E, off = residual(op, systems, proved=True)
        error = proved_error(E, off, op.radius, target)
        if error <= target:
            return systems, error, float(np.linalg.norm(E))
    return None


def _slices(op: Operator, passes: list[Compressed], states: tuple[int, ...]) -> tuple[System, ...]:
    parts = zip(op.directions, passes, states, strict=True)
    return tuple(_sliced(d, c, n) for d, c, n in parts)


def _sliced(direction: Direction, c: Compressed, n: int) -> System:
    A, B, C, D = c.sliced(n)
    return A, B, C, feedthrough(direction, D)


def _ladder(passes: list[Compressed]) -> list[tuple[int, ...]]:
    """State counts per direction: one state more at each rung, the largest singular value left."""
    peaks = [c.s.max(axis=0, initial=0.0) for c in passes]
    order = sorted(((-x, j) for j, p in enumerate(peaks) for x in p), key=lambda item: item[0])
    rungs, counts = [tuple(0 for _ in peaks)], [0] * len(peaks)
    for _, j in order:
        counts[j] += 1
        rungs.append(tuple(counts))
    return rungs


def _first(
    fits: Callable[[int], bool], low: int, top: int, deadline: float
) -> tuple[int, list[str]]:
    """The smallest index in low..top that fits, by galloping from `low` and bisection.

    Assumes that fitting is monotone; a wrong answer costs states, never correctness.  When the
    time is up: the last index that is known to fit, or `top` with a note.
    """
    bad, good, i, step = low - 1, -1, low, 1
    while good < 0:
        if i >= top:
            good = top
        elif time.monotonic() > deadline:
            return top, ["the time limit ended the search: the system could be smaller"]
        elif fits(i):
            good = i
        else:
            bad, i, step = i, i + step, 2 * step
    while good - bad > 1 and time.monotonic() <= deadline:
        middle = (bad + good) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good, []


# ------------------------------------------------------ error for some states
def best_error(op: Operator, states: int, deadline: float) -> Answer:
    """The smallest error found for `states` states in both directions together, with its bounds."""
    cuts = _gap(op, states, [spread_cuts(len(d.M), 7) for d in op.directions])
    tol = max(gap(cuts) / RATIOS[0], ROUNDING * fro(op.M))
    passes: list[Compressed] = []
    notes: list[str] = []
    for d in op.directions:
        try:
            c = _compressed(d, tol, deadline)
        except OutOfTime as reason:
            notes.append(f"compression stopped: {reason}; the system is truncated on the way")
            c = compress(d.M, tol, rank=states)
        passes.append(c)
    ladder = _ladder(passes)
    if states + 1 < len(ladder):
        peaks = [_peak(c.s, n) for c, n in zip(passes, ladder[states + 1], strict=True)]
        cuts = max(cuts, _gap(op, states, peaks), key=gap)
    systems = _slices(op, passes, ladder[_least(op, passes, states, deadline)])
    E, off = residual(op, systems, proved=True)
    error = proved_error(E, off, op.radius, slack=ERROR_SLACK)
    theorems = _theorems(op, passes, states=states)
    found = systems, error, float(np.linalg.norm(E))
    return Answer(op, cuts, *found, theorems, tuple(notes))


def _least(op: Operator, passes: list[Compressed], states: int, deadline: float) -> int:
    """The rung, of at most so many states, whose system has the least error in plain floats.

    A slice with more states may be worse than one with fewer.
    """
    ladder = _ladder(passes)
    best, found = min(states, len(ladder) - 1), np.inf
    for i in range(best, -1, -1):
        E, _ = residual(op, _slices(op, passes, ladder[i]), proved=False)
        error = norm_estimate(E)
        if error < found:
            best, found = i, error
        if time.monotonic() > deadline:
            break
    return best


def _gap(op: Operator, states: int, where: Sequence[Sequence[int]]) -> tuple[Cut, ...]:
    """Blocks of which states + 1 singular values in all are large: the best split of these.

    Of a forward and b backward ones, a + b = states + 1: fewer states are too few in one direction.
    """
    tables = [best_gaps(d.M, states + 1, at) for d, at in zip(op.directions, where, strict=True)]
    splits = [(a, states + 1 - a) for a in range(states + 2)] if len(tables) == 2 else [(-1,)]
    found = [
        tuple(c for table, a in zip(tables, split, strict=True) if (c := table[a]) is not None)
        for split in splits
    ]
    whole = [cuts for cuts in found if len(cuts) == len(tables)]
    return max(whole, key=gap, default=(NO_CUT,) * len(tables))


def gap(cuts: tuple[Cut, ...]) -> float:
    """The least of the last singular values of some blocks; 0 if none is bounded."""
    return min((float(c.sigma[-1]) for c in cuts if c.sigma.size), default=0.0)


def _peak(s: np.ndarray, number: int) -> list[int]:
    """The cut at which the compressed singular value of that number, of s [L+1 n], is largest."""
    return [int(np.argmax(s[:, number - 1]))] if number else []


def _compressed(direction: Direction, tol: float, deadline: float) -> Compressed:
    """The pass at `tol`, exact for small operators; OutOfTime beyond the deadline or memory."""
    M = direction.M
    L, r, _, m = M.shape
    norm = fro(M)
    limit = int(np.sqrt(MEMORY / (8 * max(L, 1))))
    now = time.monotonic()
    if L * max(r, m) <= EXACT_SIZE:
        return Compressed(*direction.kept.once("exact pass", lambda: _exact_pass(M, norm, limit)))
    share = now + PASS_SHARE * (deadline - now)
    return compress(M, tol, gram=tol > GRAM_SEES * norm, limit=limit, deadline=share)


def _exact_pass(M: np.ndarray, norm: float, limit: int) -> Arrays:
    c = compress(M, EXACT_ROUNDING * norm, gram=False, limit=limit)
    return c.A, c.B, c.C, c.D, c.s, c.tau


def _theorems(
    op: Operator, passes: list[Compressed], error: float | None = None, states: int | None = None
) -> tuple[TheoremBound, ...]:
    """The a-priori bounds; they need all singular values, so only where the pass is exact."""
    L, r, _, m = op.M.shape
    found: tuple[TheoremBound, ...] = ()
    if L * max(r, m) <= EXACT_SIZE and len(op.directions) == 1:
        found = theorem_bounds(passes[0].s, L, error, states)
    most = max((min(k * m, (L - k) * r) for k in range(L + 1)), default=0)
    exact = TheoremBound(
        "exact minimal realization", most * len(op.directions), 0.0, "none", "dewilde1998, ch. 3"
    )
    return (*found, exact) if states is None or states >= exact.states else found


def theorems_of(M: np.ndarray, states: int) -> tuple[TheoremBound, ...]:
    """What the theorems say of an operator M [L r L m] and a number of states."""
    op = operator(M, 0.0, False)
    exact = M.shape[0] * max(M.shape[1], M.shape[3]) <= EXACT_SIZE
    passes = [_compressed(d, 0.0, np.inf) for d in op.directions] if exact else []
    return _theorems(op, passes, states=states)
