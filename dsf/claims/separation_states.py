"""Families against "every recurrence with n states": too many states, or few enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS, Letter, outputs
from dsf.claims.reading import count, require, witness
from dsf.claims.separation import LetterClaim
from dsf.claims.sides import FamilyClaim, side
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.printing import n_states
from dsf.core.state import State
from dsf.core.worlds import precision
from dsf.relations.invariants import FINITE_STATE, double

MOST = len(ascii_letters) // 2  # the largest rank: each token has a letter of its own


@dataclass(frozen=True, eq=False, kw_only=True)
class ByStates(LetterClaim, kind="separation/states"):
    """A Hankel block of rank N > n, for values that are written one at a time.

    The first N tokens carry one value or none, the last N none.  What the output i of the last
    ones gains by the value j is M[i, j].  A recurrence with n states whose coefficients do not see
    earlier values reaches N states that differ by N vectors of R^n from the one without values, so
    M, which is linear in them, has rank n at most.
    """

    reference = FINITE_STATE.reference
    lower: int = witness(count)
    has: Any = witness(side)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has}: {2 * self.lower} tokens give it a "
            f"Hankel block of rank {self.lower}, for n = {self.states}"
        )

    @property
    def states(self) -> int:
        """The size n of the tokens, as far as they have one."""
        spec = self.violates.spec
        shapes = {**self.constants, **next(iter(self.letters.values()), {})}
        axes = {
            axis: size * int(axis.partition("/")[2] or 1)
            for k, x in shapes.items()
            if k in spec
            for axis, size in zip(spec[k].axes, x.shape, strict=False)  # shapes are checked later
        }
        return next((size for axis, size in axes.items() if axis[0] == "n"), 1)

    def check(self) -> None:
        import flint

        N = self.lower
        require(isinstance(self.has, AnyRecurrence), f"{self.has} is a family")
        require(self.has.n < N <= MOST, f"rank {N} tells nothing of {self.has}")
        value_field(self.violates)
        self.fit(ascii_letters[: 2 * N])
        with precision(BITS):
            block = flint.arb_mat(gains(self.violates, self.letters, self.constants, N).tolist())
            require(not block.det().contains(0), f"the block of {self.violates} may be singular")


def value_field(f: Family) -> str:
    """The token field that carries values."""
    found = [k for k in ("v", "u") if k in f.spec and f.spec[k].per_token]
    require(found, f"{f} has no values")
    require(
        f.spec[found[0]].domain.low is f.spec[found[0]].domain.high is None, "values have signs"
    )
    return found[0]


def gains(f: Family, letters: dict[str, Letter], constants: Letter, N: int) -> np.ndarray:
    """M [N N]: what the first coordinate of the output N + i gains by the value of token j."""
    name, word = value_field(f), ascii_letters[: 2 * N]
    silent = {c: {**x, name: x[name] * 0} for c, x in letters.items()}
    base = outputs(f, silent, constants, word)[N:, 0]
    columns = [
        outputs(f, {**silent, c: letters[c]}, constants, word)[N:, 0] - base for c in word[:N]
    ]
    return np.stack(columns, axis=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class FewStates(FamilyClaim, kind="few-states"):
    """A family whose step is affine in a state of fixed size, with coefficients from its token."""

    scope, strength, reference = Scope.RECURRENCE, Strength.EXACT, FINITE_STATE.reference
    upper: int = witness(count)
    family: Family = witness(named)
    recurrence: Any = witness(side)

    @property
    def statement(self) -> str:
        return (
            f"every {self.family} is one of {self.recurrence}: it has {n_states(self.upper)} per "
            f"value channel ({having.where(self.family)})"
        )

    def check(self) -> None:
        f, other = self.family, self.recurrence
        require(isinstance(other, AnyRecurrence), f"{other} is a family")
        axes = {a.partition("/")[0] for x in f.spec.values() for a in x.axes}
        require("n" not in axes, f"the number of states of {f} is free")
        require(f.without_parameters().lookback == 0, f"{f} looks back, at values too")
        having.affine(f)
        if other.current_token_only:
            having.current_token_only(f)
        rows = set(state_rows(f))
        require(rows == {self.upper}, f"{f} has {rows} states")
        require(self.upper <= other.n, f"{f} has {n_states(self.upper)}, more than {other.n}")


def state_rows(f: Family) -> Iterator[int]:
    """Real states per value channel, as draws of several widths have them."""
    for p in (1, 2, 3):
        draw = f.draw_tokens(np.random.default_rng(0), 2, n=2, p=p, d=p)
        yield f.without_parameters().advance(draw, State())[1].S.shape[-2] * double(f)
