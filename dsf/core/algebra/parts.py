"""The real part of an expression, quickly: `sympy.re` asks the assumptions at every step."""

from __future__ import annotations

from typing import Any

import sympy

from dsf.core.algebra.signs import Domains

Expr = Any
ZERO, ONE = sympy.Integer(0), sympy.Integer(1)


def real_part(e: Expr) -> Expr:
    """Re e as an expression without i, where e is made of sums, products, powers and exponentials.

    Real symbols are real, and so are roots of what is shown to be positive; everything else (other
    functions, symbols not known to be real) is left to sympy.

    >>> x, y = sympy.symbols("x y", real=True)
    >>> real_part((x + sympy.I * y) * sympy.exp(sympy.I * x))
    x*cos(x) - y*sin(x)
    """
    return _parts(sympy.sympify(e), {})[0]


def _parts(e: Expr, memo: dict[Expr, tuple[Expr, Expr]]) -> tuple[Expr, Expr]:
    if e not in memo:
        memo[e] = _split(e, memo)
    return memo[e]


def _split(e: Expr, memo: dict[Expr, tuple[Expr, Expr]]) -> tuple[Expr, Expr]:
    if e is sympy.I:
        return ZERO, ONE
    if e.is_Atom and e.is_real:
        return e, ZERO
    if e.is_Add:
        real, imaginary = zip(*[_parts(a, memo) for a in e.args], strict=True)
        return sympy.Add(*real), sympy.Add(*imaginary)
    if e.is_Mul:
        return _product([_parts(a, memo) for a in e.args])
    if isinstance(e, sympy.exp):
        x, y = _parts(e.args[0], memo)
        size = sympy.exp(x)
        return (size, ZERO) if y is ZERO else (size * sympy.cos(y), size * sympy.sin(y))
    if e.is_Pow and e.exp.is_Integer:
        x, y = _parts(e.base, memo)
        if y is ZERO:
            return x**e.exp, ZERO
        square = x * x + y * y
        one = (x, y) if e.exp > 0 else (x / square, -y / square)
        return _product([one] * abs(int(e.exp)))
    if e.is_Pow and e.exp.is_Rational and _parts(e.base, memo)[1] is ZERO:
        if Domains({}).sign(e.base) > 0:  # a root of a positive number
            return e, ZERO
    if isinstance(e, sympy.conjugate):
        x, y = _parts(e.args[0], memo)
        return x, -y
    return sympy.re(e), sympy.im(e)


def _product(factors: list[tuple[Expr, Expr]]) -> tuple[Expr, Expr]:
    """(a + bi)(c + di)..., the real factors multiplied last."""
    a, b = ONE, ZERO
    for c, d in factors:
        if d is not ZERO:
            a, b = a * c - b * d, a * d + b * c
    real = sympy.Mul(*[c for c, d in factors if d is ZERO])
    return real * a, real * b
