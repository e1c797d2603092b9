"""Two-sided bounds on states and errors: Hankel blocks from below, a given system from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.hankel import REFERENCE, same_residuals, within
from dsf.claims.reading import (
    Record,
    amount,
    count,
    flag,
    floats,
    many,
    number,
    one_of,
    record,
    require,
    size,
    table,
    witness,
)
from dsf.claims.singular import ORTHONORMAL, SLACK, TINY, U, at_most, g, kernel, smallest
from dsf.claims.singular import size as norm
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, exactly, n_states
from dsf.core.printing import at_most as rounded_up

SUBTRACTED = 2.0**-45  # of the error: what the subtractions from it may lose, and more
NORM_GAP = 1e-13  # absolute, of a sum of high/low - 1, which cancels


@dataclass(frozen=True, eq=False, kw_only=True)
class Direction(Record):
    """One direction of time: directions of a Hankel block, and a system or the cache of inputs."""

    cut: int = witness(count)
    U: np.ndarray = witness(floats(None, None))
    V: np.ndarray = witness(floats(None, None))
    cache: bool | None = witness(one_of(True), optional=True)
    A: np.ndarray | None = witness(floats(None, None, None), optional=True)
    B: np.ndarray | None = witness(floats(None, None, None), optional=True)
    C: np.ndarray | None = witness(floats(None, None, None), optional=True)

    @property
    def count(self) -> int:
        """How many singular values of the block are bounded."""
        return int(self.U.shape[1])

    def states(self, M: np.ndarray) -> int:
        """States of the given system; a cache keeps all earlier inputs."""
        return max(M.shape[0] - 1, 0) * M.shape[3] if self.A is None else self.A.shape[-1]

    def kernel(self, M: np.ndarray) -> tuple[np.ndarray, float]:
        """The strictly causal kernel, with a bound on what its evaluation may be off by."""
        if self.A is None or self.B is None or self.C is None:
            require(self.cache and (self.A, self.B, self.C) == (None,) * 3, "no system is given")
            t = np.arange(M.shape[0])
            return np.where(t[:, None, None, None] > t[:, None], M, 0.0), 0.0
        require(self.cache is None, "a system and a cache are given")
        flat, off = kernel(self.A, self.B, self.C)
        require(flat.size == M.size, "the system has other sizes than M")
        return flat.reshape(M.shape), off

    def singular_value(self, M: np.ndarray) -> tuple[float, float]:
        """The lower bound that the block M[k:, :k] gives, and the same in plain floats."""
        L, r, _, m = M.shape
        require(self.cut <= L, f"cut {self.cut} is not one of 0..{L}")
        k = self.cut
        return smallest(M[k:, :, :k, :].reshape((L - k) * r, k * m), self.U, self.V)


@dataclass(frozen=True, eq=False, kw_only=True)
class Head(Record):
    """One operator M [L r L m] with its system; `backward` for what lies above the diagonal."""

    M: np.ndarray = witness(floats(None, None, None, None))
    error: float = witness(size)
    D: np.ndarray = witness(floats(None, None, None))
    forward: Direction = witness(record(Direction))
    backward: Direction | None = witness(record(Direction), optional=True)
    norm_low: float | None = witness(size, optional=True)
    norm_high: float | None = witness(size, optional=True)
    norm_v: np.ndarray | None = witness(floats(None), optional=True)

    @property
    def runs(self) -> tuple[tuple[Direction, np.ndarray], ...]:
        """The directions of time, each with M as it is run in it."""
        forward = ((self.forward, self.M),)
        return (
            forward
            if self.backward is None
            else (*forward, (self.backward, self.M[::-1, :, ::-1, :]))
        )

    @property
    def counts(self) -> tuple[int, int]:
        """States that are necessary, and those of the systems: both directions together."""
        return sum(d.count for d, _ in self.runs), sum(d.states(M) for d, M in self.runs)

    def proved(self, relative: bool, radius: float) -> Proved:
        """What follows from the witnesses of this operator."""
        M = self.M
        require(M.shape[0] == M.shape[2] and 0 not in M.shape[1::2], f"M has the shape {M.shape}")
        low, high = self.norm_bounds(radius) if relative else (1.0, 1.0)
        unused = relative or (self.norm_low, self.norm_high, self.norm_v) == (None,) * 3
        require(unused, "bounds of |M| are given, but the error is absolute")
        found = [d.singular_value(X) for d, X in self.runs]
        E, extra = self._difference()
        # 2 u |E|_F, for E = fl(M - K), exceeds SLACK of the error only from 2^24 rows on
        error = (self.error * (1 - SUBTRACTED) - radius - extra - 2 * U * norm(E)) * (1 - SLACK)
        follows = at_most(E, error)
        require(follows, f"|M - kernel of the system| <= {self.error:.6g} does not follow")
        return Proved(
            min(sigma for sigma, _ in found),
            *self.counts,
            sum(plain for _, plain in found),
            self.error,
            float(np.linalg.norm(E)),
            extra,
            low,
            high,
        )

    def norm_bounds(self, radius: float) -> tuple[float, float]:
        """low <= |M| <= high for all operators within `radius` of M: a vector, and Cholesky."""
        L, r, _, m = self.M.shape
        F = self.M.reshape(L * r, L * m)
        low, high, v = self.norm_low, self.norm_high, self.norm_v
        if low is None or high is None or v is None:
            require(False, "bounds of |M| are missing")
            raise AssertionError
        if F.size == 0:
            require(low == 0.0, "an empty operator has norm 0")
            return low, high
        unit = v.shape == F.shape[1:] and abs(v @ v - 1.0) < ORTHONORMAL
        require(unit, "the test vector of |M| is not of length 1: was it changed?")
        Fv = F @ v
        lost = g(F.shape[1]) * norm(F) * norm(v) + np.sqrt(TINY)  # squares that underflow: the root
        short = np.sqrt(Fv @ Fv) * (1 - SLACK) - lost
        proved = (short / norm(v) - radius) * (1 - SLACK)
        fits = bool(np.isfinite(short)) and low <= proved
        require(low == 0.0 or fits, f"|M| >= {low:.6g} does not follow")
        require(at_most(F, (high - radius) * (1 - SLACK)), f"|M| <= {high:.6g} does not follow")
        return low, high

    def _difference(self) -> tuple[np.ndarray, float]:
        """E = fl(M - kernel) and a bound on what the evaluation of the kernel may be off by."""
        M = self.M
        L, r, _, m = M.shape
        require(self.D.shape == (L, r, m), "D has another shape than the diagonal of M")
        K, t = np.zeros_like(M), np.arange(L)
        K[t, :, t, :] = self.D
        part, extra = self.forward.kernel(M)
        K += part  # the directions fill different entries, so these sums are exact
        if self.backward is not None:
            part, more = self.backward.kernel(M[::-1, :, ::-1, :])
            K += part[::-1, :, ::-1, :]
            extra += more
        return (M - K).reshape(L * r, L * m), extra


@dataclass(frozen=True)
class Proved:
    """What the witnesses of one operator prove, both directions of time together."""

    sigma: float  # `count` singular values exceed this, proved; infinite for none
    count: int
    states: int  # of the systems
    plain: float  # the last of these singular values in each direction, in plain floats, summed
    error: float  # proved bound on |M - kernel of the systems|
    frobenius: float
    extra: float  # how far the evaluated kernel may be from the exact one
    low: float  # low <= |M| <= high
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Realization(Claim, kind="realization"):
    """Bounds of the states that an error needs, or of the error that so many states reach.

    States are those of one head, forward and backward together.  If a singular values of the
    forward block and b of the backward one exceed e, a recurrence with fewer than a + b states has
    too few in one of the directions, so its error is at least e.
    """

    scope, strength, reference = Scope.OPERATOR, Strength.ENCLOSED, REFERENCE
    lower: float | int = witness(amount)
    upper: float | int = witness(amount)
    question: str = witness(one_of("states", "error"))
    asked: float | int = witness(amount)
    relative: bool = witness(flag)
    radius: float = witness(size)
    heads: tuple[Head, ...] = witness(many(record(Head)))
    residuals: Mapping[str, float] = witness(table(number))

    @property
    def statement(self) -> str:
        unit = " |M|" if self.relative else ""
        where = f"operator 2-norm{within(self.radius)}"
        if self.question == "states":
            return (
                f"error {exactly(self.asked)}{unit} in the {where} needs at least {self.lower} "
                f"and at most {n_states(self.upper)}{self.whose} (system given)"
            )
        low, high = at_least(self.lower, 6), rounded_up(self.upper, 6)
        return (
            f"{n_states(self.asked)}{self.whose}, {where}: the smallest error is at least "
            f"{low}{unit} and at most {high}{unit} (system given)"
        )

    @property
    def whose(self) -> str:
        """Whose states are counted: of both directions, and of how many heads."""
        both = any(head.backward is not None for head in self.heads)
        text = ", forward and backward together" if both else ""
        if len(self.heads) < 2:
            return text
        if self.question == "error":
            return f"{text} in each of {len(self.heads)} heads"
        low, high = self.all_heads
        total = f"{low} to {high} in all {len(self.heads)} heads together"
        return f"{text} in the head that needs most, {total}"

    @property
    def enough_for_all(self) -> int:
        """States that every operator of these sizes can do with, in the head that needs most.

        A state may hold the inputs so far up to some step, and the outputs to come from there on.
        """
        return max(
            sum(_enough(M.shape[0], M.shape[1], M.shape[3]) for _, M in h.runs) for h in self.heads
        )

    @property
    def all_heads(self) -> tuple[int, int]:
        """States that are necessary, and those of the systems: all heads together."""
        low, high = zip(*(head.counts for head in self.heads), strict=True)
        return sum(low), sum(high)

    def check(self) -> None:
        require(self.heads, "no operator is given")
        heads = [head.proved(self.relative, self.radius) for head in self.heads]
        if self.question == "states":
            self._check_states(heads)
        else:
            self._check_error(heads)
        same_residuals(
            self.residuals,
            sigma=(sum(h.plain for h in heads), 0.0),
            frobenius=(
                float(np.sqrt(sum(h.frobenius**2 for h in heads))),
                4.0 * sum(h.extra for h in heads),
            ),
            error=(sum(h.error for h in heads), 0.0),
            norm_gap=(sum(h.high / h.low - 1.0 if h.low > 0 else 0.0 for h in heads), NORM_GAP),
        )

    def _check_states(self, heads: list[Proved]) -> None:
        asked = self.asked
        require(type(asked) is float and asked >= 0.0, "the error asked for must be >= 0")
        for h in heads:
            target = Fraction(asked) * Fraction(h.low)
            floor = Fraction(asked) * Fraction(h.high) + Fraction(self.radius)
            require(h.error <= target, f"the error is {h.error:.6g}, above {float(target):.6g}")
            above = h.count == 0 or h.sigma > floor
            require(above, f"a singular value is {h.sigma:.6g}, not above {float(floor):.6g}")
        low, high = max(h.count for h in heads), max(h.states for h in heads)
        whole = type(self.lower) is type(self.upper) is int
        same = whole and (self.lower, self.upper) == (low, high)
        require(same, f"the witnesses prove {low} to {high} states")

    def _check_error(self, heads: list[Proved]) -> None:
        asked = count(self.asked, "the number of states asked for")
        lower = Fraction(size(self.lower, "the lower bound"))
        upper = Fraction(size(self.upper, "the upper bound"))
        reached = lower == 0
        for h in heads:
            require(h.states <= asked, f"the system has {h.states} states; {asked} are asked about")
            if h.count == asked + 1:
                reached |= lower * Fraction(h.high) <= Fraction(h.sigma) - Fraction(self.radius)
            fits = h.error <= upper * Fraction(h.low)
            require(fits, f"only error <= {h.error:.6g} / {h.low:.6g} follows")
        require(reached, f"that the error is at least {float(lower):.6g} does not follow")


def _enough(L: int, r: int, m: int) -> int:
    return min((max(h * m, (L - h - 1) * r) for h in range(L)), default=0)
