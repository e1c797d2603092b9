"""Experiments with a few tokens: letters, words over them, and what a family answers.

A letter is one token of a family, with exact rational entries; a word is a sequence of letters.
Invariants are stated about outputs on words, so they survive every re-encoding of single tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.family import Family
from dsf.core.fields import GATE, NEGATIVE, POSITIVE, REAL, Domain, Field
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations.invariants import paired

BITS = 300
UNIT: list[tuple[Fraction, ...]] = [
    (Fraction(1), Fraction(0)),
    (Fraction(3, 5), Fraction(4, 5)),
    (Fraction(0), Fraction(1)),
    (Fraction(4, 5), Fraction(3, 5)),
]
POOL: dict[Domain, list[int | Fraction]] = {
    REAL: [-2, -1, Fraction(1, 2), 1, 2, 3],
    NEGATIVE: [-2, -1, Fraction(-1, 2)],
    POSITIVE: [Fraction(1, 2), 1, 2],
    GATE: [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)],
    Domain(0, 2): [Fraction(1, 2), 1, Fraction(3, 2)],
}

Letter = dict[str, np.ndarray]  # token field -> object array of Fractions, one row in time


@dataclass(frozen=True, eq=False)
class Alphabet:
    """Named letters of one family, and the constant fields that they share."""

    family: Family
    letters: dict[str, Letter]
    constants: Letter = field(default_factory=dict)

    def tokens(self, word: str, convert: Callable[[np.ndarray], Array]) -> Tokens:
        """The token sequence of a word, converted to the wanted world."""
        rows = {
            name: convert(np.concatenate([self.letters[c][name] for c in word], axis=-2))
            for name in self.letters[word[0]]
        }
        return Tokens(**rows, **{k: convert(x) for k, x in self.constants.items()})

    def outputs(self, word: str, convert: Callable[[np.ndarray], Array]) -> Array:
        """The outputs on a word [L coordinates], by the equations of the family."""
        o, _ = self.family.without_parameters().advance(self.tokens(word, convert), State())
        return ops.moveaxis(o, -3, 0).reshape(len(word), -1)


def _each(f: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(f, 1, 1)(x), dtype=object)


def floats(x: np.ndarray) -> np.ndarray:
    """Fractions rounded to float64."""
    return x.astype(np.float64)


def enclosures(x: np.ndarray) -> np.ndarray:
    """Fractions as Arb balls in the current precision."""
    import flint

    return _each(lambda e: flint.arb(e.numerator) / e.denominator, x)


def alphabets(family: Family, names: str, tries: int = 40) -> Iterator[Alphabet]:
    """Candidate letters, simplest first: the smallest state size, then the next one."""
    sizes = [2] if paired(family) else [1, 2]
    for n in sizes:
        for seed in range(tries):
            yield alphabet(family, names, n, None if seed == 0 else np.random.default_rng(seed))


def alphabet(
    family: Family, names: str, n: int, rng: np.random.Generator | None = None, p: int = 1
) -> Alphabet:
    """Letters with small rational entries: letter i holds i, i+1, ... (rng None), or random."""
    sizes = {"n": n, "p": p, "d": 1, "s": family.without_parameters().substeps}
    fields = {k: f for k, f in family.spec.items() if k != "pos"}

    def entries(f: Field, i: int) -> np.ndarray:
        shape = f.shape(sizes, 1)
        if f.domain.unit:
            return _unit_vectors(shape, i, rng)
        if rng is not None:
            pool = POOL[f.domain]
            return _each(lambda k: Fraction(pool[k]), rng.integers(len(pool), size=shape))
        column = np.broadcast_to(np.arange(shape[-1]), shape)
        if f.domain.bounded:
            return np.full(shape, Fraction(f.domain.high or 0, 2), dtype=object)
        if f.domain == NEGATIVE:
            return -_each(lambda k: Fraction(int(k)), 1 + column)
        return _each(lambda k: Fraction(int(k)), i + column)

    letters = {
        c: {k: entries(f, i) for k, f in fields.items() if f.per_token}
        for i, c in enumerate(names, start=1)
    }
    return Alphabet(
        family, letters, {k: entries(f, 1) for k, f in fields.items() if not f.per_token}
    )


def _unit_vectors(shape: tuple[int, ...], i: int, rng: np.random.Generator | None) -> np.ndarray:
    out = np.full(shape, Fraction(0), dtype=object)
    for row, index in enumerate(np.ndindex(shape[:-1])):
        number = i - 1 + row if rng is None else int(rng.integers(len(UNIT)))
        vector = UNIT[number % len(UNIT)] if shape[-1] > 1 else UNIT[0][:1]
        for j, e in enumerate(vector):
            out[(*index, j)] = e
    return out
