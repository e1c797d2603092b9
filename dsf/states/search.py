"""The search for a system with few states: compress once, slice, prove once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dsf.core.errors import DomainError
from dsf.states.apriori import TheoremBound, theorem_bounds
from dsf.states.compress import Compressed, OutOfTime, compress, kernel
from dsf.states.hankel import NO_CUT, Cut, best_count, best_gap, spread_cuts, strength
from dsf.states.rounding import fro, norm_estimate, norm_lower, norm_upper, ritz
from dsf.states.verify import proved_error, scanned_kernel

RATIOS = (4.0, 32.0)  # compress at error/4 (error/20 finds the same systems), then once finer
EXACT_SIZE = 160  # up to this many rows the pass is untruncated and all theorems are evaluated
MEMORY = 2**31  # bytes that the coefficients of a system may take
EXACT_MEMORY = 2**28  # the same for the system with L/2 states that is the last resort
BUDGET_SHARE = 0.7  # of the time left, for the compression pass

System = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # A, B, C, D, read="before"


@dataclass(eq=False)
class Part:
    """One direction of time of an operator: a causal M [L r L m], and what is known of it."""

    name: str  # "forward" or "backward"
    M: np.ndarray
    cut: Cut = NO_CUT
    system: System | None = None  # None: the cache of all earlier inputs, which is exact

    @property
    def states(self) -> int:
        """States of the system found."""
        L, _, _, m = self.M.shape
        return max(L - 1, 0) * m if self.system is None else self.system[0].shape[-1]


@dataclass(eq=False)
class Head:
    """One operator M [L r L m], split into directions, with proved bounds of its norm."""

    M: np.ndarray
    radius: float
    relative: bool
    deadline: float
    parts: list[Part] = field(default_factory=list)
    norm: tuple[float, float] = (1.0, 1.0)  # low <= |M| <= high; (1, 1) if errors are absolute
    norm_v: np.ndarray | None = None
    error: float = 0.0
    frobenius: float = 0.0  # of M - kernel, in plain floats
    theorems: tuple[TheoremBound, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        L, r, _, m = self.M.shape
        rows, columns = np.arange(L * r)[:, None] // r, np.arange(L * m)[None, :] // m
        self.parts = [Part("forward", self.M)]
        if np.any(self.flat[np.broadcast_to(columns > rows, self.flat.shape)]):
            self.parts.append(Part("backward", self.M[::-1, :, ::-1, :]))
        if self.relative:
            guess, self.norm_v = ritz(self.flat, steps=100)
            low = norm_lower(self.flat, self.norm_v) - self.radius
            high = norm_upper(self.flat, guess, slack=1e-6) + self.radius
            # a checker has a rounding bound of its own: leave it room
            self.norm = (max(low * (1 - 2.0**-36), 0.0), high * (1 + 2.0**-36))

    @property
    def flat(self) -> np.ndarray:
        """M as a matrix [L r, L m]."""
        L, r, _, m = self.M.shape
        return self.M.reshape(L * r, L * m)

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline

    def residual(self, systems: list[System | None], proved: bool) -> tuple[np.ndarray, float]:
        """E = M - kernel of the systems (one per part), and a bound on the error of evaluating.

        proved=False uses the fast evaluation by chunks and gives no bound (0).
        """
        L, r, _, m = self.M.shape
        E, bound = self.M.copy(), 0.0
        for part, system in zip(self.parts, systems, strict=True):
            view = E if part.name == "forward" else E[::-1, :, ::-1, :]
            if system is None:  # exact, the diagonal included
                keep = np.arange(L)[:, None, None, None] < np.arange(L)[:, None]
                view *= (
                    keep
                    if part.name == "forward"
                    else keep | np.eye(L, dtype=bool)[:, None, :, None]
                )
                continue
            K, off = scanned_kernel(*system) if proved else (kernel(*system), 0.0)
            view -= K.reshape(view.shape)
            bound += off
        return E.reshape(L * r, L * m), bound


def diagonal(M: np.ndarray) -> np.ndarray:
    """The blocks M[t, :, t, :] as [L r m]."""
    t = np.arange(M.shape[0])
    return np.ascontiguousarray(M[t, :, t, :])


def count_states(head: Head, asked: float) -> None:
    """Fill in cuts, systems and the proved error for `error = asked` (times |M| if relative)."""
    # what a system must reach, and what a singular value must exceed
    target = asked * head.norm[0] * (1 - 2.0**-36) if head.relative else asked
    floor = asked * head.norm[1] + head.radius
    if head.radius >= target and head.radius > 0.0:
        raise DomainError(
            f"realize: M is known to within radius = {head.radius:.3g} only, not below the "
            f"error asked for, {target:.3g}; no system can be proved. Ask for a larger error."
        )
    for part in head.parts:
        part.cut = best_count(part.M, floor, spread_cuts(part.M.shape[0], 3))
    for ratio in RATIOS:
        try:
            compressed = [_compressed(head, part, target / ratio) for part in head.parts]
        except OutOfTime as reason:
            head.notes.append(f"compression stopped: {reason}")
            break
        for part, c in zip(head.parts, compressed, strict=True):
            _refine(part, _best_cuts(c.s, floor), floor)
        head.theorems = _theorems(head, compressed, error=target)
        if _slice(head, compressed, target):
            return
        head.notes.append(f"no slice was proved at tolerance error/{ratio:g}")
    for part in head.parts:
        _refine(part, spread_cuts(part.M.shape[0], 7), floor)
    _exact(head, target)


def _slice(head: Head, compressed: list[Compressed], target: float) -> bool:
    """Find the smallest slice that reaches `target` and prove it; False if none is proved."""
    ladder = _ladder([c.s.max(axis=0, initial=0.0) for c in compressed])
    least = sum(part.cut.sigma.size for part in head.parts)

    def systems(i: int) -> list[System | None]:
        chosen = zip(head.parts, compressed, ladder[i], strict=True)
        return [_strict(c, n, part.name) for part, c, n in chosen]

    def fits(i: int) -> bool:
        E, _ = head.residual(systems(i), proved=False)
        return norm_estimate(E, above=target) + head.radius <= target

    top = len(ladder) - 1
    start = _first(fits, min(least, top), top, head)
    for i in sorted({min(i, top) for i in (start, start + 1, start + 3, top)}):
        E, off = head.residual(systems(i), proved=True)
        error = proved_error(E, off, head.radius, target)
        if error <= target:
            for part, system in zip(head.parts, systems(i), strict=True):
                part.system = system
            head.error, head.frobenius = error, float(np.linalg.norm(E))
            return True
    return False


def best_error(head: Head, states: int) -> None:
    """Fill in cuts, systems and the proved error for `states` states in each direction of time."""
    for part in head.parts:
        part.cut = best_gap(part.M, states, spread_cuts(part.M.shape[0], 7))
    guess = max((float(p.cut.sigma[-1]) for p in head.parts if p.cut.sigma.size), default=0.0)
    tol = max(guess / RATIOS[0], 1e-14 * fro(head.M))
    compressed = []
    for part in head.parts:
        try:
            c = _compressed(head, part, tol)
        except OutOfTime as reason:
            head.notes.append(f"compression stopped: {reason}; the system is truncated on the way")
            c = compress(part.M, tol, rank=states)
        compressed.append(c)
        if c.n > states:
            finer = best_gap(part.M, states, [int(np.argmax(c.s[:, states]))])
            part.cut = max(part.cut, finer, key=strength)
        part.system = _strict(c, min(states, c.n), part.name)
    E, off = head.residual([p.system for p in head.parts], proved=True)
    head.error = proved_error(E, off, head.radius, slack=1e-5)
    head.frobenius = float(np.linalg.norm(E))
    head.theorems = _theorems(head, compressed, states=states)


def _compressed(head: Head, part: Part, tol: float) -> Compressed:
    """The pass at tolerance `tol`, exact for small operators; OutOfTime beyond budget or memory."""
    L, r, _, m = part.M.shape
    size = fro(part.M)
    limit = int(np.sqrt(MEMORY / (8 * max(L, 1))))
    left = head.deadline - time.monotonic()
    deadline = time.monotonic() + BUDGET_SHARE * left
    if L * max(r, m) <= EXACT_SIZE:
        return compress(part.M, 1e-15 * size, gram=False, limit=limit)
    # eigenvalues of a Gram matrix carry squared singular values: below 1e-7 |M| they are rounding
    return compress(part.M, tol, gram=tol > 1e-7 * size, limit=limit, deadline=deadline)


def _strict(c: Compressed, n: int, name: str) -> System:
    """The slice with n states; the diagonal belongs to the forward direction."""
    A, B, C, D = c.sliced(n)
    return A, B, C, D if name == "forward" else np.zeros_like(D)


def _refine(part: Part, cuts: list[int], floor: float) -> None:
    part.cut = max(part.cut, best_count(part.M, floor, cuts), key=strength)


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


def _ladder(peaks: list[np.ndarray]) -> list[tuple[int, ...]]:
    """State counts per part: one state more at each rung, the largest singular value left."""
    order = sorted(((-x, j) for j, p in enumerate(peaks) for x in p), key=lambda item: item[0])
    rungs, counts = [tuple(0 for _ in peaks)], [0] * len(peaks)
    for _, j in order:
        counts[j] += 1
        rungs.append(tuple(counts))
    return rungs


def _first(fits: Callable[[int], bool], low: int, top: int, head: Head) -> int:
    """The smallest index in low..top that fits, by galloping from `low` and bisection.

    Assumes that fitting is monotone; a wrong answer costs states, never correctness.  When the
    time is up the last index that is known to fit is returned (`top` if none is).
    """
    bad, good, i, step = low - 1, -1, low, 1
    while good < 0:
        if i >= top:
            good = top
        elif head.out_of_time:
            head.notes.append("the budget ended during the search: the system could be smaller")
            return top
        elif fits(i):
            good = i
        else:
            bad, i, step = i, i + step, 2 * step
    while good - bad > 1 and not head.out_of_time:
        middle = (bad + good) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _theorems(
    head: Head, compressed: list[Compressed], error: float | None = None, states: int | None = None
) -> tuple[TheoremBound, ...]:
    """The a-priori bounds; they need all singular values, so only where the pass is exact."""
    L, r, _, m = head.M.shape
    found: tuple[TheoremBound, ...] = ()
    if L * max(r, m) <= EXACT_SIZE and len(head.parts) == 1:
        found = theorem_bounds(compressed[0].s, L, error, states)
    most = max((min(k * m, (L - k) * r) for k in range(L + 1)), default=0)
    exact = TheoremBound(
        "exact minimal realization", most * len(head.parts), 0.0, "none", "dewilde1998, ch. 3"
    )
    return (*found, exact) if states is None or states >= most else found


def _exact(head: Head, target: float) -> None:
    """Systems that reproduce M: L/2 states where memory allows, else all of the past."""
    head.error = 0.0
    for part in head.parts:
        L, r, _, m = part.M.shape
        small = 8 * L * _half(L, r, m)[1] ** 2 <= EXACT_MEMORY
        part.system = switched(part.M, part.name) if small else None
    for attempt in range(2):
        E, off = head.residual([p.system for p in head.parts], proved=True)
        head.error = proved_error(E, off, head.radius, target)
        head.frobenius = float(np.linalg.norm(E))
        if head.error <= target or attempt:
            break
        for part in head.parts:
            part.system = None


def _half(L: int, r: int, m: int) -> tuple[int, int]:
    """The best step to exchange the inputs so far for the outputs to come; the states needed."""
    sizes = [max(h * m, (L - h - 1) * r) for h in range(L)]
    return min(enumerate(sizes), key=lambda item: item[1], default=(0, 0))


def switched(M: np.ndarray, name: str) -> System:
    """An exact system: the state holds the past inputs first, the future outputs later.

    n = min over h of max(h m, (L-h-1) r), floor(L/2) for r = m = 1.  Every product in its kernel
    has one factor that is an entry of M and otherwise zeros and ones, so it is exact in floats.
    """
    L, r, _, m = M.shape
    h, n = _half(L, r, m)
    A, B, C = np.zeros((L, n, n)), np.zeros((L, n, m)), np.zeros((L, r, n))
    for t in range(L):
        if t < h:
            A[t] = np.eye(n)
            B[t, t * m : (t + 1) * m] = np.eye(m)
        elif (rest := (L - t - 1) * r) > 0:
            if t == h:
                A[t, :rest, : h * m] = M[t + 1 :, :, :h, :].reshape(rest, h * m)
            else:
                A[t, :rest, r : rest + r] = np.eye(rest)
            B[t, :rest] = M[t + 1 :, :, t, :].reshape(rest, m)
        if t <= h:
            C[t, :, : t * m] = M[t, :, :t, :].reshape(r, t * m)
        else:
            C[t, :, :r] = np.eye(r)
    D = diagonal(M)
    return A, B, C, D if name == "forward" else np.zeros_like(D)
