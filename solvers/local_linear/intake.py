"""What arrays the functions of this folder accept: numpy arrays, or torch tensors throughout."""

from __future__ import annotations

from typing import Any

from dsf.core.errors import DTypeError, NonFiniteError, ShapeError, UnknownNameError
from dsf.core.ops import isfinite, readable
from dsf.core.worlds import Array, is_torch
from dsf.solvers.intake import reals

RIDGES = ("weights", "one")


def matrices(who: str, **named: Any) -> list[Array]:
    """Each argument as a finite matrix: float64 arrays, or torch tensors as they are.

    Raises DTypeError, ShapeError or NonFiniteError, which name the function and the argument.

    >>> matrices("f", q=[[1, 2]])
    [array([[1., 2.]])]
    """
    tensors = [is_torch(x) for x in named.values()]
    if not any(tensors):
        return [reals(who, name, x, 2) for name, x in named.items()]
    if not all(tensors):
        raise DTypeError(f"{who}: {', '.join(named)} must be all torch tensors or all arrays")
    for name, x in named.items():
        if not x.is_floating_point():
            raise DTypeError(f"{who}: `{name}` must hold real floats; got {x.dtype}")
        if x.ndim != 2:
            raise ShapeError(f"{who}: `{name}` must have 2 axes; got shape {list(x.shape)}")
        if readable(x) and not bool(isfinite(x).all()):
            raise NonFiniteError(f"{who}: `{name}` must be finite. Drop or repair the row.")
    kinds = sorted({str(x.dtype) for x in named.values()})
    if len(kinds) > 1:
        raise DTypeError(f"{who}: {', '.join(named)} must have one dtype; got {', '.join(kinds)}")
    return list(named.values())


def tokens(who: str, q: Any, k: Any, v: Any, causal: bool) -> tuple[Array, Array, Array]:
    """q [n d], k [T d], v [T p], d >= 1, with a key for every query, or typed errors."""
    q, k, v = matrices(who, q=q, k=k, v=v)
    shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
    if q.shape[1] != k.shape[1] or len(k) != len(v) or not q.shape[1]:
        raise ShapeError(f"{who}: {shapes} must be [n d], [T d], [T p] with d >= 1")
    if causal and len(q) != len(k):
        raise ShapeError(f"{who}: {shapes}: causal attention needs as many queries as keys")
    if len(q) and not len(k):
        raise ShapeError(f"{who}: {shapes}: a query needs at least one key")
    return q, k, v


def ridge_kind(who: str, ridge_times: str) -> str:
    """What the ridge is multiplied by, or UnknownNameError."""
    if ridge_times not in RIDGES:
        raise UnknownNameError(f"{who}: no ridge_times {ridge_times!r}; known: {', '.join(RIDGES)}")
    return ridge_times
