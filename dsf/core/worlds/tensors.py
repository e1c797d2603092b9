"""Torch tensors.  Torch is loaded whenever one of them exists, so nothing is imported here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.worlds.base import Array, FloatWorld


def is_torch(x: Any) -> bool:
    """Whether x is a torch tensor; torch is never imported to find out."""
    if isinstance(x, np.ndarray):  # asked most often, and torch takes longer to say no
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _torch() -> Any:
    return sys.modules["torch"]


class Torch(FloatWorld):
    """Tensors; every operation keeps device and gradient."""

    name = "torch"

    def unary(self, name: str, x: Array) -> Array:
        if name == "conj" and x.is_complex():  # vmap has no rule for the lazy view of torch
            return _torch().complex(x.real, -x.imag)
        return getattr(_torch(), name)(x)

    def maximum(self, x: Array, y: Array) -> Array:
        t = x if is_torch(x) else y
        return _torch().maximum(self.array(x).to(t), self.array(y).to(t))

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        return _torch().where(x > 0, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        return _torch().arctan2(y, x)

    def positions(self, t: int, L: int, like: Array) -> Array:
        torch = _torch()
        return torch.arange(t, t + L, dtype=torch.float64, device=like.device)[:, None]

    def phase(self, theta: Array, position: Array) -> Array:
        return ((theta.double() * position.double()) % (2 * np.pi)).to(theta.dtype)

    def as_complex(self, re: Array, im: Array) -> Array:
        re, im = _torch().broadcast_tensors(re, im)
        return _torch().complex(re, im)

    def sigmoid(self, x: Array) -> Array:
        return _torch().sigmoid(x)

    def softplus(self, x: Array) -> Array:
        return _torch().logaddexp(x, _torch().zeros((), dtype=x.dtype, device=x.device))

    def keep(self, x: Array, where: Array, value: float) -> Array:
        return x.masked_fill(~_torch().as_tensor(where, device=x.device), value)

    def const(self, value: int | Fraction, like: Array, dtype: Any) -> Array:
        return _torch().as_tensor(float(value), dtype=dtype, device=like.device)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        return _torch().zeros(*shape, dtype=like.dtype, device=like.device)

    def asum(self, x: Array, axis: int, keepdims: bool) -> Array:
        return x.sum(dim=axis, keepdim=keepdims)

    def norm(self, x: Array) -> Array:
        return _torch().linalg.vector_norm(x, dim=-1, keepdim=True)

    def solve(self, A: Array, b: Array) -> Array:
        return _torch().linalg.solve(A, b)

    def cumsum(self, x: Array, axis: int) -> Array:
        return x.cumsum(axis)

    def cat(self, xs: Sequence[Array], axis: int) -> Array:
        return _torch().cat(xs, dim=axis)

    def expand(self, x: Array, axis: int) -> Array:
        return x.unsqueeze(axis)

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return x.expand(*shape)

    def mT(self, x: Array) -> Array:
        return x.transpose(-1, -2)

    def moveaxis(self, x: Array, source: int, target: int) -> Array:
        return x.movedim(source, target)

    def array(self, x: Any) -> Array:
        return _torch().as_tensor(x)

    def detach(self, x: Array) -> Array:
        return x.detach()

    def isfinite(self, x: Array) -> Array:
        return x.isfinite()

    def largest(self, x: Array) -> Array:
        return x.amax(-1, keepdim=True) if x.numel() else x.sum(-1, keepdim=True)
