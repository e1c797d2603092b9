"""What numbers and arrays the solvers accept, and what they say of others."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError

Array = np.ndarray


def reals(who: str, name: str, x: Any, axes: int | None = None) -> Array:
    """x as a finite float64 array with the given number of axes (None: at least one).

    Raises DTypeError, ShapeError or NonFiniteError, which name the function and the argument.

    >>> reals("f", "x", [1, 2])
    array([1., 2.])
    """
    try:
        x = np.asarray(x)
    except ValueError as e:
        raise ShapeError(f"{who}: `{name}` holds rows of different lengths; pad them") from e
    if x.dtype.kind not in "iuf":
        raise DTypeError(
            f"{who}: `{name}` must hold real numbers; got dtype {x.dtype}. Likely cause: text, a "
            "mask or complex data. Convert explicitly."
        )
    if (axes is None and x.ndim == 0) or (axes is not None and x.ndim != axes):
        wanted = "at least one axis" if axes is None else f"{axes} axes"
        raise ShapeError(f"{who}: `{name}` must have {wanted}; got shape {list(x.shape)}")
    x = x.astype(np.float64)
    if not np.all(np.isfinite(x)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise NonFiniteError(
            f"{who}: `{name}` must be finite; entry {index} is {x[index]}. Drop or repair the row."
        )
    return x


def count(who: str, name: str, x: Any, least: int = 1) -> int:
    """x as an integer of at least `least`, or a typed error that names it."""
    if isinstance(x, bool) or not isinstance(x, (int, np.integer)):
        raise DTypeError(f"{who}: `{name}` must be an integer; got {x!r}")
    if x < least:
        raise DomainError(f"{who}: `{name}` must be at least {least}; got {x}")
    return int(x)


def number(who: str, name: str, x: Any, *, above: bool = False) -> float:
    """x as a finite number of at least 0 (above 0 where `above`), or a typed error.

    >>> number("f", "ridge", 2)
    2.0
    """
    try:
        value = float(x)
    except (TypeError, ValueError) as e:
        raise DTypeError(f"{who}: `{name}` must be a number; got {x!r}") from e
    if not np.isfinite(value) or value < 0 or (above and value == 0):
        wanted = "above 0" if above else "of at least 0"
        raise DomainError(f"{who}: `{name}` must be a finite number {wanted}; got {x!r}")
    return value
