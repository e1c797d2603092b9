"""Checker of stability verdicts: where the eigenvalues of a transition lie, decided by Schur-Cohn.

The claim bounds r = max |eigenvalue of A| for one A, r = max_t |A_t|_2 for several, whose squares
are the eigenvalues of A_t* A_t.  Diagonal entries are compared one by one.  For matrices, all roots
of the characteristic polynomial p lie in |z| < r if and only if the recursion

    p  ->  (conj(p_n) p - p_0 p*) / z,     p*(z) = z^n conj(p(1/conj(z)))

meets |p_n| > |p_0| at every step (Schur, Cohn).  It is run in balls of growing precision, and in
rationals where balls decide nothing; the finder looks at the roots themselves instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, reduce
from typing import Any

import numpy as np

from dsf.claims.witnesses import digest
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.printing import at_least, at_most
from dsf.core.worlds import precision

BITS = (128, 512, 2048)
NAMES = ("a", "log_a", "U", "W", "A")
AXES = {"a": 1, "log_a": 1, "U": 2, "W": 2, "A": 2}
TIGHT = 1e-6  # the bounds may not be looser than this, relative to r, unless nothing was decided


def sentence(
    parts: Mapping[str, Any], varying: bool, verdict: str, lower: float, upper: float
) -> str:
    """The claim of a verdict with its bounds, about the transition made of `parts`."""
    code = digest((name, f) for name in NAMES for f in parts.get(name, ()))
    what = "max_t |A_t|_2" if varying else "the spectral radius"
    return (
        f"{what} of the transition {code} lies in [{at_least(lower, 17)}, {at_most(upper, 17)}]: "
        f"{verdict}"
    )


def stability(c: Certificate) -> None:
    """Both bounds of r, both bounds of 1 - r, and the verdict follow from the transitions."""
    import flint

    w = c.witnesses
    for name in ("varying", "verdict", "margin"):
        _require(name in w, f"the witness {name!r} is missing")
    varying, verdict = w["varying"], str(w["verdict"])
    _require(type(varying) is bool, "the witness 'varying' must be True or False")
    _require(c.lower is not None and c.upper is not None, "a bound is missing")
    lower, upper = float(c.lower or 0.0), float(c.upper or 0.0)
    least, most = (float(x) for x in w["margin"])
    _require(not any(np.isnan(x) for x in (lower, upper, least, most)), "a bound is NaN")
    _require(
        c.claim == sentence(w, varying, verdict, lower, upper), "the claim says something else"
    )
    _require(c.scope is (Scope.OPERATOR if varying else Scope.INSTANCE), "the scope does not fit")
    strength = Strength.EXACT if lower == upper else Strength.ENCLOSED
    _require(c.strength is strength, f"the strength that follows is {strength.value!r}")
    _require(lower <= upper and least <= most, "the bounds are out of order")
    if verdict != "undecided":
        loose = upper < np.inf and upper - lower > TIGHT * lower + 1e-300
        _require(not loose, "the bounds are looser than an enclosure explains")

    items = _items(w, varying, min(lower, 1.0 - most))
    one = flint.fmpq(1)
    above = [_rational(upper)] if upper < np.inf else []
    above += [one - _rational(least)] if least > -np.inf else []
    for bound in above:
        _require(all(x.at_most(bound) for x in items), f"r exceeds {upper:.17g}")
    for bound in (_rational(lower), one - _rational(most)):
        reached = bound <= 0 or any(not x.below(bound) for x in items)
        _require(reached, f"r stays below {lower:.17g}")
    _verdict(items, verdict, varying)


def _verdict(items: list[Any], verdict: str, varying: bool) -> None:
    import flint

    one = flint.fmpq(1)
    if verdict in ("stable", "contractive"):
        holds = all(x.below(one) for x in items)
    elif verdict in ("marginal", "nonexpansive"):
        holds = all(x.at_most(one) for x in items) and not all(x.below(one) for x in items)
        holds = holds and (varying or all(x.bounded() for x in items))
    elif verdict == "unstable":
        holds = not all(x.at_most(one) and x.bounded() for x in items)
    else:
        holds = verdict == "undecided"
    fits = verdict == "undecided" or varying == (verdict in ("contractive", "nonexpansive"))
    _require(holds and fits, f"the verdict {verdict!r} does not follow")


# --------------------------------------------------------------- the transitions
def _items(w: Mapping[str, Any], varying: bool, least: float) -> list[Any]:
    """One object per distinct entry or matrix, each with `below`, `at_most`, `bounded`.

    Entries that floats show to be below `least` by far more than their rounding are left out.
    """
    given = {name for name in NAMES if name in w}
    factors = {name: [_factor(f, name) for f in w[name]] for name in given}
    _require(all(factors.values()), "a coefficient has no factor")
    if given in ({"a"}, {"log_a"}):
        (name,) = given
        rows = np.broadcast_arrays(*factors[name])
        with np.errstate(all="ignore"):
            product = reduce(np.multiply, rows)
            size = np.exp(product.real) if name == "log_a" else np.abs(product)
            error = reduce(np.multiply, [np.abs(x) for x in rows]) * 1e-12
            small = size * (1.0 + 1e-9) + 1e-300 < least
            small &= (error < 1e-9) if name == "log_a" else (error < np.inf)
            small &= len(rows) <= 2  # partial products of more may underflow on the way
        table = np.stack([x[~small] for x in rows], -1)
        table = np.unique(table, axis=0)
        return [_Entry([_gaussian(v) for v in row], name == "log_a", row) for row in table]
    _require(given in ({"A"}, {"a", "U", "W"}, {"log_a", "U", "W"}), "no transition is given")
    return list(_matrices(factors, varying))


def _matrices(factors: dict[str, list[np.ndarray]], varying: bool) -> Iterator[_Matrix]:
    lead = np.broadcast_shapes(
        *(f.shape[: f.ndim - AXES[k]] for k, x in factors.items() for f in x)
    )
    seen = set()
    for index in np.ndindex(lead):
        part = {}
        for k, x in factors.items():
            full = [np.broadcast_to(f, (*lead, *f.shape[f.ndim - AXES[k] :]))[index] for f in x]
            part[k] = list(np.broadcast_arrays(*full))
        _fit(part)
        key = b"".join(np.ascontiguousarray(f).tobytes() for x in part.values() for f in x)
        if key not in seen:
            seen.add(key)
            yield _Matrix(part, varying)


def _factor(f: Any, name: str) -> np.ndarray:
    """A float64 or complex128 array; nothing else is read without rounding."""
    known = type(f) is np.ndarray and f.dtype in (np.float64, np.complex128)
    _require(known and f.ndim >= AXES[name], f"a factor of {name} is no array of floats that fits")
    return np.array(f)


def _fit(part: dict[str, list[np.ndarray]]) -> None:
    """A [n n], or a diagonal [n|1] with U and W [n r]."""
    sizes = {k: x[0].shape for k, x in part.items()}
    if "A" in sizes:
        _require(sizes["A"][0] == sizes["A"][1], "a dense transition must be square")
    else:
        (diagonal,) = (v for k, v in sizes.items() if k in ("a", "log_a"))
        _require(sizes["U"] == sizes["W"], "U and W have different shapes")
        _require(diagonal[0] in (1, sizes["U"][0]), "the diagonal does not fit U and W")
    for f in part.get("log_a", ()):
        single = len(part["log_a"]) == 1
        _require(single or not np.isneginf(f.real).any(), "a factor is infinite")


def _rational(x: float) -> Any:
    import flint

    _require(bool(np.isfinite(x)), "a number is not finite")
    return flint.fmpq(*float(x).as_integer_ratio())


def _gaussian(x: Any) -> tuple[Any, Any]:
    """A float as (real, imaginary) rationals; -inf, the logarithm of 0, becomes None."""
    real, imaginary = float(np.real(x)), float(np.imag(x))
    if real == -np.inf:
        return None, None
    _require(bool(np.isfinite(real) and np.isfinite(imaginary)), "an entry is not finite")
    return _rational(real), _rational(imaginary)


def _times(x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
    if x[0] is None or y[0] is None:
        return None, None
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


class _Entry:
    """|x| or |exp(x)| for one exact product x of factors."""

    def __init__(self, factors: list[Any], log: bool, row: Any) -> None:
        _require(len(factors) == 1 or not np.isneginf(np.real(row)).any(), "a factor is infinite")
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
        raise CertificateError("stability: an exponential is too close to a bound to compare")

    def below(self, r: Any) -> bool:
        return self._compare(r) < 0

    def at_most(self, r: Any) -> bool:
        return self._compare(r) <= 0

    def bounded(self) -> bool:
        return True


class _Matrix:
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
        return reduce(_times, [_gaussian(f[index]) for f in self.part[name]])

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
        return _plus(_ZERO(), (_rational(1.0), _rational(0.0))) if value == _ZERO() else None

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
            raise CertificateError("stability: an eigenvalue is too close to a bound to compare")
        p = self.polynomial(flint.fmpq_poly([0, s]))
        return _closed(p) if closed else _inside(p)

    def below(self, r: Any) -> bool:
        return self._decide(r, closed=False)

    def at_most(self, r: Any) -> bool:
        return self._decide(r, closed=True)

    def bounded(self) -> bool:
        """Whether the roots on the unit circle are simple in the minimal polynomial."""
        if self.below(_rational(1.0)):
            return True
        _require(self.exact is not None, "boundedness needs rational entries")
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
    return _rational(0.0), _rational(0.0)


def _plus(x: tuple[Any, Any], y: tuple[Any, Any]) -> tuple[Any, Any]:
    return x[0] + y[0], x[1] + y[1]


def _sign(x: Any) -> int:
    return (x > 0) - (x < 0)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CertificateError(f"stability: {message}")
