"""What arrays come in, and in which dtype they are computed with: one intake, one promotion rule.

dtype of u                      computed and returned in
float64, longdouble             the wider of u and the parameters
float32                         float32 if the parameters are float32, else theirs
float16, bfloat16               at least float32: states never accumulate in half precision
integers, Python numbers, lists float64
symbols, balls                  that world
bool, text, complex, None       refused (DTypeError); a complex sequence needs `LTV.scan`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, reduce, wraps
from numbers import Real
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError, ShapeError
from dsf.core.worlds import NUMPY, Array, is_torch, world


# ------------------------------------------------------------------------- dtypes
def common_dtype(*xs: Array) -> Any:
    """The dtype in which arrays of one library are computed together.

    The rule of the package: the widest of theirs, as numpy or torch widens; float64 where all are
    integers, at least float32, objects where one holds objects.

    >>> common_dtype(np.ones(2, np.float16)), common_dtype(np.ones(2, int))
    (dtype('float32'), dtype('float64'))
    """
    if is_torch(xs[0]):
        import torch

        kind = reduce(torch.promote_types, [x.dtype for x in xs])
        if not (kind.is_floating_point or kind.is_complex):
            return torch.float64
        return torch.promote_types(kind, torch.float32)
    kinds = [np.asarray(x).dtype for x in xs]
    return _at_least_float32(kinds[0] if len(kinds) == 1 else np.result_type(*kinds))


@cache
def _at_least_float32(kind: np.dtype) -> np.dtype:
    return np.dtype(np.float64) if kind.kind in "biu" else np.result_type(kind, np.float32)


def full_precision(method: Callable[..., Any]) -> Any:
    """A function that computes in the dtype of its arrays also inside of torch.autocast."""

    @wraps(method)
    def computed(*inputs: Any, **named: Any) -> Any:
        torch: Any = sys.modules.get("torch")
        cast = [k for k in ("cpu", "cuda") if torch and torch.is_autocast_enabled(k)]
        with ExitStack() as stack:
            for kind in cast:
                stack.enter_context(torch.autocast(kind, enabled=False))
            return method(*inputs, **named)

    return computed


def layer_dtype(u: Array, *parameters: Array) -> Any:
    """The dtype in which a layer of torch returns its output: the widest, or that of autocast."""
    import torch

    kind = reduce(torch.promote_types, [x.real.dtype for x in (u, *parameters)])
    if torch.is_autocast_enabled(u.device.type) and kind in (
        torch.float32,
        torch.float16,
        torch.bfloat16,
    ):
        return torch.get_autocast_dtype(u.device.type)
    return kind


def at_least_float32(x: Array) -> Array:
    """x, in float32 where it is float16 or bfloat16: a decay of 0.999 is 1 in half precision.

    >>> at_least_float32(np.ones(2, np.float16)).dtype, at_least_float32(np.ones(2, int)).dtype
    (dtype('float32'), dtype('int64'))
    """
    if not is_half(x):
        return x
    return x.float() if is_torch(x) else x.astype(np.float32)


def is_half(x: Array) -> bool:
    """Whether an array is float16 or bfloat16."""
    if is_torch(x):
        return x.is_floating_point() and x.dtype.itemsize == 2
    return bool(x.dtype == np.float16)


def promoted(x: Array, like: Array) -> Array:
    """x as it is computed with in a system whose coefficients have the common dtype of `like`.

    numpy widens in every operation, so only x counts there; torch refuses to multiply a real by a
    complex matrix.  Beside symbols and balls integers stay exact.
    """
    if is_torch(x):
        return x.to(common_dtype(x, like))
    if x.dtype.kind in "biu" and like.dtype.kind == "O":
        return x
    return x.astype(common_dtype(x), copy=False)


def real_dtype(like: Array) -> Any:
    """The dtype of real constants in an equation whose arrays are like this one."""
    if is_torch(like):
        return like.real.dtype if like.is_complex() else like.dtype
    kind = np.asarray(like).dtype
    return kind if kind.kind == "f" else np.dtype(np.float64)


def common_zero(*xs: Array) -> Array:
    """A 0-d zero in the world and the common dtype of all arrays.

    >>> common_zero(np.ones(2, np.float32), np.ones(3, np.complex64)).dtype
    dtype('complex64')
    """
    return world(*xs).const(0, xs[0], common_dtype(*xs))


# ------------------------------------------------------------------------- intake
def intake(who: str, u: Any) -> Array:
    """u as a tensor, or as a contiguous array of floats (at least float32), symbols or balls.

    Raises DTypeError for what holds no real numbers, ShapeError for nested sequences of different
    lengths; `who` is named in the message.
    """
    if is_torch(u):
        if str(u.dtype) == "torch.bool" or u.is_complex():
            _refuse_dtype(who, u.dtype)
        return u if u.is_floating_point() else u.double()
    try:
        u = np.asarray(u)
    except ValueError as e:
        raise ShapeError(
            f"{who}: `u` must be one array [... L d]; got nested sequences of different "
            "lengths. Pad them, or run them one by one."
        ) from e
    refused = u.dtype.kind not in "iufO"
    if u.dtype == object and world(u) is NUMPY:
        refused = not all(isinstance(e, Real) and not isinstance(e, bool) for e in u.flat)
        u = u if refused else u.astype(np.float64)
    if refused:
        _refuse_dtype(who, u.dtype)
    u = u.astype(common_dtype(u), copy=False)  # also in native byte order
    return np.ascontiguousarray(u) if u.ndim else u


def _refuse_dtype(who: str, dtype: Any) -> None:
    raise DTypeError(
        f"{who}: `u` must hold real numbers; got dtype {dtype}. Likely cause: a mask, text "
        "or complex data passed as input. Convert explicitly, e.g. u.real or u.astype(float)."
    )


def to_numpy(x: Any) -> np.ndarray:
    """An array of any world as a numpy array, off the device and out of the graph."""
    if not is_torch(x):
        return np.asarray(x)
    x = x.detach().cpu().resolve_conj()
    return np.asarray(x.float() if str(x.dtype) == "torch.bfloat16" else x)  # numpy has none
