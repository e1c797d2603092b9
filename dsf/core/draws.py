"""Declaring what a mechanism holds: parameter arrays with shape and initial law, and options.

    Wq: Array = weight("H d n")                # Gaussian, variance 1/fan-in
    b: Array = zeros("H 1 n")
    reach: int = option(1, 2)                  # default first, then the other allowed values

A shape is written in letters: d model width, n state size, p values per head, H heads; "n/2", a
number, the name of an integer option, or a letter that the class defines in `letters`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import ContractError, DomainError, DSFError, UnknownNameError
from dsf.core.fields import Field, size

Law = Callable[[np.random.Generator, tuple[int, ...], Mapping[str, int]], np.ndarray]


@dataclass(frozen=True)
class Draw:
    """The shape of a parameter in letters, and how its initial value is drawn."""

    axes: tuple[str, ...]
    law: Law
    when: tuple[str, Any] | None = None  # (option, value): drawn only then, else None

    def __call__(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> np.ndarray:
        return self.law(rng, tuple(size(a, sizes) for a in self.axes), sizes)


@dataclass(frozen=True)
class Option:
    """The allowed values of a static option, the default first; or the least allowed integer."""

    values: tuple[Any, ...]
    least: int | None = None

    def allowed(self, what: str, value: Any) -> Any:
        """The value, as it is stored; DomainError or UnknownNameError if it is not allowed."""
        if self.least is not None:
            if type(value) is not int or value < self.least:
                raise DomainError(
                    f"{what} must be an integer of at least {self.least}; got {value!r}"
                )
            return value
        if value not in self.values:
            raise UnknownNameError(f"{what} must be one of {self.values}; got {value!r}")
        return self.values[self.values.index(value)]  # 1 is True here


def option(default: Any, *others: Any, least: int | None = None) -> Any:
    """A static option: its default and the other values (with `least`: those to try)."""
    declared = Option((default, *others), least)
    # by name only: a family that adds an option keeps the order of its parameters
    return dataclasses.field(default=default, metadata={"option": declared}, kw_only=True)


def drawn(
    shape: str,
    f: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    when: tuple[str, Any] | None = None,
) -> Any:
    """A parameter with the initial value f(rng, shape); with `when` = (option, value) only then."""
    return _parameter(shape, lambda rng, sizes, _: f(rng, sizes), when)


def fixed(shape: str, f: Callable[..., Any]) -> Any:
    """A parameter whose initial value f(sizes it names) is not random; broadcast to the shape."""

    def law(rng: np.random.Generator, sizes: tuple[int, ...], known: Mapping[str, int]) -> Any:
        return np.array(np.broadcast_to(by_name(f, known), sizes), np.float64, order="C")

    return _parameter(shape, law)


def weight(shape: str) -> Any:
    """Gaussian weights of variance 1/fan-in; the axis before the last is the input."""
    return drawn(shape, lambda rng, sizes: rng.standard_normal(sizes) / np.sqrt(sizes[-2]))


def normal(shape: str, scale: float = 1.0) -> Any:
    """Gaussian numbers of standard deviation `scale`."""
    return drawn(shape, lambda rng, sizes: scale * rng.standard_normal(sizes))


def uniform(shape: str, low: float, high: float) -> Any:
    """Numbers uniform in [low, high)."""
    return drawn(shape, lambda rng, sizes: rng.uniform(low, high, sizes))


def step_size(shape: str) -> Any:
    """Bias b with softplus(b) log-uniform in [1e-3, 1e-1] (Gu & Dao 2023)."""

    def law(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
        dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), sizes))
        return dt + np.log(-np.expm1(-dt))

    return drawn(shape, law)


def zeros(shape: str) -> Any:
    """Zeros."""
    return drawn(shape, lambda rng, sizes: np.zeros(sizes))


def ones(shape: str) -> Any:
    """Ones."""
    return drawn(shape, lambda rng, sizes: np.ones(sizes))


def orthogonal_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """m Gaussian directions in R^n [m n], orthogonal in blocks of n, with chi-distributed lengths.

    Source: Choromanski et al. 2021, sec. 3.
    """
    m, n = shape
    rows = _rotations(rng, -(-m // n), n).reshape(-1, n)[:m]
    return rows * np.linalg.norm(rng.standard_normal((m, n)), axis=1, keepdims=True)


def _rotations(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Uniformly distributed orthogonal matrices [count n n]; without the signs of R they would have
    a preferred direction, and the features a bias (Mezzadri 2007)."""
    Q, R = np.linalg.qr(rng.standard_normal((count, n, n)))
    return Q * np.sign(np.diagonal(R, axis1=1, axis2=2))[:, None]


def by_name(f: Callable[..., Any], sizes: Mapping[str, int]) -> Any:
    """f of the sizes that its parameters name.

    >>> by_name(lambda d: min(16, d), {"d": 4, "n": 2})
    4
    """
    return f(*(sizes[k] for k in inspect.signature(f).parameters))


def check_declared(cls: Any, name: str) -> None:
    """Raise ContractError where a class that gets this name lacks what printouts and proofs need.

    Raises DomainError or UnknownNameError for a text of its `spec` that is no field.
    """
    if not name.isidentifier():
        raise ContractError(
            f"{cls.__qualname__}: name={name!r} must be a Python identifier, for it is what the "
            "family is called by. Likely cause: a space, a hyphen or a dot."
        )
    for missing in (k for k in ("spec", "equations", "facts") if not getattr(cls, k, None)):
        raise ContractError(
            f"{cls.__qualname__}: the class declares no `{missing}`; a mechanism with a name needs "
            "spec (its tokens), equations (update and output, for printouts) and facts. The "
            "docstring of dsf.authoring shows a whole file."
        )
    mech = cls()  # no parameters, the options at their defaults
    for field, text in mech.spec.items():
        try:
            Field.of(text, mech.options())
        except DSFError as e:
            raise type(e)(f"{cls.__qualname__}: token {field}: {e}") from None


def _parameter(shape: str, law: Law, when: tuple[str, Any] | None = None) -> Any:
    draw = Draw(tuple(shape.split()), law, when)
    return dataclasses.field(default=None, metadata={"draw": draw})
