"""Sympy expressions in object arrays, and named symbols for proofs.

`mech.map(dsf.symbols)` is the same equations on symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.worlds.base import Array
from dsf.core.worlds.numpy_arrays import Objects, elementwise


class Sympy(Objects):
    """Symbolic expressions; numbers stay rational, pi stays pi."""

    name = "symbols"

    def unary(self, name: str, x: Array) -> Array:
        import sympy

        if name == "expm1":
            return self.unary("exp", x) - 1
        if name == "real":
            from dsf.core.algebra.parts import real_part

            return elementwise(real_part, x)
        known = {"abs": "Abs", "conj": "conjugate"}
        return elementwise(getattr(sympy, known.get(name, name)), x)

    def maximum(self, x: Array, y: Array) -> Array:
        import sympy

        return elementwise(sympy.Max, x, y)

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        import sympy

        return elementwise(lambda t, p, q: sympy.Piecewise((p, t > 0), (q, True)), x, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        import sympy

        return elementwise(sympy.atan2, y, x)

    def as_complex(self, re: Array, im: Array) -> Array:
        import sympy

        return elementwise(lambda a, b: a + sympy.I * b, re, im)

    def exact(self, value: Fraction) -> Any:
        import sympy

        return sympy.Rational(value.numerator, value.denominator)

    def exact_pi(self) -> Any:
        import sympy

        return sympy.pi


def symbols(x: Any, name: str = "x") -> np.ndarray:
    """An array of the shape of x holding real sympy symbols, `name_i_j` for the entry (i, j).

    Axes of size 1 get no index.  `mech.map(dsf.symbols)` names the symbols after the fields, so two
    parameters never share a symbol.

    >>> symbols(np.zeros((1, 2, 2)), "W")
    array([[[W_0_0, W_0_1],
            [W_1_0, W_1_1]]], dtype=object)
    """
    import sympy

    shape = tuple(x.shape)
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        shown = [str(i) for i, size in zip(index, shape, strict=True) if size > 1]
        out[index] = sympy.Symbol("_".join([name, *shown]), real=True)
    return out


symbols.named = True  # type: ignore[attr-defined]  # Mechanism.map passes the name of the field


def symbolic_input(L: int, d: int, name: str = "u") -> np.ndarray:
    """An input sequence [L d] of real symbols.

    >>> symbolic_input(2, 1)
    array([[u_0],
           [u_1]], dtype=object)
    """
    return symbols(np.zeros((L, d)), name)


def evaluate(x: np.ndarray, values: Mapping[Any, float], digits: int = 30) -> np.ndarray:
    """Symbolic entries at the given values of their symbols, computed with `digits` digits.

    >>> u = symbolic_input(1, 2)
    >>> evaluate(u * u, {u[0, 0]: 3.0, u[0, 1]: 0.5})
    array([[9.  , 0.25]])
    """
    import mpmath
    import sympy

    names = list(values)
    f = sympy.lambdify(names, list(x.flat), modules="mpmath", cse=True)
    with mpmath.workdps(digits):
        found = f(*[mpmath.mpf(float(values[s])) for s in names])
        return np.array([float(e) for e in found]).reshape(x.shape)
