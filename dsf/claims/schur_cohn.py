"""Roots of characteristic polynomials against a circle, by Schur-Cohn.

For matrices, all roots of the characteristic polynomial p lie in |z| < r if and only if the
recursion

    p  ->  (conj(p_n) p - p_0 p*) / z,     p*(z) = z^n conj(p(1/conj(z)))

meets |p_n| > |p_0| at every step (Schur, Cohn).  It is run in balls of growing precision, and in
rationals where balls decide nothing.
"""

from __future__ import annotations

from functools import cached_property, reduce
from typing import Any

import numpy as np

from dsf.claims.reading import require
from dsf.core.errors import CertificateError
from dsf.core.worlds import precision

BITS = (128, 512, 2048)


def rational(x: float) -> Any:
    import flint

    require(bool(np.isfinite(x)), "a number is not finite")
    return flint.fmpq(*float(x).as_integer_ratio())


def gaussian(x: Any) -> tuple[Any, Any]:
    """A float as (real, imaginary) rationals; -inf, the logarithm of 0, becomes None."""
    real, imaginary = float(np.real(x)), float(np.imag(x))
    if real == -np.inf:
        return None, None
    require(bool(np.isfinite(real) and np.isfinite(imaginary)), "an entry is not finite")
    return rational(real), rational(imaginary)


def _times(x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
    if x[0] is None or y[0] is None:
        return None, None
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


class Entry:
    """|x| or |exp(x)| for one exact product x of factors."""

    def __init__(self, factors: list[Any], log: bool, row: Any) -> None:
        require(len(factors) == 1 or not np.isneginf(np.real(row)).any(), "a factor is infinite")
        self.value, self.log = reduce(_times, factors), log

    def _compare(self, r: Any) -> int:
        """The sign of |entry| - r for a rational r."""
        import flint

        real, imaginary = self.value
        if not self.log or real is None:
            square = 0 if real is None else real * real + imaginary * imaginary
            return 1 if r < 0 else _sign(square - r * r)
        if r <= 0:
            return 1
        if real == 0 or r == 1:
            return _sign(1 - r if real == 0 else real)
        for bits in BITS:
            with precision(bits):
                difference = flint.arb(real) - flint.arb(r).log()
            if not difference.contains(0):
                return 1 if difference > 0 else -1
        raise CertificateError("an exponential is too close to a bound to compare")

    def below(self, r: Any) -> bool:
        return self._compare(r) < 0

    def at_most(self, r: Any) -> bool:
        return self._compare(r) <= 0

    def bounded(self) -> bool:
        return True


class Matrix:
    """One matrix A: r = its spectral radius, or its norm if transitions vary."""

    def __init__(self, part: dict[str, list[np.ndarray]], varying: bool) -> None:
        self.part, self.varying = part, varying

    @cached_property
    def exact(self) -> list[list[tuple[Any, Any]]] | None:
        """The entries as Gaussian rationals; None if an exponential is irrational."""
        part = self.part
        if "A" in part:
            n = part["A"][0].shape[-1]
            return [[self._entry("A", i, j) for j in range(n)] for i in range(n)]
        n = part["U"][0].shape[0]
        diagonal = [self._diagonal(i) for i in range(n)]
        if any(x is None for x in diagonal):
            return None
        return [
            [
                reduce(_plus, self._products(i, j), diagonal[i] if i == j else _ZERO())
                for j in range(n)
            ]
            for i in range(n)
        ]

    def _entry(self, name: str, *index: int) -> tuple[Any, Any]:
        return reduce(_times, [gaussian(f[index]) for f in self.part[name]])

    def _products(self, i: int, j: int) -> list[Any]:
        r = self.part["U"][0].shape[1]
        return [_times(self._entry("U", i, k), self._entry("W", j, k)) for k in range(r)]

    def _diagonal(self, i: int) -> Any:
        """a_i as a Gaussian rational; None if it is the exponential of another number than 0."""
        name = "a" if "a" in self.part else "log_a"
        size = self.part[name][0].shape[0]
        value = self._entry(name, i if size > 1 else 0)
        if name == "a":
            return value
        if value[0] is None:
            return _ZERO()
        return _plus(_ZERO(), (rational(1.0), rational(0.0))) if value == _ZERO() else None

    def _balls(self) -> Any:
        """A in balls of the present precision."""
        import flint

        def ball(x: tuple[Any, Any]) -> Any:
            return flint.acb(flint.arb(x[0]), flint.arb(x[1]))

        if self.exact is not None:
            return flint.acb_mat([[ball(x) for x in row] for row in self.exact])
        n, name = self.part["U"][0].shape[0], "log_a"
        size = self.part[name][0].shape[0]
        rows = []
        for i in range(n):
            rows.append([ball(reduce(_plus, self._products(i, j), _ZERO())) for j in range(n)])
            known = self._diagonal(i)
            log = self._entry(name, i if size > 1 else 0)
            rows[i][i] += ball(log).exp() if known is None else ball(known)
        return flint.acb_mat(rows)

    @cached_property
    def polynomial(self) -> Any:
        """The minimal polynomial of A, or of A*A, with roots conjugate to those added."""
        import flint

        E = self._rational_matrix()
        return flint.fmpq_poly((E.transpose() * E if self.varying else E).minpoly())

    def _rational_matrix(self) -> Any:
        import flint

        rows = self.exact or []
        if all(x[1] == 0 for row in rows for x in row):
            return flint.fmpq_mat([[x[0] for x in row] for row in rows])
        top = [[x[0] for x in row] + [-x[1] for x in row] for row in rows]
        low = [[x[1] for x in row] + [x[0] for x in row] for row in rows]
        return flint.fmpq_mat(top + low)

    def _decide(self, r: Any, closed: bool) -> bool:
        import flint

        if r <= 0:
            return bool(
                r == 0 and closed and self.exact is not None and _nilpotent(self.polynomial)
            )
        s = r * r if self.varying else r
        for bits in BITS:
            with precision(bits):
                A = self._balls()
                M = (A.conjugate().transpose() * A if self.varying else A) / flint.acb(flint.arb(s))
                answer = _inside_balls(list(M.charpoly().coeffs()))
            if answer is not None:
                return answer
        if self.exact is None:
            raise CertificateError("an eigenvalue is too close to a bound to compare")
        p = self.polynomial(flint.fmpq_poly([0, s]))
        return _closed(p) if closed else _inside(p)

    def below(self, r: Any) -> bool:
        return self._decide(r, closed=False)

    def at_most(self, r: Any) -> bool:
        return self._decide(r, closed=True)

    def bounded(self) -> bool:
        """Whether the roots on the unit circle are simple in the minimal polynomial."""
        if self.below(rational(1.0)):
            return True
        require(self.exact is not None, "boundedness needs rational entries")
        p = self.polynomial
        return _inside(p.gcd(p.derivative()))


# --------------------------------------------------------------- Schur-Cohn
def _inside_balls(c: list[Any]) -> bool | None:
    """Whether all roots of sum c_k z^k satisfy |z| < 1; None if the balls do not tell."""
    while len(c) > 1:
        first, last = c[0], c[-1]
        rest = abs(last) ** 2 - abs(first) ** 2
        if not rest > 0:
            return False if rest <= 0 and not rest.contains(0) else None
        reverse = [x.conjugate() for x in c[::-1]]
        c = [last.conjugate() * x - first * y for x, y in zip(c, reverse, strict=True)][1:]
        c = [x / rest for x in c[:-1]] + [type(rest)(1) + 0 * first]
    return True


def _inside(p: Any) -> bool:
    """The same for a rational polynomial, exactly."""
    c = list(p.coeffs())
    while len(c) > 1:
        first, last = c[0], c[-1]
        if abs(first) >= abs(last):
            return False
        c = [last * x - first * y for x, y in zip(c, c[::-1], strict=True)][1:]
        c = [x / c[-1] for x in c]
    return True


def _closed(p: Any) -> bool:
    """Whether all roots of a rational polynomial satisfy |z| <= 1.

    g = gcd(p, p*) holds the roots on the circle and pairs z, 1/z.  Being self-inversive, g has all
    its roots on the circle if and only if those of g' lie in the closed disc (Cohn 1922).
    """
    import flint

    g = p.gcd(flint.fmpq_poly(list(p.coeffs())[::-1]))
    if g.degree() <= 0:
        return _inside(p)
    return _inside(p // g) and _closed(g.derivative())


def _nilpotent(p: Any) -> bool:
    return not any(x != 0 for x in list(p.coeffs())[:-1])


def _ZERO() -> tuple[Any, Any]:
    return rational(0.0), rational(0.0)


def _plus(x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
    return x[0] + y[0], x[1] + y[1]


def _sign(x: Any) -> int:
    return (x > 0) - (x < 0)
