"""Signs and ranges of symbolic expressions: whether a token map stays in the declared domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sympy

from dsf.zero import is_zero

Expr = Any


class Domains:
    """Proves that expressions are positive: every bounded quantity is written as w/(1+w), w > 0.

    `bounded` gives the symbols (assumed positive) that lie in (0, b).  A False means only that no
    proof was found.

    >>> g = sympy.Symbol("g", positive=True)
    >>> Domains({g: 1}).inside("< 0", np.array([sympy.log(g)]))
    True
    """

    def __init__(self, bounded: Mapping[Expr, int]) -> None:
        self.ranges = {}
        for g, b in bounded.items():
            w = sympy.Dummy(positive=True)
            self.ranges[g] = b * w / (1 + w)
        self.known: dict[Expr, Expr] = {}

    def inside(self, domain: str, x: np.ndarray, unit: Iterable[Any] = ()) -> bool:
        """Whether all entries of x are shown to lie in a domain of `dsf.tokens`."""
        x = np.asarray(x, dtype=object)
        if domain == "unit":
            rows = x.reshape(-1, x.shape[-1])
            return all(is_zero(sum(e * e for e in row) - 1, unit) for row in rows)
        tests = {"real": self.real, "> 0": self.positive, "< 0": lambda e: self.positive(-e)}
        if domain in tests:
            return all(tests[domain](sympy.sympify(e)) for e in x.flat)
        top = int(domain[-2])
        return all(self.positive(e) and self.positive(top - e) for e in map(sympy.sympify, x.flat))

    def real(self, e: Expr) -> bool:
        return bool(e.is_real) or bool(sympy.factor(self._open(e)).is_real)

    def positive(self, e: Expr) -> bool:
        """Whether e > 0 is shown."""
        if e.is_positive:
            return True
        e = sympy.factor(sympy.together(self._open(e)))
        return bool(e.is_positive)

    def _open(self, e: Expr) -> Expr:
        """The same quantity over positive variables, as far as signs and bounds are known."""
        e = sympy.sympify(e)
        if e in self.ranges:
            return self.ranges[e]
        if not e.args:
            return e
        return self._bound(e.func(*[self._open(a) for a in e.args]))

    def _bound(self, e: Expr) -> Expr:
        """exp, log and square roots between known bounds become functions of a new w > 0."""
        if e in self.known:
            return self.known[e]
        w = sympy.Dummy(positive=True)
        out = e
        if isinstance(e, sympy.exp):
            x = sympy.factor(e.args[0])
            out = w / (1 + w) if x.is_negative else 1 + w if x.is_positive else e
        elif isinstance(e, sympy.log) and self._below_one(e.args[0]):
            out = -w
        elif e.is_Pow and e.exp == sympy.Rational(1, 2) and self._below_one(e.base):
            out = w / (1 + w)
        self.known[e] = out
        return out

    def _below_one(self, x: Expr) -> bool:
        low, high = (sympy.factor(sympy.together(y)) for y in (x, 1 - x))
        return bool(low.is_positive and high.is_positive)
