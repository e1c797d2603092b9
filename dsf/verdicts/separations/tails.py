"""The invariants about a long tail: what a token leaves behind while another one is repeated.

s_t = F(a z z ...)[t] - F(b z z ...)[t], t = 1, 2, ...: two runs that differ in their first token.
For an affine recurrence s_t = C A(z)^t d with one vector d, so s obeys the linear recurrence of the
characteristic polynomial of A(z).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from dsf.claims import separation_tails as claims
from dsf.core.family import Family
from dsf.core.fields import GATE, REAL
from dsf.core.transition import Diag
from dsf.core.worlds import precision
from dsf.relations import invariants as known
from dsf.relations.invariants import LAGS, STEPS, window
from dsf.verdicts.properties import Properties, properties
from dsf.verdicts.separations.core import (
    CLEAR,
    SLACK,
    TINY,
    Separation,
    below,
    draw_size,
    drawn,
)
from dsf.verdicts.separations.invariants import silent
from dsf.verdicts.separations.words import BITS, Alphabet, alphabets, enclosures, floats

SIGN = 1e-9  # smaller numbers, relative to the largest, have no sign that floats could tell
LARGE, VANISHED = 1e-3, 1e-14  # a tail that was above the one and is below the other is gone


def tail(letters: Alphabet, lags: int, convert: Any) -> Any:
    """s_1 .. s_lags [lags coordinates]."""
    return (
        letters.outputs("a" + "z" * lags, convert) - letters.outputs("b" + "z" * lags, convert)
    )[1:]


def basis_keys(alphabet: Alphabet) -> Alphabet:
    """Queries and the key of a along the first axis, the key of z along the last one, where the
    domains allow it; z writes nothing and b is a with the value 0."""
    spec, letters = alphabet.family.spec, {}
    for c, letter in alphabet.letters.items():
        new = dict(letter)
        for name in ("q", "k"):
            if name in letter and (spec[name].domain == REAL or spec[name].domain.unit):
                place = -1 if (c, name) == ("z", "k") else 0
                new[name] = np.full_like(letter[name], Fraction(0))
                new[name][..., place] = Fraction(1)
        letters[c] = new
    return silent("z")(replace(alphabet, letters=letters))


@dataclass(frozen=True, eq=False)
class TailSeparation(Separation):
    """Letters are tried until one violates the invariant; the claim tells by how much."""

    kind: type[claims.TailClaim] = claims.TailClaim
    names = "abz"
    tries = 40

    def applies(self, b: Family) -> bool:
        """Whether a family can violate the invariant in the way that is looked for."""
        return properties(b).affine and "pos" not in b.spec

    def tie(self, letters: Alphabet) -> Alphabet:
        """Simplification of the letters."""
        return basis_keys(letters)

    def measured(self, letters: Alphabet) -> float:
        """The number in the claim; 0 where these letters violate nothing."""
        raise NotImplementedError

    def search(self, a: Family, b: Family) -> tuple[Alphabet, float] | None:
        return None if self.has(b) else _found(self, b)

    def claim(self, a: Family, b: Family, witness: tuple[Alphabet, float]) -> claims.TailClaim:
        letters, number = witness
        return self.kind(
            has=a, violates=b, letters=letters.letters, constants=letters.constants, lower=number
        )  # type: ignore[call-arg]  # every kind of tail has a lower bound


@cache
def _found(separation: TailSeparation, b: Family) -> tuple[Alphabet, float] | None:
    if separation.applies(b):
        for candidate in alphabets(b, separation.names, separation.tries):
            letters = separation.tie(candidate)
            if number := separation.measured(letters):
                return letters, number
    return None


# ------------------------------------------------------------------ sign changes
def sign_changes(s: np.ndarray) -> int:
    """How often a sequence of floats changes its sign; zeros are skipped."""
    signs = np.sign(s)
    signs = signs[signs != 0]
    return int(np.sum(signs[1:] != signs[:-1]))


def _unit_keys(family: Family) -> bool:
    return "k" in family.spec and family.spec["k"].domain.unit


def _positive(family: Family, t: Properties) -> bool:
    # delta steps with unit keys and beta in (0, 1) have their eigenvalues in (0, 1]
    delta = t.delta and _unit_keys(family) and family.spec["beta"].domain == GATE
    return t.affine and t.tokenwise and (t.positive or delta)


class SignChanges(TailSeparation):
    """More changes of sign than n - 1."""

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), 12, floats)
        size = np.abs(s).max(axis=0, initial=TINY)
        clear = np.where(np.abs(s) > SIGN * size, s, 0)  # a rounding error has no sign
        return float(max(max(sign_changes(c) - (n - 1), 0) for c in clear.T))

    def measured(self, letters: Alphabet) -> int:
        if not _turns(letters):
            return 0
        with precision(BITS):
            s = tail(letters, LAGS, enclosures)
            if any(e.contains(0) for e in s.flat):
                return 0
            changes = max(sign_changes(np.array([1 if e > 0 else -1 for e in c])) for c in s.T)
        return changes if changes > 1 else 0


def _turns(letters: Alphabet) -> bool:
    """Whether the transition of z, diagonal or a number, has no positive eigenvalue."""
    mech = letters.family.without_parameters()
    tok = letters.tokens("zz", floats)
    A = mech.system(tok)[0].A
    if isinstance(A, Diag):
        a = np.asarray(A.values()).reshape(-1)
    elif A.n == 1:
        a = np.prod(np.asarray(A.dense())[..., -mech.substeps :, 0, 0], axis=-1).reshape(-1)
    else:
        return False
    return bool(np.all((np.abs(np.imag(a)) > SIGN) | (np.real(a) < 0)))


SIGN_CHANGES = SignChanges(known.SIGN_CHANGES, _positive, claims.SignChanges)


# ------------------------------------------------------------- finite window, reverse
class Invertible(TailSeparation):
    """A tail that ends."""

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where s vanishes (to rounding) n times in a row after having been large."""
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), n + 1, floats)
        return float(np.any((np.abs(s[0]) > LARGE) & np.all(np.abs(s[1:]) < VANISHED, axis=0)))

    def applies(self, b: Family) -> bool:
        return window(b) > 1

    def tie(self, letters: Alphabet) -> Alphabet:
        return silent("z")(letters)

    def measured(self, letters: Alphabet) -> float:
        with precision(BITS):
            last = tail(letters, window(letters.family) - 1, enclosures)[-1]
            return max(below(e) for e in last)


INVERTIBLE = Invertible(known.INVERTIBLE, _positive, claims.Window)


# --------------------------------------------------------------------- forgetting
def _fades(family: Family, t: Properties) -> bool:
    delta = t.delta and t.contracts and not t.lossless
    return t.affine and "pos" not in family.spec and (t.forgets or delta)


class Forgetting(TailSeparation):
    """A tail that stays."""

    tries = 4

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where s keeps a value (to rounding) for 2n + 1 steps (complex states count twice)."""
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), 2 * n + 2, floats)[1:]
        return float(np.any(_steady(s)))

    def measured(self, letters: Alphabet) -> float:
        return _exactly_steady(lambda convert: tail(letters, STEPS, convert))


FORGETTING = Forgetting(known.FORGETTING, _fades, claims.Stays)


# ----------------------------------------------------------------------- settling
def _settles(family: Family, t: Properties) -> bool:
    delta = t.delta and _unit_keys(family) and (t.lossless or t.contracts)
    return t.affine and "pos" not in family.spec and (t.forgets or delta)


class Settling(TailSeparation):
    """A response that grows by equal steps."""

    names = "x"
    tries = 4

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where the response moves by one amount (to rounding) n + 1 times."""
        n = draw_size(family, rng)
        y = drawn(family, "x", n, rng).outputs("x" * (2 * n + 4), floats)[1:]
        return float(np.any(_steady(np.diff(y, axis=0))))

    def tie(self, letters: Alphabet) -> Alphabet:
        return letters

    def measured(self, letters: Alphabet) -> float:
        word = "x" * (STEPS + 1)
        return _exactly_steady(lambda convert: np.diff(letters.outputs(word, convert), axis=0))


SETTLING = Settling(known.SETTLING, _settles, claims.Grows)


def _steady(moves: np.ndarray) -> np.ndarray:
    """For every column: all entries equal (to rounding) and not 0."""
    size = np.abs(moves[0])
    return (size > CLEAR) & np.all(np.abs(moves - moves[0]) <= SLACK * size, axis=0)


def _exactly_steady(moves: Callable[[Any], Any]) -> float:
    """The largest value of a column with exactly equal entries; 0 if there is none."""
    if not np.any(_steady(moves(floats))):
        return 0.0
    with precision(BITS):
        columns = moves(enclosures).T
        kept = [c for c in columns if all((e - c[0]).is_zero() for e in c)]
        return max((below(c[0]) for c in kept), default=0.0)
