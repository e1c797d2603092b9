"""Exact tokens for the checkers: reading, domains, drawing, and running them in balls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.errors import CertificateError, UnknownNameError
from dsf.core.family import Family, family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.tokens import Field, Tokens

Letter = dict[str, np.ndarray]


def require(holds: bool, why: str) -> None:
    """CertificateError unless it holds."""
    if not holds:
        raise CertificateError(f"separation: {why}")


def get(witnesses: Mapping[str, Any], name: str) -> Any:
    """A witness, or CertificateError."""
    require(name in witnesses, f"witness {name} is missing")
    return witnesses[name]


def named(witnesses: Mapping[str, Any], name: str) -> Family:
    """The family that a witness names, or CertificateError."""
    try:
        return family(str(get(witnesses, name)))
    except UnknownNameError as e:
        raise CertificateError(f"separation: {e}") from e


def opponent(witnesses: Mapping[str, Any]) -> Family | AnyRecurrence:
    """The side that has the invariant: a family, or every recurrence with n states."""
    text = str(get(witnesses, "has"))
    number = re.search(r"with (\d+) state", text)
    for flag in (False, True):
        if number and int(number[1]) > 0 and repr(AnyRecurrence(int(number[1]), flag)) == text:
            return AnyRecurrence(int(number[1]), flag)
    return named(witnesses, "has")


# ------------------------------------------------------------------- reading
def read_letters(family: Family, w: Mapping[str, Any]) -> tuple[dict[str, Letter], Letter]:
    """The letters and constants of a certificate: every field present and in its domain."""
    spec = {k: f for k, f in family.spec.items() if k != "pos"}
    per_token = {k for k, f in spec.items() if f.per_token}
    letters = {c: _read(x) for c, x in get(w, "letters").items()}
    constants = _read(get(w, "constants"))
    require(set(constants) == set(spec) - per_token, f"constants of {family} are wrong")
    for c, letter in letters.items():
        require(set(letter) == per_token, f"letter {c} has other fields than {family}")
    sizes: dict[str, int] = {"s": family.bare().micro}
    for group in (*letters.values(), constants):
        for name, x in group.items():
            _fit(name, spec[name], x, sizes)
    return letters, constants


def _read(letter: Any) -> Letter:
    try:
        return {
            str(k): np.asarray(np.frompyfunc(Fraction, 1, 1)(np.asarray(x, dtype=object)), object)
            for k, x in letter.items()
        }
    except (AttributeError, TypeError, ValueError, ZeroDivisionError) as e:
        raise CertificateError(f"separation: a letter is not made of rationals ({e})") from e


def _fit(name: str, field: Field, x: np.ndarray, sizes: dict[str, int]) -> None:
    fits = x.ndim == len(field.axes) and x.size > 0
    require(fits, f"field {name} has shape {x.shape}")
    for axis, size in zip(field.axes, x.shape, strict=True):
        letter, _, divisor = axis.partition("/")
        fixed = {"L": 1, "sL": sizes["s"]}.get(axis, int(axis) if axis.isdigit() else None)
        if fixed is not None:
            require(size == fixed, f"field {name} has shape {x.shape}")
        else:
            expected = sizes.setdefault(letter, size * int(divisor or 1))
            require(size * int(divisor or 1) == expected, f"field {name} has shape {x.shape}")
    for row in x.reshape(-1, x.shape[-1]):
        require(_inside(field.domain, row), f"field {name} leaves its domain {field.domain}")


def _inside(domain: str, row: np.ndarray) -> bool:
    if domain == "unit":
        return sum(e * e for e in row) == 1
    bounds = {
        "< 0": (None, 0), "> 0": (0, None), "in (0, 1)": (0, 1), "in (0, 2)": (0, 2)
    }  # fmt: skip
    low, high = bounds.get(domain, (None, None))
    return all((low is None or e > low) and (high is None or e < high) for e in row)


# ------------------------------------------------------------------- drawing
def draw_letters(
    family: Family, names: str, n: int, rng: np.random.Generator
) -> tuple[dict[str, Letter], Letter]:
    """Random rational letters (eighths; unit vectors by inverse stereographic projection)."""
    spec = {k: f for k, f in family.spec.items() if k != "pos"}
    sizes = {"n": n, "p": 2, "d": 2, "s": family.bare().micro}
    letters = {
        c: {k: _draw(f, f.shape(sizes, 1), rng) for k, f in spec.items() if f.per_token}
        for c in names
    }
    return letters, {
        k: _draw(f, f.shape(sizes, 1), rng) for k, f in spec.items() if not f.per_token
    }


def _draw(field: Field, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    low, high = {"< 0": (-16, 0), "> 0": (1, 17), "in (0, 1)": (1, 8), "in (0, 2)": (1, 16)}.get(
        field.domain, (-16, 17)
    )
    x = np.asarray(
        np.frompyfunc(lambda k: Fraction(int(k), 8), 1, 1)(rng.integers(low, high, shape)), object
    )
    if field.domain != "unit":
        return x
    for index in np.ndindex(shape[:-1]):
        t = x[index][1:]
        square = sum((e * e for e in t), Fraction(0))
        x[index] = [(1 - square) / (1 + square), *(2 * e / (1 + square) for e in t)]
    return x


def even_state(family: Family) -> bool:
    """Whether the state is made of pairs, so that n must be even."""
    return any("n/2" in f.axes for f in family.spec.values())


# ------------------------------------------------------------------- running
def ball(x: np.ndarray) -> np.ndarray:
    """Fractions as Arb balls of the current precision."""
    import flint

    def one(e: Fraction) -> Any:
        return flint.arb(flint.fmpq(e.numerator, e.denominator))

    return np.asarray(np.frompyfunc(one, 1, 1)(x), dtype=object)


def outputs(family: Family, letters: Mapping[str, Letter], constants: Letter, word: str) -> Any:
    """The outputs [L coordinates] on a word, in balls of the current precision."""
    fields = {
        k: ball(np.concatenate([letters[c][k] for c in word], axis=-2)) for k in letters[word[0]]
    }
    tok = Tokens(**fields, **{k: ball(x) for k, x in constants.items()})
    o, _ = family.bare().advance(tok, State())
    return np.moveaxis(o, -3, 0).reshape(len(word), -1)
