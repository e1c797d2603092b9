"""Separations by long tails: what a token leaves behind while another one is repeated.

These invariants rest on inequalities between eigenvalues, which are shown by the signs of symbolic
expressions over the domains of the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS, Letter, outputs, tokens
from dsf.claims.reading import count, number, require, witness
from dsf.claims.separation import LetterClaim, largest, reproduced
from dsf.claims.transitions import diagonal, of_letters
from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.worlds import precision
from dsf.relations.invariants import LAGS, STEPS
from dsf.relations.invariants import window as window_of


class TailClaim(LetterClaim):
    """s_t = F(a z z ...)[t] - F(b z z ...)[t], t = 1, 2, ..."""

    def tail(self, lags: int) -> np.ndarray:
        """s_1 .. s_lags [lags coordinates] of the family that violates the invariant."""
        return _tail(self.violates, self.letters, self.constants, lags)


@dataclass(frozen=True, eq=False, kw_only=True)
class SignChanges(TailClaim, kind="separation/sign-changes"):
    """The enclosed signs of s_1 .. s_39 change as often as told; no eigenvalue is positive."""

    lower: int = witness(count)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has}: what a token leaves changes its sign "
            f"{self.lower} times in {LAGS} steps, and for ever; n states of {self.has} allow n-1 "
            f"changes ({LAGS + 1} tokens; {having.where(self.has)})"
        )

    def check(self) -> None:
        self.fit("abz")
        _one_recurrence(self.violates)
        with precision(BITS):
            s = self.tail(LAGS)
            require(not any(e.contains(0) for e in s.flat), "a sign is undecided")
            found = max(_changes(column) for column in s.T)
            for A in of_letters(self.violates, self.letters["z"], self.constants):
                entries = diagonal(A)
                require(entries is not None, "the transition is not diagonal")
                for a in entries or ():
                    turns = not a.imag.contains(0) or a.real < 0
                    require(bool(turns), "an eigenvalue may be positive: the changes may end")
        having.positive(self.has)
        require(self.lower == found, f"the sign changes {found} times")


@dataclass(frozen=True, eq=False, kw_only=True)
class Window(TailClaim, kind="separation/window"):
    """s is not zero inside the window; outside of it the tokens are not even read."""

    lower: float = witness(number)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has}: it has forgotten a token completely "
            f"after {window_of(self.violates)} steps, the transitions of {self.has} are "
            f"invertible ({having.where(self.has)})"
        )

    def check(self) -> None:
        self.fit("abz")
        width = window_of(self.violates)
        require(width > 1, f"{self.violates} has no window")
        with precision(BITS):
            s = self.tail(width + 3)
            reproduced(self.lower, largest(s[width - 2]))
            gone = all(e.contains(0) for e in s[width - 1 :].flat)
            require(gone, "the window is longer than told")
        having.positive(self.has)


@dataclass(frozen=True, eq=False, kw_only=True)
class Stays(TailClaim, kind="separation/stays"):
    """s_1 = ... = s_6 exactly, with at most STEPS - 2 states: then s stays for ever."""

    lower: float = witness(number)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has} itself (a limit is not excluded): it can "
            f"keep what a token left for ever, {self.has} cannot ({having.where(self.has)})"
        )

    def check(self) -> None:
        self.fit("abz")
        with precision(BITS):
            _few_states(self, "z")
            reproduced(self.lower, _constant(self.tail(STEPS)))
        having.no_eigenvalue_one(self.has)


@dataclass(frozen=True, eq=False, kw_only=True)
class Grows(TailClaim, kind="separation/grows"):
    """The response moves by the same amount six times, with at most STEPS - 2 states."""

    lower: float = witness(number)

    @property
    def statement(self) -> str:
        return (
            f"{self.violates} is not nested in {self.has} itself (a limit is not excluded): its "
            f"response to a constant token can grow for ever by equal steps, that of {self.has} "
            f"cannot ({having.where(self.has)})"
        )

    def check(self) -> None:
        self.fit("x")
        with precision(BITS):
            _few_states(self, "x")
            y = outputs(self.violates, self.letters, self.constants, "x" * (STEPS + 1))
            reproduced(self.lower, _constant(y[1:] - y[:-1]))
        having.settles(self.has)


# ------------------------------------------------------------------- the parts
def _one_recurrence(f: Family) -> None:
    """While one token is repeated, what is left of others obeys one linear recurrence."""
    having.affine(f)
    having.current_token_only(f)


def _few_states(c: TailClaim, word: str) -> None:
    """A sequence that obeys a linear recurrence of order n and is constant for n + 1 steps is
    constant for ever; n complex states give real outputs of order 2 n."""
    import flint

    _one_recurrence(c.violates)
    tok = tokens(c.letters, c.constants, word)
    S = np.asarray(c.violates.without_parameters().advance(tok, State())[1].S, dtype=object)
    n = S.shape[-2] * (2 if any(isinstance(e, flint.acb) for e in S.flat) else 1)
    require(n + 2 <= STEPS, f"{STEPS} steps decide nothing for {n} real states")


def _constant(s: np.ndarray) -> Any:
    """The largest value of a column with exactly equal entries."""
    kept = [column for column in s.T if all((e - column[0]).is_zero() for e in column)]
    require(kept, "nothing is exactly constant")
    return largest(column[0] for column in kept)


def _tail(f: Family, letters: dict[str, Letter], constants: Letter, lags: int) -> np.ndarray:
    word = "z" * lags
    a, b = (outputs(f, letters, constants, first + word) for first in "ab")
    return np.asarray((a - b)[1:])


def _changes(column: np.ndarray) -> int:
    signs = [1 if e > 0 else -1 for e in column if not e.contains(0)]
    return sum(x != y for x, y in zip(signs[1:], signs[:-1], strict=True))
