"""Token fields: their axes, and the domains in which their numbers lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, UnknownNameError
from dsf.core.facts import EXACT


@dataclass(frozen=True)
class Domain:
    """Where the numbers of a token lie: the open interval (low, high), or rows of length 1.

    An end that is None is infinite.  These are the ranges that published gates reach; the numbers
    at a closed end (a gate of exactly 0 or 1) still compute.  The domain matters where a statement
    says "for all tokens".

    >>> Domain(0, 1), NEGATIVE, UNIT
    (in (0, 1), < 0, unit)
    >>> Domain(0, 1).inside(np.array([0.5, 1.0]))
    False
    """

    low: int | None = None
    high: int | None = None
    unit: bool = False

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return self.low is not None and self.high is not None

    @property
    def assumptions(self) -> dict[str, bool]:
        """What sympy is told about a symbol of this domain; an upper bound has to be told apart."""
        if self.low == 0:
            return {"positive": True}
        return {"negative": True} if self.high == 0 else {"real": True}

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Random float64 numbers away from the ends."""
        x = rng.uniform(-1.5, 1.5, shape)
        if self.unit:
            return x / np.linalg.norm(x, axis=-1, keepdims=True)
        if self.bounded:
            return rng.uniform(0.1, self.high - 0.1, shape)  # type: ignore[operator]
        if self.high is not None:
            return -rng.uniform(0.05, 1.5, shape)
        return x if self.low is None else rng.uniform(0.2, 1.5, shape)

    def wide(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Random float64 numbers over several orders of magnitude, up to the ends."""
        if self.unit:
            return self.sample(rng, shape)
        if self.bounded:
            return self.high / (1 + np.exp(rng.uniform(-7, 7, shape)))
        if self == REAL:
            return 3 * rng.standard_normal(shape)
        return (1 if self.low == 0 else -1) * 10 ** rng.uniform(-3, 1, shape)

    def rational(
        self, rng: np.random.Generator, shape: tuple[int, ...], parts: int = 8
    ) -> np.ndarray:
        """Random fractions, multiples of 1/parts up to 2 in size; unit rows by stereographic
        projection of such points."""
        low, high = {
            REAL: (-2 * parts, 2 * parts + 1),
            NEGATIVE: (-2 * parts, 0),
            POSITIVE: (1, 2 * parts + 1),
        }.get(self, (1, (self.high or 2) * parts))
        if self.unit:
            low, high = -2 * parts, 2 * parts + 1
        draw = np.frompyfunc(lambda k: Fraction(int(k), parts), 1, 1)
        x = np.asarray(draw(rng.integers(low, high, shape)), dtype=object)
        if self.unit:
            for index in np.ndindex(shape[:-1]):
                t = x[index][1:]
                square = sum((e * e for e in t), Fraction(0))
                x[index] = [(1 - square) / (1 + square), *(2 * e / (1 + square) for e in t)]
        return x

    def moved(self, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
        """Floats of the domain moved a little, still inside."""
        by = rng.uniform(0.1, 0.3, x.shape)
        if self.unit:
            x = -x if x.shape[-1] == 1 else x + by  # units of one number are signs
            return x / np.linalg.norm(x, axis=-1, keepdims=True)
        if self.bounded:
            return x * (1 - by)
        return x - by if self.high is not None else x + by * np.maximum(np.abs(x), 1)

    def inside(self, x: Any) -> bool:
        """Whether float values lie in the domain (unit rows: to rounding)."""
        x = np.asarray(x)
        if self.unit:
            return bool(np.all(np.abs(np.linalg.norm(x, axis=-1) - 1) < EXACT))
        if self == REAL:
            return bool(np.all(np.isfinite(x)))
        return bool(np.all(self._between(x)))

    def holds(self, row: Any) -> bool:
        """Whether exact numbers or balls certainly lie in the domain; unit rows exactly."""
        if self.unit:
            return bool(sum(e * e for e in row) == 1)
        return all(self._between(e) for e in row)

    def leaves(self, x: Any) -> bool:
        """Whether one number or ball certainly lies beyond an end; units are not looked at."""
        below = self.low is not None and x < self.low
        return bool(below or (self.high is not None and x > self.high))

    def _between(self, x: Any) -> Any:
        above = True if self.low is None else x > self.low
        return above & (True if self.high is None else x < self.high)

    def __str__(self) -> str:
        if self.unit:
            return "unit"
        if self.bounded:
            return f"in ({self.low}, {self.high})"
        return "real" if self == REAL else f"< {self.high}" if self.low is None else f"> {self.low}"

    __repr__ = __str__


REAL, NEGATIVE, POSITIVE, UNIT = Domain(), Domain(None, 0), Domain(0, None), Domain(unit=True)
GATE = Domain(0, 1)
DOMAINS = {str(d): d for d in (REAL, NEGATIVE, POSITIVE, GATE, Domain(0, 2), UNIT)}
AXES = re.compile(r"(L|sL|[dnp](/[1-9]\d*)?|[1-9]\d*)")


@dataclass(frozen=True)
class Field:
    """Axes and domain of one token field: `Field.parse("L n < 0")`.

    The axis before the last is time: "L", "sL" (s rows of substeps per token) or "1" (constant).
    Other axes: d model width, n state size, p values per head, one of these over a number ("n/2"),
    or a number.

    >>> Field.parse("L n in (0, 1)").domain == GATE
    True
    """

    axes: tuple[str, ...]
    domain: Domain = REAL

    @classmethod
    def parse(cls, text: str) -> Field:
        """The field that a text declares; DomainError if it is not axes and a domain."""
        return cls(*_parsed(text))

    @classmethod
    def of(cls, declared: str | tuple[str, ...], options: Mapping[str, Any]) -> Field | None:
        """The field with these options: the first text whose condition holds; None if none does.

        Raises DomainError or UnknownNameError for what is no field, or names no option.

        >>> Field.of("1 n/2 if rotation", {"rotation": False}) is None
        True
        >>> Field.of("L 1 in (0, {reach})", {"reach": 2}).domain
        in (0, 2)
        """
        texts = (declared,) if isinstance(declared, str) else declared
        if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
            raise DomainError(f"spec: a field is a text like 'L n < 0', or several; got {texts!r}")
        for declared_text in texts:
            text, _, condition = declared_text.partition(" if ")
            name, equals, value = condition.partition("=")
            try:
                held = options[name] if name else True
                text = text.format(**options)
            except KeyError as missing:
                known = ", ".join(options) or "none"
                raise UnknownNameError(
                    f"spec: {declared_text!r} names the option {missing}; options: {known}"
                ) from None
            if str(held) == value if equals else held:
                return cls.parse(text)
        return None

    @property
    def per_token(self) -> bool:
        """Whether the field has a row for every token (False: constant)."""
        return self.axes[-2] in ("L", "sL")

    def shape(self, sizes: Mapping[str, int], L: int = 1) -> tuple[int, ...]:
        """The shape at given sizes and length."""
        known = {**sizes, "L": L, "sL": L * sizes.get("s", 1)}
        return tuple(size(a, known) for a in self.axes)


@cache  # every check reads the declarations of its families anew
def _parsed(text: str) -> tuple[tuple[str, ...], Domain]:
    name = next((name for name in DOMAINS if text.endswith(" " + name)), "")
    axes = text.removesuffix(name).split()
    if len(axes) < 2 or not all(map(AXES.fullmatch, axes)):
        raise DomainError(
            f"spec: {text!r} must be at least two axes (L, sL, d, n, p, n/2, a number; time is "
            f"the last but one, 1 for a constant) and then a domain: {', '.join(DOMAINS)} "
            "(may be left out: real). Example: 'L n in (0, 1)'."
        )
    return tuple(axes), DOMAINS.get(name, REAL)


def size(axis: str, known: Mapping[str, int]) -> int:
    """The size of an axis: a number, a letter, or a letter over a number ("n/2").

    Raises UnknownNameError for a letter without a size.

    >>> size("n/2", {"n": 6})
    3
    """
    letter, _, divisor = axis.partition("/")
    if axis.isdigit():
        return int(axis)
    if letter not in known:
        raise UnknownNameError(
            f"the axis {axis!r} has no size; known: {', '.join(known)}. Tokens: give it by "
            "name (n=4). A parameter: declare the letter, letters = {'r': lambda d: 2 * d}."
        )
    return known[letter] // int(divisor or 1)
