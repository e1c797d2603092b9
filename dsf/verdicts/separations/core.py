"""Separations: an invariant with a theorem, who has it, and the smallest words that violate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.separation_words import ByWords
from dsf.core.certificate import Certificate
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.worlds import precision
from dsf.relations.invariants import Invariant, Outputs, WordInvariant, paired
from dsf.verdicts.properties import Properties, properties
from dsf.verdicts.separations.words import BITS, Alphabet, alphabets, enclosures, floats

SLACK = 1e-12  # room for another order of the same operations
CLEAR = 1e-6  # relative size in floats, below which a violation is not worth enclosing
TINY = 1e-300  # keeps a quotient of zeros from being NaN
Side = Family | AnyRecurrence


@dataclass(frozen=True, eq=False)
class Separation:
    """How it is decided who has an invariant, and how violations of it are found.

    predicate   whether every member of a family has the invariant, by its properties
    """

    invariant: Invariant
    predicate: Callable[[Family, Properties], bool] = lambda family, t: False

    @property
    def name(self) -> str:
        """The name of the invariant."""
        return self.invariant.name

    def has(self, side: Side) -> bool:
        """Whether every member of the side has the invariant."""
        return isinstance(side, Family) and self.predicate(side, properties(side))

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """How far random tokens of a family are from the invariant, relative: a test of `has`."""
        raise NotImplementedError

    def search(self, a: Any, b: Family) -> Any:
        """A witness that b violates the invariant as it is stated for a; None if none is found."""
        raise NotImplementedError

    def claim(self, a: Any, b: Family, witness: Any) -> Claim:
        """The claim that a witness makes."""
        raise NotImplementedError

    def certificate(self, a: Side, b: Side) -> Certificate | None:
        """The certificate that b is not nested in a, or None if this invariant does not tell."""
        if not isinstance(b, Family) or not self.has(a):
            return None
        witness = self.search(a, b)
        return None if witness is None else self.claim(a, b, witness).certificate()

    def __repr__(self) -> str:
        return f"Separation({self.name}: {self.invariant.theorem})"


@dataclass(frozen=True, eq=False)
class WordSeparation(Separation):
    """An invariant of the form: this expression in the outputs on these words is zero.

    tie   simplification of the letters, e.g. values set to zero
    """

    invariant: WordInvariant
    tie: Callable[[Alphabet], Alphabet] = lambda letters: letters

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        words = self.invariant.words(family, family)
        letters = drawn(family, "".join(sorted(set("".join(words)))), draw_size(family, rng), rng)
        outputs = [letters.outputs(w, floats) for w in words]
        return relative(self.invariant.expression, outputs, self.invariant.degree)

    def search(self, a: Family, b: Family) -> tuple[Alphabet, float] | None:
        words = self.invariant.words(a, b)
        if self.has(b) and words == self.invariant.words(b, b):
            return None
        return _search(self, b, words)

    def claim(self, a: Family, b: Family, witness: tuple[Alphabet, float]) -> ByWords:
        letters, gap = witness
        return ByWords(
            lower=gap, invariant=self.name, has=a, violates=b, words=self.invariant.words(a, b),
            letters=letters.letters, constants=letters.constants,
        )  # fmt: skip


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
