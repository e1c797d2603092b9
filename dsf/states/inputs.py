"""What the realization functions accept: finite real operators of moderate size, tolerances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.arrays import to_numpy
from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError

LARGEST = 1e100  # squares of entries, summed, must neither overflow nor vanish
RTOL = 1e-2  # where neither rtol nor atol is given


@dataclass(frozen=True)
class Tolerance:
    """An error in the operator 2-norm: `value`, times |M| if `relative`."""

    value: float
    relative: bool


def tolerance(who: str, rtol: float | None, atol: float | None, default: float = RTOL) -> Tolerance:
    """The tolerance from rtol= (relative to |M|) or atol= (absolute), of which one may be given.

    >>> tolerance("realize", None, 0.5), tolerance("realize", None, None)
    (Tolerance(value=0.5, relative=False), Tolerance(value=0.01, relative=True))
    """
    if rtol is not None and atol is not None:
        raise DomainError(
            f"{who}: give rtol= (relative to |M|) or atol= (absolute), not both; got rtol={rtol}, "
            f"atol={atol}"
        )
    name, value = ("rtol", rtol) if atol is None else ("atol", atol)
    value = default if value is None else number(who, name, value)
    if not (np.isfinite(value) and value >= 0):
        raise DomainError(f"{who}: {name} must be finite and not negative; got {value}")
    return Tolerance(float(value), atol is None)


def number(who: str, name: str, value: Any) -> float:
    """A number that was given as an argument, as a float; DTypeError for what is none."""
    try:
        return float(value + 0.0)  # text is no number, also if it reads like one
    except (TypeError, ValueError) as e:
        raise DTypeError(f"{who}: {name} must be a number; got {value!r}") from e


def as_blocks(M: Any, who: str, heads: bool = True) -> np.ndarray:
    """M as float64 [L r L m], or [H L r L m] if `heads`; r = m = 1 and H = 1 may be left out."""
    try:
        X = to_numpy(M)
    except ValueError as e:
        raise ShapeError(f"{who}: M must be one array; got rows of different lengths") from e
    if X.dtype == object or X.dtype.kind not in "buif":
        got = X.dtype if isinstance(M, np.ndarray) else f"{type(M).__name__} ({X.dtype})"
        raise DTypeError(
            f"{who}: needs a real numeric array; got {got}. Of a complex system pass the real part "
            "of the kernel, which is the operator on real values; of a mechanism its kernel(u), of "
            "a row of an inspection found.kernel(row)."
        )
    X = np.ascontiguousarray(X, dtype=np.float64)
    if not np.all(np.isfinite(X)):
        bad = tuple(map(int, np.argwhere(~np.isfinite(X))[0]))
        raise NonFiniteError(
            f"{who}: M holds {X[bad]} at {bad}; a state count needs finite numbers"
        )
    if X.ndim in (2, 3):
        X = X[..., :, None, :, None]
    wrong = X.ndim not in (4, 5) or X.shape[-4] != X.shape[-2] or (X.ndim == 5 and not heads)
    if wrong or 0 in X.shape[-3::2] or (X.ndim == 5 and X.shape[0] == 0):
        accepted = "[L L], [H L L], [L r L m] or [H L r L m]" if heads else "[L L] or [L r L m]"
        raise ShapeError(
            f"{who}: needs an operator on sequences of shape {accepted}; got {np.shape(M)}. "
            "Flatten further batch axes into H."
        )
    top = float(np.abs(X).max(initial=0.0))
    if top > LARGEST or 0.0 < top < 1.0 / LARGEST:
        raise DomainError(
            f"{who}: the largest entry of M is {top:.3g}; it must lie in 1e-100..1e100. "
            "Rescale M: a relative error does not change."
        )
    return X if heads and X.ndim == 5 else X[None] if heads else X
