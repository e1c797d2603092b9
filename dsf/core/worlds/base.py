"""What a world of numbers brings: the operations on which `dsf.ops` is built."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

Array = Any  # numpy array, torch tensor, or object array of sympy expressions or Arb balls


class World(ABC):
    """One kind of numbers.  The docstrings of `dsf.ops` say what the operations mean."""

    name: ClassVar[str]

    # ------------------------------------------------------------ elementwise
    @abstractmethod
    def unary(self, name: str, x: Array) -> Array:
        """exp, expm1, log, sqrt, tanh, sin, cos, abs, real or conj."""

    @abstractmethod
    def maximum(self, x: Array, y: Array) -> Array: ...

    @abstractmethod
    def where_positive(self, x: Array, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def arctan2(self, y: Array, x: Array) -> Array: ...

    @abstractmethod
    def as_complex(self, re: Array, im: Array) -> Array: ...

    def cis(self, x: Array) -> Array:
        return self.as_complex(self.unary("cos", x), self.unary("sin", x))

    def sigmoid(self, x: Array) -> Array:
        return 1 / (1 + self.unary("exp", -x))

    def softplus(self, x: Array) -> Array:
        return self.unary("log", 1 + self.unary("exp", x))

    @abstractmethod
    def keep(self, x: Array, where: Array, value: float) -> Array:
        """x where the condition holds, the number elsewhere."""

    # ---------------------------------------------------------------- numbers
    @abstractmethod
    def const(self, value: int | Fraction, like: Array, dtype: Any) -> Array: ...

    @abstractmethod
    def pi(self, like: Array, dtype: Any) -> Array: ...

    @abstractmethod
    def zeros(self, shape: Sequence[int], like: Array) -> Array: ...

    def positions(self, t: int, L: int, like: Array) -> Array:
        """t .. t+L-1 as a column [L 1]."""
        rows = [self.const(t + i, like, None).reshape(1, 1) for i in range(L)]
        return self.cat(rows, -2) if rows else self.zeros((0, 1), like)

    def phase(self, theta: Array, position: Array) -> Array:
        """theta position, an angle."""
        return theta * position

    # ------------------------------------------------------------------- axes
    @abstractmethod
    def asum(self, x: Array, axis: int, keepdims: bool) -> Array: ...

    def norm(self, x: Array) -> Array:
        """Euclidean norm along the last axis, kept as size 1, without scaling."""
        return self.unary("sqrt", self.asum(x * x, -1, True))

    def solve(self, A: Array, b: Array) -> Array:
        """A^-1 b by elimination without exchanges, for symmetric positive definite A [... n n]."""
        pivots = []
        for _ in range(A.shape[-1]):
            row, rest = A[..., :1, :] / A[..., :1, :1], A[..., 1:, :1]
            first = b[..., :1, :] / A[..., :1, :1]
            pivots.append((row[..., 1:], first))
            A, b = A[..., 1:, 1:] - rest * row[..., 1:], b[..., 1:, :] - rest * first
        x = b  # [... 0 m]
        for row, first in reversed(pivots):
            x = self.cat([first - row @ x, x], -2) if x.shape[-2] else first
        return x

    @abstractmethod
    def cumsum(self, x: Array, axis: int) -> Array: ...

    @abstractmethod
    def cat(self, xs: Sequence[Array], axis: int) -> Array: ...

    @abstractmethod
    def expand(self, x: Array, axis: int) -> Array: ...

    @abstractmethod
    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array: ...

    @abstractmethod
    def mT(self, x: Array) -> Array: ...

    @abstractmethod
    def moveaxis(self, x: Array, source: int, target: int) -> Array: ...


class FloatWorld(World):
    """Floating-point numbers: they overflow, may be NaN, and have a dtype."""

    def pi(self, like: Array, dtype: Any) -> Array:
        return self.const(1, like, dtype) * math.pi

    @abstractmethod
    def array(self, x: Any) -> Array:
        """Numbers or an array of another library as an array of this world."""

    @abstractmethod
    def detach(self, x: Array) -> Array:
        """x without its gradient."""

    @abstractmethod
    def isfinite(self, x: Array) -> Array: ...

    @abstractmethod
    def largest(self, x: Array) -> Array:
        """The largest entry along the last axis, kept as size 1; 0 along an empty axis."""
