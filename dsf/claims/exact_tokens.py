"""Exact tokens for the checks: domains, drawing, and running them in balls."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.claims.reading import rationals, require, table
from dsf.core.family import Family
from dsf.core.fields import Domain, Field
from dsf.core.state import State
from dsf.core.tokens import Tokens

BITS = 300  # of the balls in which nestings and separations are evaluated
PARTS = 700  # of the unit, in random rational numbers
SMALL = 2.0**-200  # what remains there of a difference that is exactly zero

Letter = dict[str, np.ndarray]  # token field -> object array of Fractions, one row in time
read_letter = table(rationals)
read_letters = table(read_letter)


# --------------------------------------------------------------------- domains
def fit(family: Family, letters: Mapping[str, Letter], constants: Letter) -> None:
    """Every field of the letters and constants is there, has its shape and lies in its domain."""
    spec = {k: f for k, f in family.spec.items() if k != "pos"}
    per_token = {k for k, f in spec.items() if f.per_token}
    require(set(constants) == set(spec) - per_token, f"{family} has other constants than these")
    for c, fields in letters.items():
        require(set(fields) == per_token, f"letter {c} has other fields than {family}")
    sizes: dict[str, int] = {"s": family.without_parameters().substeps}
    for group in (*letters.values(), constants):
        for name, x in group.items():
            _fit(name, spec[name], x, sizes)


def _fit(name: str, field: Field, x: np.ndarray, sizes: dict[str, int]) -> None:
    wrong = f"field {name} [{' '.join(field.axes)}] has shape {x.shape}"
    require(x.ndim == len(field.axes) and x.size > 0, wrong)
    for axis, size in zip(field.axes, x.shape, strict=True):
        letter, _, divisor = axis.partition("/")
        fixed = {"L": 1, "sL": sizes["s"]}.get(axis, int(axis) if axis.isdigit() else None)
        if fixed is not None:
            require(size == fixed, wrong)
        else:
            whole = size * int(divisor or 1)
            require(whole == sizes.setdefault(letter, whole), wrong)
    for row in x.reshape(-1, x.shape[-1]):
        require(field.domain.holds(row), f"field {name} leaves its domain {field.domain}")


# ------------------------------------------------------------------- drawing
def draw_letters(
    family: Family, names: str, n: int, rng: np.random.Generator
) -> tuple[dict[str, Letter], Letter]:
    """Random rational letters (eighths; unit vectors by inverse stereographic projection)."""
    spec = {k: f for k, f in family.spec.items() if k != "pos"}
    sizes = {"n": n, "p": 2, "d": 2, "s": family.without_parameters().substeps}
    letters = {
        c: {k: f.domain.rational(rng, f.shape(sizes)) for k, f in spec.items() if f.per_token}
        for c in names
    }
    return letters, {
        k: f.domain.rational(rng, f.shape(sizes)) for k, f in spec.items() if not f.per_token
    }


# ------------------------------------------------------------------- running
def ball(x: Any) -> np.ndarray:
    """Fractions as Arb balls of the current precision."""
    import flint

    def one(e: Fraction) -> Any:
        return flint.arb(flint.fmpq(e.numerator, e.denominator))

    return np.asarray(np.frompyfunc(one, 1, 1)(np.asarray(x, dtype=object)), dtype=object)


def number(numerator: int, denominator: int = 1) -> Any:
    """One rational number as a ball."""
    return ball(Fraction(numerator, denominator)).item()


def drawn(domain: Domain, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random rational numbers in a domain, as exact balls."""
    return ball(domain.rational(rng, shape, PARTS))


def size_of(x: Any) -> float:
    """An upper bound on the largest modulus."""
    return max((float(abs(as_ball(e)).upper()) for e in np.asarray(x).flat), default=0.0)


def as_ball(e: Any) -> Any:
    """A ball, or an integer as one."""
    import flint

    return e if isinstance(e, (flint.arb, flint.acb)) else flint.arb(int(e))


def tokens(letters: Mapping[str, Letter], constants: Letter, word: str) -> Tokens:
    """The tokens of a word, in balls of the current precision."""
    rows = {k: np.concatenate([letters[c][k] for c in word], axis=-2) for k in letters[word[0]]}
    return Tokens(**{k: ball(x) for k, x in (rows | constants).items()})


def outputs(family: Family, letters: Mapping[str, Letter], constants: Letter, word: str) -> Any:
    """The outputs [L coordinates] on a word, in balls of the current precision."""
    o, _ = family.without_parameters().advance(tokens(letters, constants, word), State())
    return np.moveaxis(o, -3, 0).reshape(len(word), -1)
