"""Gaps: what a number is in one run of the equations, and by how much it differs in another.

`mech.map(...)` on gaps is the same equations in two runs at once.  An entry is a ball for the value
x of the first run and a ball for the difference dx, second run minus first.  Every rule is an exact
finite difference, not a derivative, so nothing is neglected; and no rule subtracts two large
numbers, so a difference stays as small as it is where x is known only to lie in a wide ball.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.worlds.arb import Arb, one_ball
from dsf.core.worlds.base import Array
from dsf.core.worlds.numpy_arrays import Objects, elementwise


class Gap:
    """x encloses a number of the first run, x + dx that of the second run; real or complex balls.

    >>> import flint
    >>> wide, tiny = flint.arb(0, 1), flint.arb(2) ** -60
    >>> y = Gap(flint.arb(1), tiny) * Gap(wide, flint.arb(0))  # (1 + 2^-60) u for u in [-1, 1]
    >>> bool(abs(y.dx) <= tiny * 1.001)
    True
    """

    __slots__ = ("dx", "x")

    def __init__(self, x: Any, dx: Any) -> None:
        self.x, self.dx = x, dx

    @property
    def second(self) -> Any:
        """The number of the second run."""
        return self.x + self.dx

    def __repr__(self) -> str:
        return f"Gap({self.x}, {self.dx})"

    def __neg__(self) -> Gap:
        return Gap(-self.x, -self.dx)

    def __pow__(self, n: int) -> Gap:
        if n < 0:
            return _quotient(as_gap(1), self**-n)
        # b^n - a^n = (b - a)(b^{n-1} + b^{n-2} a + ... + a^{n-1})
        terms = (self.second ** (n - 1 - k) * self.x**k for k in range(n))
        return Gap(self.x**n, self.dx * sum(terms, one_ball(0)))

    def __add__(self, other: Any) -> Any:
        return _with(_sum, self, other)

    def __radd__(self, other: Any) -> Any:
        return _with(_sum, other, self)

    def __sub__(self, other: Any) -> Any:
        return _with(_difference, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _with(_difference, other, self)

    def __mul__(self, other: Any) -> Any:
        return _with(_product, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _with(_product, other, self)

    def __truediv__(self, other: Any) -> Any:
        return _with(_quotient, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _with(_quotient, other, self)


def as_gap(e: Any) -> Gap:
    """A gap, or a number that is the same in both runs."""
    return e if isinstance(e, Gap) else Gap(one_ball(e), one_ball(0))


# ------------------------------------------------------------------- arithmetic
def _with(rule: Callable[[Gap, Gap], Gap], a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return NotImplemented  # numpy then asks for each entry
    return rule(as_gap(a), as_gap(b))


def _sum(a: Gap, b: Gap) -> Gap:
    return Gap(a.x + b.x, a.dx + b.dx)


def _difference(a: Gap, b: Gap) -> Gap:
    return Gap(a.x - b.x, a.dx - b.dx)


def _product(a: Gap, b: Gap) -> Gap:
    return Gap(a.x * b.x, a.x * b.dx + a.dx * b.x + a.dx * b.dx)


def _quotient(a: Gap, b: Gap) -> Gap:
    q = a.x / b.x
    return Gap(q, (a.dx - q * b.dx) / b.second)


# ------------------------------------------------------------------- functions
def _abs_change(g: Gap) -> Any:
    if _real(g.x) and g.x > 0 and g.second > 0:
        return g.dx
    if _real(g.x) and g.x < 0 and g.second < 0:
        return -g.dx
    return _up_to(abs(g.dx))


def _real(x: Any) -> bool:
    return type(x).__name__ == "arb"


def _up_to(size: Any) -> Any:
    """The ball of all numbers of at most this size."""
    return size.union(-size)


# name -> f(x + dx) - f(x)
CHANGES: dict[str, Callable[[Gap], Any]] = {
    "exp": lambda g: g.x.exp() * g.dx.expm1(),
    "expm1": lambda g: g.x.exp() * g.dx.expm1(),
    "log": lambda g: (g.dx / g.x).log1p() if _real(g.x) else g.second.log() - g.x.log(),
    "sqrt": lambda g: g.dx / (g.x.sqrt() + g.second.sqrt()),
    "tanh": lambda g: g.dx.tanh() * (1 - g.x.tanh() * g.second.tanh()),
    "sin": lambda g: 2 * (g.x + g.dx / 2).cos() * (g.dx / 2).sin(),
    "cos": lambda g: -2 * (g.x + g.dx / 2).sin() * (g.dx / 2).sin(),
    "abs": _abs_change,
}


def _unary(name: str, e: Any) -> Gap:
    g = as_gap(e)
    if name == "real":
        return Gap(g.x.real, g.dx.real)
    if name == "conj":
        return Gap(_conj(g.x), _conj(g.dx))
    value = abs(g.x) if name == "abs" else getattr(g.x, name)()
    return Gap(value, one_ball(0) if g.dx.is_zero() else CHANGES[name](g))


def _conj(x: Any) -> Any:
    return x if _real(x) else x.conjugate()


def _maximum(a: Any, b: Any) -> Gap:
    a, b = as_gap(a), as_gap(b)
    for one, other in ((a, b), (b, a)):
        if one.x >= other.x and one.second >= other.second:
            return one
    # the maximum grows with both, and by as much as both if they grow alike
    return Gap(a.x.max(b.x), a.dx.union(b.dx))


def _where_positive(e: Any, a: Any, b: Any) -> Gap:
    g, a, b = as_gap(e), as_gap(a), as_gap(b)
    if g.x > 0 and g.second > 0:
        return a
    if g.x <= 0 and g.second <= 0:
        return b
    change = a.dx.union(b.dx)
    if not g.dx.is_zero():  # the two runs may choose differently
        change = change.union(b.second - a.x).union(a.second - b.x)
    return Gap(a.x.union(b.x), change)


def _angle(e: Any, f: Any) -> Gap:
    import flint

    y, x = as_gap(e), as_gap(f)
    angle = flint.arb.atan2
    found = angle(y.x, x.x)
    above, below = y.x > 0 and y.second > 0, y.x < 0 and y.second < 0
    if above or below or (x.x > 0 and x.second > 0):  # the way from one to the other misses the cut
        turned = x.x * y.dx - y.x * x.dx, x.x * x.second + y.x * y.second
        return Gap(found, angle(*turned))
    return Gap(found, angle(y.second, x.second) - found)


class Gaps(Objects):
    """Two runs of the equations in balls: the first one, and by how much the second differs."""

    name = "gaps"

    def unary(self, name: str, x: Array) -> Array:
        return elementwise(lambda e: _unary(name, e), x)

    def maximum(self, x: Array, y: Array) -> Array:
        return elementwise(_maximum, x, y)

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        return elementwise(_where_positive, x, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        return elementwise(_angle, y, x)

    def as_complex(self, re: Array, im: Array) -> Array:
        import flint

        def pair(a: Any, b: Any) -> Gap:
            a, b = as_gap(a), as_gap(b)
            return Gap(flint.acb(a.x, b.x), flint.acb(a.dx, b.dx))

        return elementwise(pair, re, im)

    def norm(self, x: Array) -> Array:
        # | |v + dv| - |v| | <= |dv|, also where v may be 0
        arb = Arb()
        value = arb.norm(elementwise(lambda e: as_gap(e).x, x))
        change = arb.norm(elementwise(lambda e: as_gap(e).dx, x))
        return elementwise(lambda v, dv: Gap(v, _up_to(dv)), value, change)

    def exact(self, value: Fraction) -> Gap:
        return as_gap(value)

    def exact_pi(self) -> Gap:
        import flint

        return as_gap(flint.arb.pi())
