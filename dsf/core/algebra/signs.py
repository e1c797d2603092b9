"""Signs and ranges of symbolic expressions: whether a token map stays in the declared domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sympy

from dsf.core.algebra.zero import is_zero
from dsf.core.fields import REAL, Domain

Expr = Any


class Domains:
    """Proves signs: every bounded quantity is written as w/(1+w) with w > 0, then factored.

    `bounded` gives the symbols (assumed positive) that lie in (0, b), `given` expressions that are
    assumed to be positive.  A False means only that no proof was found.

    >>> from dsf.core.fields import NEGATIVE
    >>> g = sympy.Symbol("g", positive=True)
    >>> Domains({g: 1}).inside(NEGATIVE, np.array([sympy.log(g)]))
    True
    """

    def __init__(self, bounded: Mapping[Expr, int], given: Iterable[Expr] = ()) -> None:
        self.ranges = {}
        for g, b in bounded.items():
            w = sympy.Dummy(positive=True)
            self.ranges[g] = b * w / (1 + w)
        self.known: dict[Expr, Expr] = {}
        self.signs: dict[Expr, int] = dict.fromkeys(given, 1)
        self.reals: dict[Expr, bool] = {}

    def inside(self, domain: Domain, x: np.ndarray, unit: Iterable[Any] = ()) -> bool:
        """Whether all entries of x are shown to lie in a domain."""
        x = np.asarray(x, dtype=object)
        if domain.unit:
            rows = x.reshape(-1, x.shape[-1])
            return all(is_zero(sum(e * e for e in row) - 1, unit) for row in rows)
        entries = [sympy.sympify(e) for e in x.flat]
        if domain == REAL:
            return all(self.real(e) for e in entries)
        low, high = domain.low, domain.high
        return all(
            (low is None or self.sign(e - low) > 0) and (high is None or self.sign(high - e) > 0)
            for e in entries
        )

    def real(self, e: Expr) -> bool:
        """Whether e is shown to be real and finite."""
        if e not in self.reals:
            self.reals[e] = bool(e.is_real) or self._real(e)
        return self.reals[e]

    def _real(self, e: Expr) -> bool:
        if not all(self.real(a) for a in e.args) or not e.args:
            return False
        if isinstance(e, (sympy.exp, sympy.cos, sympy.sin)) or e.is_Add or e.is_Mul:
            return True
        if isinstance(e, sympy.log):
            return self.sign(e.args[0]) > 0
        if isinstance(e, sympy.atan2):
            return self.sign(sum(x**2 for x in e.args)) > 0
        if e.is_Pow and e.exp.is_Integer:
            return bool(e.exp > 0) or self.sign(e.base) != 0
        return bool(e.is_Pow) and e.exp.is_Rational and self.sign(e.base) > 0

    def sign(self, e: Expr) -> int:
        """1 or -1 if e is shown to be positive or negative everywhere, else 0."""
        if e not in self.signs:
            self.signs[e] = _told(e) or self._sign_of_fraction(self._open(e))
        return self.signs[e]

    def _sign_of_fraction(self, e: Expr) -> int:
        num, den = sympy.fraction(sympy.together(e))
        return self._sign_of_sum(num) * self._sign_of_sum(den)

    def _sign_of_sum(self, e: Expr) -> int:
        if told := _told(e):
            return told
        for angle in {c.args[0] for c in e.atoms(sympy.cos, sympy.sin)}:
            c, s = sympy.cos(angle), sympy.sin(angle)
            e = sympy.expand(e).subs(s**2, 1 - c**2)
            e = sympy.expand(e)
            if e.has(s) or not e.has(c):
                continue
            x = sympy.Dummy(real=True)
            if sympy.degree(e.subs(c, x), x) > 1:
                return 0
            # affine in the cosine: the signs at both ends decide
            low, high = (self._sign_of_sum(e.subs(c, end)) for end in (-1, 1))
            return low if low == high else 0
        return _told(e) or _told(sympy.factor(e))

    def _open(self, e: Expr) -> Expr:
        """The same quantity over positive variables, as far as signs and bounds are known."""
        e = sympy.sympify(e)
        if e in self.ranges:
            return self.ranges[e]
        if not e.args:
            return e
        if e not in self.known:
            self.known[e] = self._bound(e.func(*[self._open(a) for a in e.args]))
        return self.known[e]

    def _bound(self, e: Expr) -> Expr:
        """exp, log and square roots between known bounds become functions of a new w > 0."""
        if e in self.known:
            return self.known[e]
        w = sympy.Dummy(positive=True)
        out = e
        if isinstance(e, sympy.exp):
            times, m = e.args[0].as_coeff_Mul(rational=True)
            if abs(times) != 1 and times.is_Integer:
                return self._bound(sympy.exp(m * sympy.sign(times))) ** abs(times)
            sign = self._sign_of_fraction(e.args[0])
            out = w / (1 + w) if sign < 0 else 1 + w if sign > 0 else w
        elif isinstance(e, sympy.log) and self._below_one(e.args[0]):
            out = -w
        elif e.is_Pow and e.exp == sympy.Rational(1, 2) and self._below_one(e.base):
            out = w / (1 + w)
        self.known[e] = out
        return out

    def _below_one(self, x: Expr) -> bool:
        return self.sign(x) > 0 and self._sign_of_fraction(1 - x) > 0


def _told(e: Expr) -> int:
    return 1 if e.is_positive else -1 if e.is_negative else 0
