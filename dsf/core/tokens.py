"""Tokens: the named per-token arrays between the projections and the recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.ops import Array

# The ranges that published gates reach.  The numbers at a closed end (a gate of exactly 0 or 1)
# still compute; the domain matters where a statement says "for all tokens".
DOMAINS = ("real", "< 0", "> 0", "in (0, 1)", "in (0, 2)", "unit")


@dataclass(frozen=True)
class Field:
    """Axes and domain of one token field: `Field.parse("L n < 0")`.

    The axis before the last is time: "L", "sL" (s micro-tokens per token) or "1" (constant).
    Letters: d model width, n state size, p values per head, r and m as in `LTV`.

    >>> Field.parse("L n in (0, 1)").domain
    'in (0, 1)'
    """

    axes: tuple[str, ...]
    domain: str = "real"

    @classmethod
    def parse(cls, text: str) -> Field:
        for domain in DOMAINS:
            if text.endswith(domain):
                return cls(tuple(text.removesuffix(domain).split()), domain)
        return cls(tuple(text.split()))

    @property
    def per_token(self) -> bool:
        """Whether the field has a row for every token (False: constant)."""
        return self.axes[-2] in ("L", "sL")

    def shape(self, sizes: Mapping[str, int], L: int = 1) -> tuple[int, ...]:
        """The shape at given sizes and length."""
        known = {**sizes, "L": L, "sL": L * sizes.get("s", 1)}
        return tuple(_size(a, known) for a in self.axes)


def _size(axis: str, known: Mapping[str, int]) -> int:
    letter, _, divisor = axis.partition("/")
    return int(axis) if axis.isdigit() else known[letter] // int(divisor or 1)


class Tokens:
    """A record of named arrays, all with time on the axis before the last.

    >>> t = Tokens(q=np.ones((5, 2)), v=np.zeros((5, 3)))
    >>> t.q.shape, t.names
    ((5, 2), ('q', 'v'))
    """

    def __init__(self, **fields: Array) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Array:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(f"no token field {name!r}; fields: {self.names}") from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._fields)

    def items(self) -> Iterator[tuple[str, Array]]:
        yield from self._fields.items()

    def map(self, f: Callable[[Array], Array]) -> Tokens:
        """f applied to every field."""
        return Tokens(**{k: f(v) for k, v in self.items()})

    def replace(self, **fields: Array) -> Tokens:
        """A copy with some fields replaced or added."""
        return Tokens(**{**self._fields, **fields})

    def rows(self, start: int, stop: int, spec: Mapping[str, Field], micro: int = 1) -> Tokens:
        """The tokens start .. stop-1; constant fields stay as they are."""

        def cut(name: str, x: Array) -> Array:
            if not spec[name].per_token:
                return x
            s = micro if spec[name].axes[-2] == "sL" else 1
            return x[..., start * s : stop * s, :]

        return Tokens(**{k: cut(k, v) for k, v in self.items()})

    def after(self, earlier: Tokens, spec: Mapping[str, Field]) -> Tokens:
        """Earlier rows followed by these; fields that were not kept have these rows only."""
        kept = [k for k in earlier.names if spec[k].per_token]
        return self.replace(
            **{k: ops.cat([getattr(earlier, k), getattr(self, k)], -2) for k in kept}
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} [{' '.join(map(str, v.shape))}]" for k, v in self.items())
        return f"Tokens({shown})"


def sample(field: Field, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random values in the domain of a field, away from its ends (float64)."""
    x = rng.uniform(-1.5, 1.5, shape)
    if field.domain == "< 0":
        return -rng.uniform(0.05, 1.5, shape)
    if field.domain == "> 0":
        return rng.uniform(0.2, 1.5, shape)
    if field.domain == "in (0, 1)":
        return rng.uniform(0.1, 0.9, shape)
    if field.domain == "in (0, 2)":
        return rng.uniform(0.1, 1.9, shape)
    if field.domain == "unit":
        return x / np.linalg.norm(x, axis=-1, keepdims=True)
    return x


def inside(field: Field, x: Any) -> bool:
    """Whether float values lie in the domain of a field (unit vectors: to rounding)."""
    x = np.asarray(x)
    if field.domain == "< 0":
        return bool(np.all(x < 0))
    if field.domain == "> 0":
        return bool(np.all(x > 0))
    if field.domain in ("in (0, 1)", "in (0, 2)"):
        return bool(np.all((x > 0) & (x < int(field.domain[-2]))))
    if field.domain == "unit":
        return bool(np.all(np.abs(np.linalg.norm(x, axis=-1) - 1) < 1e-12))
    return bool(np.all(np.isfinite(x)))
