"""Numpy arrays: of floats, and what all arrays of objects have in common with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.worlds.base import Array, FloatWorld, World


class NumpyArrays(World):
    """The axes of a numpy array, whatever its entries are."""

    def asum(self, x: Array, axis: int, keepdims: bool) -> Array:
        add: Any = np.add  # whose types know keepdims=True and False, not bool
        total = add.reduce(np.asanyarray(x), axis=axis, keepdims=keepdims)
        return np.asanyarray(total, dtype=np.asarray(x).dtype)

    def cumsum(self, x: Array, axis: int) -> Array:
        return np.cumsum(x, axis=axis, dtype=np.asarray(x).dtype)

    def cat(self, xs: Sequence[Array], axis: int) -> Array:
        return np.concatenate(xs, axis=axis)

    def expand(self, x: Array, axis: int) -> Array:
        if axis >= 0:
            return x[(slice(None),) * axis + (None,)]
        return x[(Ellipsis, None) + (slice(None),) * (-axis - 1)]  # `expand_dims` takes 3 us

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(x, shape)

    def mT(self, x: Array) -> Array:
        return np.swapaxes(x, -1, -2)

    def moveaxis(self, x: Array, source: int, target: int) -> Array:
        if (source < 0) == (target < 0) and abs(source - target) == 1:
            return x.swapaxes(source, target)  # `moveaxis` takes 5 us
        return np.moveaxis(x, source, target)


PIECE = 1 << 15  # numbers whose intermediate results stay in the cache


def _in_pieces(f: Callable[[Array], Array], x: Array) -> Array:
    """f(x), entry by entry: of a long array in pieces, as new pages for each term take longer."""
    if x.size <= PIECE:
        return f(x)
    order = np.argsort([-stride for stride in x.strides], kind="stable")  # as it lies in memory
    laid = x.transpose(order)
    if not laid.flags.c_contiguous:
        return f(x)
    out = np.empty_like(laid, f(laid.ravel()[:1]).dtype)
    source, target = laid.ravel(), out.ravel()
    for start in range(0, x.size, PIECE):
        target[start : start + PIECE] = f(source[start : start + PIECE])
    return out.transpose(np.argsort(order))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.maximum(e, x >= 0) / (1 + e)  # 1 or e above


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # `logaddexp` takes 7 times as long


class Numpy(NumpyArrays, FloatWorld):
    """Arrays of floats."""

    name = "numpy"

    def unary(self, name: str, x: Array) -> Array:
        return getattr(np, name)(np.asanyarray(x))

    def maximum(self, x: Array, y: Array) -> Array:
        return np.maximum(x, y)

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        return np.where(np.asanyarray(x) > 0, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        return np.arctan2(y, x)

    def positions(self, t: int, L: int, like: Array) -> Array:
        return np.arange(t, t + L, dtype=np.float64)[:, None]

    def phase(self, theta: Array, position: Array) -> Array:
        turned = (theta * np.asarray(position, np.float64)) % (2 * np.pi)  # numpy widens theta
        return turned.astype(theta.dtype)

    def as_complex(self, re: Array, im: Array) -> Array:
        return np.asanyarray(re) + 1j * np.asanyarray(im)

    def cis(self, x: Array) -> Array:
        return np.exp(1j * np.asanyarray(x))

    def sigmoid(self, x: Array) -> Array:
        return _in_pieces(_sigmoid, np.asanyarray(x))

    def softplus(self, x: Array) -> Array:
        return _in_pieces(_softplus, np.asanyarray(x))

    def keep(self, x: Array, where: Array, value: float) -> Array:
        return np.where(where, x, np.array(value, dtype=x.dtype))

    def const(self, value: int | Fraction, like: Array, dtype: Any) -> Array:
        return np.array(float(value), dtype=dtype)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        dtype = np.asarray(like).dtype
        if dtype.kind == "O":  # an empty array of objects, or one of Python numbers
            return np.full(tuple(shape), 0.0, dtype=dtype)
        return np.zeros(tuple(shape), dtype=dtype)

    def array(self, x: Any) -> Array:
        return np.asanyarray(x)

    def solve(self, A: Array, b: Array) -> Array:
        if {A.dtype.char, b.dtype.char} & {"g", "G"}:  # LAPACK has no extended precision
            return super().solve(A, b)
        return np.linalg.solve(A, b)

    def detach(self, x: Array) -> Array:
        return x

    def isfinite(self, x: Array) -> Array:
        return np.isfinite(x)

    def largest(self, x: Array) -> Array:
        return x.max(-1, keepdims=True) if x.size else x.sum(-1, keepdims=True)


class Objects(NumpyArrays):
    """Object arrays of exact numbers: what sympy expressions and Arb balls share."""

    @abstractmethod
    def exact(self, value: Fraction) -> Any:
        """A rational as one number of this world."""

    @abstractmethod
    def exact_pi(self) -> Any:
        """Pi as one number of this world."""

    def keep(self, x: Array, where: Array, value: float) -> Array:
        return elementwise(lambda e, kept: e if kept else 0 * e + value, x, where)

    def const(self, value: int | Fraction, like: Array, dtype: Any) -> Array:
        return np.array(self.exact(Fraction(value)), dtype=object)

    def pi(self, like: Array, dtype: Any) -> Array:
        return np.array(self.exact_pi(), dtype=object)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        return np.full(tuple(shape), self.exact(Fraction(0)), dtype=object)


def elementwise(f: Callable[..., Any], *xs: Any) -> np.ndarray:
    """f on every entry of broadcastable arrays, as an object array."""
    return np.asarray(np.frompyfunc(f, len(xs), 1)(*xs), dtype=object)
