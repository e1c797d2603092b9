"""The kinds of state transition A_t, and the table that composes them.

    Diag      diag(a_t), from log-decays or values; one number ("scalar") or n of them ("diagonal")
    LowRank   diag(a_t) + U_t W_t'         what is erased, and what is mixed, along a few vectors
    Erase     (I - b_t k_t k_t') diag(a_t) the LowRank of the delta rules
    Dense     A_t                          realizations, momentum
    Shift     S <- (0, S_1 .. S_{n-1})     windows; with n = L the growing key-value cache

Time is an ordinary batch axis: `at(t)` drops it, `apply` and `right` broadcast over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsf.core import ops, printing
from dsf.core.errors import ShapeError
from dsf.core.ops import Array


@dataclass(frozen=True, eq=False)
class Prod:
    """A product of broadcastable factors, multiplied only when asked.

    S6 is `Diag(log_a=Prod((dt, a)))` with dt [D L 1] and a [D 1 N]: nothing of size D L N exists.

    >>> Prod((np.ones((3, 5, 1)), np.ones((3, 1, 2)))).shape
    (3, 5, 2)
    """

    factors: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the product."""
        return tuple(np.broadcast_shapes(*[tuple(f.shape) for f in self.factors]))

    def dense(self) -> Array:
        """The product as one array."""
        out = self.factors[0]
        for f in self.factors[1:]:
            out = out * f
        return out

    def __repr__(self) -> str:
        return f"Prod({printing.coefficient(self)})"

    def map(self, f: Callable[[Array], Array]) -> Prod:
        """f applied to every factor."""
        return Prod(tuple(f(x) for x in self.factors))


Coefficient = Any  # an array or a Prod


def dense(x: Coefficient) -> Array:
    """An array, or the product of a `Prod`."""
    return x.dense() if isinstance(x, Prod) else x


def factors(x: Coefficient) -> tuple[Array, ...]:
    """The factors of a `Prod`, or the array by itself."""
    return x.factors if isinstance(x, Prod) else (x,)


def each(x: Coefficient, f: Callable[[Array], Array]) -> Coefficient:
    """f applied to an array, or to every factor of a `Prod`."""
    return x.map(f) if isinstance(x, Prod) else f(x)


def at(x: Coefficient, t: int, axis: int) -> Array:
    """Row t of a time axis (negative); size 1 means constant, and a missing axis too.

    >>> at(np.arange(6.0).reshape(3, 2), 1, axis=-2)
    array([2., 3.])
    """

    def one(f: Array) -> Array:
        if f.ndim < -axis:
            return f
        index = t if f.shape[axis] != 1 else 0
        return f[(..., index, *[slice(None)] * (-axis - 1))]

    return dense(each(x, one))


def part_of(x: Coefficient, rows: slice, axis: int) -> Coefficient:
    """A slice of a time axis (negative); constants stay constant.

    >>> part_of(np.zeros((3, 2)), slice(1, 3), axis=-2).shape
    (2, 2)
    """

    def one(f: Array) -> Array:
        if f.ndim < -axis or f.shape[axis] == 1:
            return f
        return f[(..., rows, *[slice(None)] * (-axis - 1))]

    return each(x, one)


class Transition:
    """What the four kinds share; `time_axes` holds (name, axis of time) of their coefficients."""

    time_axes: Sequence[tuple[str, int]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = Transition.__repr__  # type: ignore[method-assign]  # @dataclass keeps it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({printing.transition(self)})"

    @property
    def n(self) -> int:
        """The number of states it acts on."""
        raise NotImplementedError

    @property
    def structure(self) -> str:
        """ "scalar", "diagonal", "low rank", "dense" or "shift", read off the shapes."""
        raise NotImplementedError

    def apply(self, S: Array) -> Array:
        """A S for S [... n p]."""
        raise NotImplementedError

    def right(self, R: Array) -> Array:
        """R A for R [... r n]."""
        raise NotImplementedError

    def dense(self, n: int | None = None) -> Array:
        """A as an array [... n n]."""
        raise NotImplementedError

    def map(self, f: Callable[[Array], Array]) -> Transition:
        """f applied to every array."""
        return self.map_time(lambda x, _: each(x, f))

    def map_time(self, f: Callable[[Coefficient, int], Coefficient]) -> Transition:
        """f(coefficient, its axis of time) in place of every coefficient."""
        new, axes = object.__new__(type(self)), dict(self.time_axes)
        for name, value in vars(self).items():
            if isinstance(value, Transition):
                value = value.map_time(f)
            elif name in axes and value is not None:
                value = f(value, axes[name])
            object.__setattr__(new, name, value)
        return new

    def at(self, t: int) -> Transition:
        """The transition of step t, without a time axis."""
        return self.map_time(lambda x, axis: at(x, t, axis))

    def part(self, rows: slice) -> Transition:
        """The transitions of a range of steps."""
        return self.map_time(lambda x, axis: part_of(x, rows, axis))

    def lengths(self) -> list[int]:
        """Sizes of the time axes (1 where constant)."""
        held = self._coefficients()
        return [f.shape[axis] for x, axis in held for f in factors(x) if f.ndim >= -axis]

    def arrays(self) -> list[Array]:
        """All coefficient arrays (factors of products separately)."""
        return [f for x, _ in self._coefficients() for f in factors(x)]

    def _coefficients(self) -> Iterator[tuple[Coefficient, int]]:
        """Every coefficient with its axis of time, those of a transition inside included."""
        axes = dict(self.time_axes)
        for name, value in vars(self).items():
            if isinstance(value, Transition):
                yield from value._coefficients()
            elif name in axes and value is not None:
                yield value, axes[name]

    def __matmul__(self, other: Transition) -> Transition:
        """The composition A2 A1 (`self` is applied last), by the compose table."""
        return compose(self, other)


@dataclass(frozen=True, eq=False)
class Diag(Transition):
    """diag(a_t): `log_a` [... L n|1] for decays, or `a` where a sign or an exact zero is needed.

    >>> Diag(log_a=np.log([[0.5]])).apply(np.ones((1, 2, 3)))[0, 0]
    array([0.5, 0.5, 0.5])
    """

    log_a: Coefficient | None = None
    a: Coefficient | None = None
    size: int | None = None  # n, needed only where the last axis is 1 and the state is larger
    time_axes = (("log_a", -2), ("a", -2))

    def __post_init__(self) -> None:
        if (self.log_a is None) == (self.a is None):
            raise ShapeError("Diag: give exactly one of log_a and a [... L n|1]")

    @property
    def _given(self) -> Coefficient:
        return self.a if self.log_a is None else self.log_a

    @property
    def n(self) -> int:
        return self.size or self._given.shape[-1]

    @property
    def structure(self) -> str:
        return "scalar" if self._given.shape[-1] == 1 else "diagonal"

    def values(self) -> Array:
        """a [... n|1]."""
        return dense(self.a) if self.log_a is None else ops.exp(dense(self.log_a))

    def apply(self, S: Array) -> Array:
        return ops.col(self.values()) * S

    def right(self, R: Array) -> Array:
        return R * ops.row(self.values())

    def dense(self, n: int | None = None) -> Array:
        a = self.values()
        return ops.row(a) * ops.eye(n or self.n, a)


@dataclass(frozen=True, eq=False)
class LowRank(Transition):
    """diag(a_t) + U_t W_t' with U, W [... L n r]; W' is the transpose without conjugation.

    The delta rule is LowRank(Diag(a=1), U=-beta k, W=k).

    >>> k = np.array([[[0.6], [0.8]]])
    >>> LowRank(Diag(a=np.ones((1, 1))), -k, k).apply(k)[0].round(15)
    array([[0.],
           [0.]])
    """

    diag: Diag
    U: Coefficient
    W: Coefficient
    time_axes = (("U", -3), ("W", -3))

    @property
    def n(self) -> int:
        return self.U.shape[-2]

    @property
    def rank(self) -> int:
        """Columns of U and W."""
        return self.U.shape[-1]

    @property
    def structure(self) -> str:
        return "low rank"

    def apply(self, S: Array) -> Array:
        return self.diag.apply(S) + ops.outer(dense(self.U), ops.mT(dense(self.W)) @ S)

    def expanded(self) -> LowRank:
        """The same with U and W as arrays."""
        return LowRank(self.diag, dense(self.U), dense(self.W))

    def right(self, R: Array) -> Array:
        return self.diag.right(R) + ops.outer(R @ dense(self.U), ops.mT(dense(self.W)))

    def dense(self, n: int | None = None) -> Array:
        return self.diag.dense(self.n) + dense(self.U) @ ops.mT(dense(self.W))


class Erase(LowRank):
    """(I - beta_t k_t k_t') diag(a_t) with k [... L n 1] and beta [... L 1 1]: the delta rules.

    A LowRank with U = -beta k and W = a k that knows its key.  A system that writes along the same
    key has `B=A.write`, which is beta k: kernels of the delta rule take it.

    >>> k = np.array([[[0.6], [0.8]]])
    >>> A = Erase(Diag(a=np.ones((1, 1))), k, np.ones((1, 1, 1)))
    >>> A.apply(k)[0].round(15), A.write.dense()[0]
    (array([[0.],
           [0.]]), array([[0.6],
           [0.8]]))
    """

    k: Array
    beta: Array
    time_axes = (("k", -3), ("beta", -3))

    def __init__(self, diag: Diag, k: Array, beta: Array) -> None:
        for name, value in (("diag", diag), ("k", k), ("beta", beta)):
            object.__setattr__(self, name, value)

    @property
    def write(self) -> Prod:
        """beta k, as factors."""
        return Prod((self.beta, self.k))

    @property
    def U(self) -> Prod:
        return Prod((-self.beta, self.k))

    @property
    def W(self) -> Prod:
        return Prod((ops.col(self.diag.values()), self.k))

    def apply(self, S: Array) -> Array:
        S = self.diag.apply(S)
        return S - ops.outer(self.write.dense(), ops.mT(self.k) @ S)

    def right(self, R: Array) -> Array:
        return self.diag.right(R - ops.outer(R @ self.write.dense(), ops.mT(self.k)))

    def writes(self, B: Coefficient) -> bool:
        """Whether B is `write` itself: the same arrays, not only the same numbers."""
        held = factors(B)
        return len(held) == 2 and held[0] is self.beta and held[1] is self.k


@dataclass(frozen=True, eq=False)
class Dense(Transition):
    """A_t [... L n n] without further structure.

    >>> Dense(np.eye(2)[None]).structure
    'dense'
    """

    A: Coefficient
    time_axes = (("A", -3),)

    @property
    def n(self) -> int:
        return self.A.shape[-1]

    @property
    def structure(self) -> str:
        return "dense"

    def apply(self, S: Array) -> Array:
        return dense(self.A) @ S

    def right(self, R: Array) -> Array:
        return R @ dense(self.A)

    def dense(self, n: int | None = None) -> Array:
        return dense(self.A)


@dataclass(frozen=True, eq=False)
class Shift(Transition):
    """The shift register S <- (0, S_1 .. S_{n-1}) of n rows: first in, first out.

    >>> Shift(3).apply(np.array([[1.0], [2.0], [3.0]])).ravel()
    array([0., 1., 2.])
    """

    size: int
    like: Array = field(default_factory=lambda: np.zeros(()))  # decides the world of dense()

    @property
    def n(self) -> int:
        return self.size

    @property
    def structure(self) -> str:
        return "shift"

    def apply(self, S: Array) -> Array:
        head = S[..., :1, :]
        return ops.cat([ops.zeros_like(head), S[..., :-1, :]], -2) if self.size else S

    def right(self, R: Array) -> Array:
        head = R[..., :1]
        return ops.cat([R[..., 1:], ops.zeros_like(head)], -1) if self.size else R

    def dense(self, n: int | None = None) -> Array:
        eye = ops.eye(self.size, self.like)
        return self.apply(eye)


def compose(second: Transition, first: Transition) -> Transition:
    """A2 A1 in the smallest class of the table.

    |  A2 \\ A1  | Diag    | LowRank r        | Dense | Shift |
    |-----------|---------|------------------|-------|-------|
    | Diag      | Diag    | LowRank r        | Dense | Dense |
    | LowRank s | LowRank | LowRank r+s (*)  | Dense | Dense |
    | Dense     | Dense   | Dense            | Dense | Dense |
    | Shift     | Dense   | Dense            | Dense | Dense |

    (*) Dense once r + s >= n.

    >>> decay, k = Diag(a=np.ones((1, 4))), np.ones((1, 4, 1))
    >>> erase = LowRank(decay, -k / 4, k)
    >>> (decay @ erase).structure, (erase @ erase).rank
    ('low rank', 2)
    """
    second, first = (x.expanded() if isinstance(x, Erase) else x for x in (second, first))
    rule = COMPOSE.get((type(second), type(first)))
    if rule is None:
        return _compose_dense(second, first)
    return rule(second, first)


def _compose_dense(b: Transition, a: Transition) -> Dense:
    n = max(a.n, b.n)
    return Dense(b.apply(a.dense(n)))


def _diag_diag(b: Diag, a: Diag) -> Diag:
    size = max(b.n, a.n)
    if b.log_a is not None and a.log_a is not None:
        return Diag(log_a=dense(b.log_a) + dense(a.log_a), size=size)
    return Diag(a=b.values() * a.values(), size=size)


def _diag_lowrank(b: Diag, a: LowRank) -> LowRank:
    return LowRank(_diag_diag(b, a.diag), b.apply(dense(a.U)), a.W)


def _lowrank_diag(b: LowRank, a: Diag) -> LowRank:
    return LowRank(_diag_diag(b.diag, a), b.U, a.apply(dense(b.W)))


def _lowrank_lowrank(b: LowRank, a: LowRank) -> Transition:
    if a.rank + b.rank >= a.n:
        return _compose_dense(b, a)
    # (D2 + U2 W2')(D1 + U1 W1') = D2 D1 + [U2, A2 U1] [D1 W2, W1]'
    U = ops.cat([dense(b.U), b.apply(dense(a.U))], -1)
    W = ops.cat([a.diag.apply(dense(b.W)), dense(a.W)], -1)
    return LowRank(_diag_diag(b.diag, a.diag), U, W)


COMPOSE: dict[tuple[type, type], Callable[..., Transition]] = {
    (Diag, Diag): _diag_diag,
    (Diag, LowRank): _diag_lowrank,
    (LowRank, Diag): _lowrank_diag,
    (LowRank, LowRank): _lowrank_lowrank,
}
