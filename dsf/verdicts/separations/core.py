"""Separations: an invariant with a theorem, who has it, and the smallest words that violate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dsf.claims.separation_words import ByWords
from dsf.core.certificate import Certificate, Scope
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.worlds import precision
from dsf.relations.invariants import Invariant, Outputs, WordInvariant, paired
from dsf.verdicts.separations.words import BITS, Alphabet, alphabets, enclosures, floats

SLACK = 1e-12  # room for another order of the same operations
CLEAR = 1e-6  # relative size in floats, below which a violation is not worth enclosing
TINY = 1e-300  # keeps a quotient of zeros from being NaN
Side = Family | AnyRecurrence


@dataclass(frozen=True, eq=False)
class Separation:
    """How it is decided who has an invariant, and how violations of it are found.

    `has(side)` is the predicate, `defect(family, rng)` the sampled check that backs it (0 to
    rounding for a family that has it), `certificate(a, b)` the proof that b is not nested in a.
    """

    invariant: Invariant

    @property
    def name(self) -> str:
        """The name of the invariant."""
        return self.invariant.name

    @property
    def theorem(self) -> str:
        """Who has the invariant, in one sentence."""
        return self.invariant.theorem

    @property
    def proof(self) -> str:
        """Why, in a few lines."""
        return self.invariant.proof

    @property
    def closed(self) -> bool:
        """Whether limits of families that have it have it too."""
        return self.invariant.closed

    @property
    def scope(self) -> Scope:
        """For what a separation by this invariant holds."""
        return self.invariant.scope

    def has(self, side: Side) -> bool:
        """Whether every member of the side has the invariant, by its structure."""
        raise NotImplementedError

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """How far random tokens of a family are from having the invariant, relative."""
        raise NotImplementedError

    def certificate(self, a: Side, b: Side) -> Certificate | None:
        """The certificate that b is not nested in a, or None if this invariant does not tell."""
        raise NotImplementedError

    def violated_by(self, side: Side) -> bool:
        """Whether a witness was found for a side."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"Separation({self.name}: {self.theorem})"


@dataclass(frozen=True, eq=False)
class WordSeparation(Separation):
    """An invariant of the form: this expression in the outputs on these words is zero.

    tie   simplification of the letters, e.g. values set to zero
    """

    invariant: WordInvariant
    predicate: Callable[[Family], bool] = lambda family: False
    tie: Callable[[Alphabet], Alphabet] = lambda letters: letters

    def has(self, side: Side) -> bool:
        return isinstance(side, Family) and self.predicate(side)

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        words = self.invariant.words(family, family)
        letters = drawn(family, "".join(sorted(set("".join(words)))), draw_size(family, rng), rng)
        outputs = [letters.outputs(w, floats) for w in words]
        return relative(self.invariant.expression, outputs, self.invariant.degree)

    def certificate(self, a: Side, b: Side) -> Certificate | None:
        if not (isinstance(a, Family) and isinstance(b, Family)) or not self.has(a):
            return None
        words = self.invariant.words(a, b)
        if self.has(b) and words == self.invariant.words(b, b):
            return None
        found = _search(self, b, words)
        if found is None:
            return None
        letters, gap = found
        claim = ByWords(
            lower=gap, invariant=self.name, has=a, violates=b, words=words, letters=letters.letters,
            constants=letters.constants,
        )  # fmt: skip
        return claim.certificate()

    def violated_by(self, side: Side) -> bool:
        if not isinstance(side, Family):
            return False
        return _search(self, side, self.invariant.words(side, side)) is not None


@cache
def _search(
    separation: WordSeparation, b: Family, words: tuple[str, ...]
) -> tuple[Alphabet, float] | None:
    """The first candidate letters whose expression is enclosed away from zero, and its size."""
    names, rule = "".join(sorted(set("".join(words)))), separation.invariant
    for candidate in alphabets(b, names):
        letters = separation.tie(candidate)
        outputs = [letters.outputs(w, floats) for w in words]
        if relative(rule.expression, outputs, rule.degree) < CLEAR:
            continue
        with precision(BITS):
            values = rule.expression([letters.outputs(w, enclosures) for w in words])
            gap = max(below(e) for e in values)
        if gap > 0:
            return letters, gap
    return None


def draw_size(family: Family, rng: np.random.Generator) -> int:
    """A small state size; even where the state is made of pairs."""
    n = int(rng.integers(1, 4))
    return n + n % 2 if paired(family) else n


def drawn(family: Family, names: str, n: int, rng: np.random.Generator) -> Alphabet:
    """Letters with random float entries in their domains, for sampling."""
    rows = {c: family.draw_tokens(rng, 1, n=n, p=2, d=2) for c in names}
    constants = family.draw_tokens(rng, 1, n=n, p=2, d=2)
    spec = family.spec
    return Alphabet(
        family,
        {c: {k: x for k, x in tok.items() if spec[k].per_token} for c, tok in rows.items()},
        {k: x for k, x in constants.items() if not spec[k].per_token},
    )


def relative(expression: Callable[[Outputs], Any], outputs: Outputs, degree: int) -> float:
    """|expression| over the largest output to the degree of the expression."""
    size = max(float(np.max(np.abs(y))) for y in outputs) ** degree
    value = float(np.max(np.abs(expression(outputs))))
    return value / size if size > 0 else value


def below(ball: Any) -> float:
    """A float certainly not above |ball|; 0 where the ball contains zero or is undefined."""
    if not ball.is_finite():
        return 0.0
    return max(float(ball.abs_lower()) * (1 - SLACK), 0.0)
