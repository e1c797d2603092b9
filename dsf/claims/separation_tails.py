"""Checkers about long tails: what a token leaves behind while another one is repeated.

These invariants rest on inequalities between eigenvalues, which a random member of a family may
satisfy although the family does not: so transitions are also enclosed over pieces of the domains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import (
    Letter,
    ball,
    draw_letters,
    even_state,
    named,
    outputs,
    read_letters,
    require,
)
from dsf.claims.separation import BITS, below, common, reproduced
from dsf.claims.transitions import diagonal, drawn, of_letters, over_domains, shortens
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.tokens import Tokens

LAGS = 39
STEPS = 6  # repetitions for the statement that something stays


def sign_sentence(has: Any, violates: Any, changes: int, lags: int) -> str:
    """The claim of a separation by sign changes."""
    return (
        f"{violates} is not nested in {has}: what a token leaves changes its sign {changes} times "
        f"in {lags} steps, and for ever; n states of {has} allow n-1 changes ({lags + 1} tokens)"
    )


def window_sentence(has: Any, violates: Any, width: int) -> str:
    """The claim that a finite window is not a recurrence with invertible transitions."""
    return (
        f"{violates} is not nested in {has}: it has forgotten a token completely after {width} "
        f"steps, the transitions of {has} are invertible"
    )


def stays_sentence(has: Any, violates: Any) -> str:
    """The claim that a memory which does not fade is only a limit of fading ones."""
    return (
        f"{violates} is not nested in {has} itself (a limit is not excluded): it can keep what a "
        f"token left for ever, in {has} everything fades"
    )


def grows_sentence(has: Any, violates: Any) -> str:
    """The claim that a response which grows for ever is only a limit of settling ones."""
    return (
        f"{violates} is not nested in {has} itself (a limit is not excluded): its response to a "
        f"constant token can grow for ever by equal steps, that of {has} settles"
    )


# ------------------------------------------------------------------- checkers
def sign_changes(c: Certificate) -> None:
    """The enclosed signs of s_1 .. s_39 change as often as told; no eigenvalue is positive."""
    from dsf.core.worlds import precision

    has, violates, letters, constants = _read(c)
    with precision(BITS):
        s = _tail(violates, letters, constants, LAGS)
        require(not any(e.contains(0) for e in s.flat), "a sign is undecided")
        found = max(_changes(column) for column in s.T)
        for A in of_letters(violates, letters["z"], constants):
            entries = diagonal(A)
            require(entries is not None, "the transition is not diagonal")
            for a in entries or ():
                turns = not a.imag.contains(0) or a.real < 0
                require(bool(turns), "an eigenvalue may be positive: the changes may end")
        _positive(has)
        for n, s in _samples(has, 12):
            require(
                max(_changes(column) for column in s.T) <= n - 1, f"{has} changes sign more often"
            )
    require(c.lower == found, f"the sign changes {found} times")
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)
    require(c.claim == sign_sentence(has, violates, found, LAGS), "the claim says something else")


def window(c: Certificate) -> None:
    """s is not zero inside the window; outside of it the tokens are not even read."""
    from dsf.core.worlds import precision

    has, violates, letters, constants = _read(c)
    mech = violates.bare()
    require(hasattr(mech, "support") and bool(mech.lookback), f"{violates} has no window")
    width = 1 + (mech.lookback or 0)
    with precision(BITS):
        s = _tail(violates, letters, constants, width + 3)
        reproduced(c.lower, max(below(e) for e in s[width - 2]))
        require(all(e.contains(0) for e in s[width - 1 :].flat), "the window is longer than told")
        _positive(has)
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)
    require(c.claim == window_sentence(has, violates, width), "the claim says something else")


def stays(c: Certificate) -> None:
    """s_1 = ... = s_6 exactly, with at most STEPS - 2 states: then s stays for ever."""
    has, violates, letters, constants = _read(c)

    def values(f: Family, word: tuple[dict[str, Letter], Letter], lags: int) -> np.ndarray:
        return _tail(f, *word, lags)

    _constant(c, has, violates, (letters, constants), values, unit_deltas=False)
    require(c.claim == stays_sentence(has, violates), "the claim says something else")


def grows(c: Certificate) -> None:
    """The response moves by the same amount six times, with at most STEPS - 2 states."""
    w = c.witnesses
    violates = named(w, "violates")
    letters, constants = read_letters(violates, w)
    has = named(w, "has")
    require(set(letters) == {"x"}, "one letter x is expected")

    def values(f: Family, word: tuple[dict[str, Letter], Letter], lags: int) -> np.ndarray:
        y = outputs(f, *word, "x" * (lags + 1))
        return y[1:] - y[:-1]

    _constant(c, has, violates, (letters, constants), values, unit_deltas=True)
    require(c.claim == grows_sentence(has, violates), "the claim says something else")


def _constant(
    c: Certificate,
    has: Family,
    violates: Family,
    word: tuple[dict[str, Letter], Letter],
    values: Callable[[Family, tuple[dict[str, Letter], Letter], int], np.ndarray],
    unit_deltas: bool,
) -> None:
    """One sequence is constant and not 0 for one family; the transitions of the other shorten.

    A sequence that obeys a linear recurrence of order n and is constant for n + 1 steps is constant
    for ever.
    """
    from dsf.core.worlds import precision

    names = "".join(sorted(word[0]))
    with precision(BITS):
        n = np.shape(_state(violates, *word, names[-1]).S)[-2]
        require(n + 2 <= STEPS, f"{STEPS} steps decide nothing for {n} states")
        s = values(violates, word, STEPS)
        kept = [col for col in s.T if all((e - col[0]).is_zero() for e in col)]
        require(bool(kept), "nothing is exactly constant")
        reproduced(c.lower, max(below(col[0]) for col in kept))
        for matrices in over_domains(has):
            require(all(shortens(A) for A in matrices), f"the transitions of {has} reach 1")
        if not (unit_deltas and _unit_deltas(has)):
            for seed in range(4):
                n = 2 * (1 + seed % 2) if even_state(has) else 1 + seed % 3
                shorter = all(shortens(A) for A in drawn(has, n, 2000 + seed))
                require(shorter, f"in {has} something does not fade")
    common(c, Scope.RECURRENCE, Strength.ENCLOSED)


# ------------------------------------------------------------------- the parts
def _read(c: Certificate) -> tuple[Family, Family, dict[str, Letter], Letter]:
    w = c.witnesses
    violates = named(w, "violates")
    letters, constants = read_letters(violates, w)
    require({"a", "b", "z"} <= set(letters), "the letters must be a, b and z")
    return named(w, "has"), violates, letters, constants


def _tail(f: Family, letters: dict[str, Letter], constants: Letter, lags: int) -> np.ndarray:
    word = "z" * lags
    a, b = (outputs(f, letters, constants, first + word) for first in "ab")
    return (a - b)[1:]


def _tokens(letters: dict[str, Letter], constants: Letter, word: str) -> Tokens:
    rows = {k: np.concatenate([letters[c][k] for c in word], axis=-2) for k in letters[word[0]]}
    return Tokens(**{k: ball(x) for k, x in (rows | constants).items()})


def _state(f: Family, letters: dict[str, Letter], constants: Letter, word: str) -> State:
    return f.bare().advance(_tokens(letters, constants, word), State())[1]


def _changes(column: np.ndarray) -> int:
    signs = [1 if e > 0 else -1 for e in column if not e.contains(0)]
    return sum(x != y for x, y in zip(signs[1:], signs[:-1], strict=True))


def _positive(f: Family) -> None:
    """At the smallest size and over the domains of the gates, the transition is positive."""
    for matrices in over_domains(f):
        for A in matrices:
            positive = all(e.imag.is_zero() and e.real > 0 for e in diagonal(A) or [A[0][0]])
            require(bool(positive), f"the transitions of {f} are not all positive")


def _unit_deltas(f: Family) -> bool:
    """Delta steps with unit keys: the state stays in the span of the keys of a repeated token."""
    return {"k", "beta"} <= set(f.spec) and f.spec["k"].domain == "unit"


def _samples(has: Family, lags: int) -> list[tuple[int, np.ndarray]]:
    """(n, s) on random rational letters of the family that is said to have the invariant."""
    found = []
    skip = has.bare().lookback or 0
    for seed in range(4):
        n = 2 * (1 + seed % 2) if even_state(has) else 1 + seed % 3
        letters, constants = draw_letters(has, "abz", n, np.random.default_rng(2000 + seed))
        found.append((n, _tail(has, letters, constants, lags)[skip:]))
    return found
