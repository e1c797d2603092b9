"""The invariants about a long tail: what a token leaves behind while another one is repeated.

s_t = F(a z z ...)[t] - F(b z z ...)[t], t = 1, 2, ...: two runs that differ in their first token.
For an affine recurrence s_t = C A(z)^t d with one vector d, so s obeys the linear recurrence of the
characteristic polynomial of A(z).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from dsf.claims import separation_tails as claims
from dsf.core.certificate import Certificate
from dsf.core.family import Family
from dsf.core.fields import GATE, REAL
from dsf.core.transition import Diag
from dsf.core.worlds import precision
from dsf.relations import invariants as known
from dsf.relations.invariants import LAGS, STEPS, window
from dsf.verdicts.properties import properties
from dsf.verdicts.separations.core import (
    CLEAR,
    SLACK,
    TINY,
    Separation,
    Side,
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
    """What they have in common: a predicate, one search per violating family, a certificate."""

    claim: type[claims.TailClaim]

    def has(self, side: Side) -> bool:
        return isinstance(side, Family) and self.predicate(side)

    def predicate(self, family: Family) -> bool:
        raise NotImplementedError

    def search(self, b: Family) -> tuple[Alphabet, Any] | None:
        """Letters that violate the invariant, and the number in the claim."""
        raise NotImplementedError

    def violated_by(self, side: Side) -> bool:
        return isinstance(side, Family) and _found(self, side) is not None

    def certificate(self, a: Side, b: Side) -> Certificate | None:
        if not (isinstance(a, Family) and isinstance(b, Family)) or not self.has(a) or self.has(b):
            return None
        found = _found(self, b)
        if found is None:
            return None
        letters, number = found
        claim = self.claim(
            has=a, violates=b, letters=letters.letters, constants=letters.constants, lower=number
        )  # type: ignore[call-arg]  # every kind of tail has a lower bound
        return claim.certificate()


@cache
def _found(separation: TailSeparation, b: Family) -> tuple[Alphabet, Any] | None:
    return separation.search(b)


# ------------------------------------------------------------------ sign changes
def sign_changes(s: np.ndarray) -> int:
    """How often a sequence of floats changes its sign; zeros are skipped."""
    signs = np.sign(s)
    signs = signs[signs != 0]
    return int(np.sum(signs[1:] != signs[:-1]))


def _unit_gate(family: Family) -> bool:
    """Delta transitions whose eigenvalues stay in (0, 1]: unit keys and beta in (0, 1)."""
    spec = family.spec
    unit = "k" in spec and spec["k"].domain.unit
    return properties(family).delta and unit and spec["beta"].domain == GATE


class SignChanges(TailSeparation):
    def predicate(self, family: Family) -> bool:
        t = properties(family)
        return t.affine and t.tokenwise and (t.positive or _unit_gate(family))

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), 12, floats)
        size = np.abs(s).max(axis=0, initial=TINY)
        clear = np.where(np.abs(s) > SIGN * size, s, 0)  # a rounding error has no sign
        return float(max(max(sign_changes(c) - (n - 1), 0) for c in clear.T))

    def search(self, b: Family) -> tuple[Alphabet, int] | None:
        if not properties(b).affine or "pos" in b.spec:
            return None
        for candidate in alphabets(b, "abz"):
            letters = basis_keys(candidate)
            if not _turns(letters):
                continue
            with precision(BITS):
                s = tail(letters, LAGS, enclosures)
                if any(e.contains(0) for e in s.flat):
                    continue
                changes = [sign_changes(np.array([1 if e > 0 else -1 for e in c])) for c in s.T]
            if max(changes) > 1:
                return letters, max(changes)
        return None


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


SIGN_CHANGES = SignChanges(known.SIGN_CHANGES, claims.SignChanges)


# ------------------------------------------------------------- finite window, reverse
class Invertible(TailSeparation):
    def predicate(self, family: Family) -> bool:
        t = properties(family)
        return t.affine and t.tokenwise and (t.positive or _unit_gate(family))

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where s vanishes (to rounding) n times in a row after having been large."""
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), n + 1, floats)
        return float(np.any((np.abs(s[0]) > LARGE) & np.all(np.abs(s[1:]) < VANISHED, axis=0)))

    def search(self, b: Family) -> tuple[Alphabet, float] | None:
        w = window(b)
        if w < 2:
            return None
        for candidate in alphabets(b, "abz"):
            letters = silent("z")(candidate)
            with precision(BITS):
                gap = max(below(e) for e in tail(letters, w - 1, enclosures)[-1])
            if gap > 0:
                return letters, gap
        return None


INVERTIBLE = Invertible(known.INVERTIBLE, claims.Window)


# --------------------------------------------------------------------- forgetting
class Forgetting(TailSeparation):
    def predicate(self, family: Family) -> bool:
        t = properties(family)
        delta = t.delta and t.contracts and not t.lossless
        return t.affine and "pos" not in family.spec and (t.forgets or delta)

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where s keeps a value (to rounding) for 2n + 1 steps (complex states count twice)."""
        n = draw_size(family, rng)
        s = tail(drawn(family, "abz", n, rng), 2 * n + 2, floats)[1:]
        return float(np.any(_steady(s)))

    def search(self, b: Family) -> tuple[Alphabet, float] | None:
        if not properties(b).affine or "pos" in b.spec:
            return None
        for candidate in alphabets(b, "abz", tries=4):
            letters = basis_keys(candidate)
            s = tail(letters, STEPS, floats)
            if not np.any(_steady(s)):
                continue
            with precision(BITS):
                gap = _exactly_steady(tail(letters, STEPS, enclosures))
            if gap > 0:
                return letters, gap
        return None


FORGETTING = Forgetting(known.FORGETTING, claims.Stays)


# ----------------------------------------------------------------------- settling
class Settling(TailSeparation):
    def predicate(self, family: Family) -> bool:
        t = properties(family)
        unit = "k" in family.spec and family.spec["k"].domain.unit
        delta = t.delta and unit and (t.lossless or t.contracts)
        return t.affine and "pos" not in family.spec and (t.forgets or delta)

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """1 where the response moves by one amount (to rounding) n + 1 times."""
        n = draw_size(family, rng)
        y = drawn(family, "x", n, rng).outputs("x" * (2 * n + 4), floats)[1:]
        return float(np.any(_steady(np.diff(y, axis=0))))

    def search(self, b: Family) -> tuple[Alphabet, float] | None:
        if not properties(b).affine or "pos" in b.spec:
            return None
        word = "x" * (STEPS + 1)
        for candidate in alphabets(b, "x", tries=4):
            if not np.any(_steady(np.diff(candidate.outputs(word, floats)[1:], axis=0))):
                continue
            with precision(BITS):
                moves = np.diff(candidate.outputs(word, enclosures), axis=0)
                gap = _exactly_steady(moves)
            if gap > 0:
                return candidate, gap
        return None


def _steady(moves: np.ndarray) -> np.ndarray:
    """For every column: all entries equal (to rounding) and not 0."""
    size = np.abs(moves[0])
    return (size > CLEAR) & np.all(np.abs(moves - moves[0]) <= SLACK * size, axis=0)


def _exactly_steady(s: np.ndarray) -> float:
    """The largest value of a column of balls with exactly equal entries; 0 if there is none."""
    return max((below(c[0]) for c in s.T if all((e - c[0]).is_zero() for e in c)), default=0.0)


SETTLING = Settling(known.SETTLING, claims.Grows)
