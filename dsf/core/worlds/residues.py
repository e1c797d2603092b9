"""The functions of equations on the numbers of a prime field (`modular`).

    e^{sum c m}   the product of (a generator for e^m)^c over the monomials m
    log           of products: sums; of anything else a generator, with e^{log v} = v
    sqrt          a root r with r^2 = v, of either sign
    max, |x|      either of the two, or the one that is larger by what the field was told

A function of the same value is the same number.  Where the field is not `related`, roots, max and
|x| are generators too: fewer identities, and no need to look at all signs.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from typing import Any

from dsf.core.worlds import series
from dsf.core.worlds.base import Array
from dsf.core.worlds.modular import PARTS, ZERO, NotDecided, Number, Redraw, current, number
from dsf.core.worlds.numpy_arrays import Objects, elementwise
from dsf.core.worlds.series import ORDER, UNKNOWN, Series

H = 0  # the atom h, the first of every field


class Modular(Objects):
    """Numbers of the prime field in which `modular.vanishing` runs."""

    name = "residues"

    def unary(self, name: str, x: Array) -> Array:
        return _each(_FUNCTIONS[name], x)

    def maximum(self, x: Array, y: Array) -> Array:
        return _each(_maximum, x, y)

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        return _each(_piece, x, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        return _each(_angle, y, x)

    def as_complex(self, re: Array, im: Array) -> Array:
        return _each(lambda a, b: a + _times_i(b), re, im)

    def exact(self, value: Fraction) -> Any:
        return number(value, current())

    def exact_pi(self) -> Any:
        return current().free("pi")


def _each(f: Callable[..., Number], *xs: Array) -> Array:
    field = current()
    return elementwise(lambda *entries: f(*[number(e, field) for e in entries]), *xs)


def _times_i(x: Number) -> Number:
    value = series.multiply(x.value, series.constant(0, 1), x.field.p)
    poly = None if x.poly is None else {m: (-im, re) for m, (re, im) in x.poly.items()}
    return Number(x.field, value, x.degree, poly)


# ------------------------------------------------------------- exponentials, logarithms
def _exp(x: Number) -> Number:
    if x.poly is None:
        return _exp_of_value(x)
    field, out = x.field, number(1, x.field)
    for m, (re, im) in x.poly.items():
        if H in dict(m):
            term = number(re, field) + _times_i(number(im, field))
            for atom, power in m:
                term = term * field.atoms[atom] ** power
            out = out * _exp_near_0(term)
        elif len(m) == 1 and m[0][1] == 1 and m[0][0] in field.arguments and 0 in (re, im):
            out = out * _power(field.arguments[m[0][0]], re + im)  # a logarithm, or i * an angle
        else:
            out = out * _generated(field, m, re, im)
    return out


def _exp_of_value(x: Number) -> Number:
    """e^x where only the value of x is known: a generator for the part without h."""
    value = x.value
    if (value.low or 0) < 0 or (value.end is not None and value.end < 1):
        raise NotDecided("residues: the exponential of a pole, or of what is not known")
    re, im = value.terms.get(0, (0, 0))
    still = Number(x.field, series.constant(re, im), x.degree)
    x.field.key(still)
    return _generated(x.field, ("value", re, im), int(re != 0), int(im != 0)) * _exp_near_0(
        x - still
    )


def _generated(field: Any, m: Any, re: Any, im: Any) -> Number:
    """e^{(re + i im) m} by a generator for e^{m/PARTS} and one for e^{i m/PARTS}.

    Other fractions of m get a generator of their own: fewer relations, so fewer identities.
    """
    out = number(1, field)
    for name, c, value in (("exp", re, field.residue), ("cis", im, field.phase)):
        if c * PARTS == int(c * PARTS):
            out = out * field.atom((name, m), value) ** int(c * PARTS)
        else:
            out = out * field.atom((name, m, c), value)
    return out


def _exp_near_0(x: Number) -> Number:
    if x.value.low is None:
        return number(1, x.field)
    if x.value.low < 1:
        raise NotDecided("residues: the exponential of a pole")
    n, d = x.degree
    return Number(x.field, series.exponential(x.value, x.field.p), (ORDER * n, ORDER * d))


def _log(x: Number) -> Number:
    field = x.field
    if x.poly is not None and len(x.poly) == 1:
        ((m, (re, im)),) = x.poly.items()
        if im == 0 and re == 1:
            return sum((_log_of_atom(field, a) * power for a, power in m), number(0, field))
    return field.function(("log", field.key(x)), x, lambda: _some_value(x))


def _log_of_atom(field: Any, atom: int) -> Number:
    what = field.names[atom]
    if what[0] == "exp" and len(what) == 2 and what[1][:1] != ("value",):
        poly = {what[1]: (Fraction(1, PARTS), ZERO)}
        value = number(1, field)
        for a, power in what[1]:
            value = value * field.atoms[a] ** power
        value = value / PARTS
        return Number(field, value.value, value.degree, poly)
    x = field.atoms[atom]
    return field.function(("log of atom", atom), x, lambda: _some_value(x))


def _some_value(x: Number) -> Series:
    """A random number; for what depends on h none, as it may be infinite at the end."""
    return x.field.residue() if x.value.constant else Series({}, UNKNOWN)


# ---------------------------------------------------------------------- powers
def _power(x: Number, c: Fraction) -> Number:
    """x^c for a denominator of c that is a power of 2."""
    if c.denominator == 1:
        return x ** int(c)
    if c.denominator % 2:
        raise NotDecided(f"residues: the power {c}")
    return _power(_sqrt(x), 2 * c)


def _sqrt(x: Number) -> Number:
    field = x.field
    if x.poly is not None and x.poly.keys() == {()}:
        re, im = x.poly[()]
        exact = Fraction(isqrt(abs(re.numerator)), isqrt(re.denominator))
        if im == 0 and exact * exact == re:
            return number(exact, field)
    key = field.key(x)
    if not key:
        return number(0, field)
    if not field.related:
        return field.atom(("root", key), field.residue)
    ((power, (v, im)), *more) = key
    if more or power or im:
        raise NotDecided("residues: the root of a complex number, or of one that moves")
    if _is_minus_a_root(x):
        raise NotDecided("residues: no point has the square roots that are needed: of r and -r")
    r = pow(v, (field.p + 1) // 4, field.p)
    if r * r % field.p != v:
        raise Redraw
    root = field.atom(("root", key), lambda: series.constant(r))
    root.degree = (sum(x.degree), 0)
    return root if field.choice(("root", key)) else -root


def _is_minus_a_root(x: Number) -> bool:
    """Whether x is -r for a root r, which is itself a square: so -r has no root at any point."""
    if x.poly is None or len(x.poly) != 1:
        return False
    ((m, c),) = x.poly.items()
    return len(m) == 1 and m[0][1] == 1 and x.field.names[m[0][0]][0] == "root" and c == (-1, ZERO)


def _angle(y: Number, x: Number) -> Number:
    """An angle a with e^{i a} = (x + i y) / sqrt(x^2 + y^2)."""
    field = x.field
    key = ("angle", field.key(y), field.key(x))
    return field.function(key, (x + _times_i(y)) / _sqrt(x * x + y * y), field.residue)


# ---------------------------------------------------------------------- pieces
def _positive(x: Number) -> bool:
    return bool(x.field.choice(("sign", x.field.key(x))))


def _piece(x: Number, a: Number, b: Number) -> Number:
    field = x.field
    if not field.related:
        return field.atom(("piece", *map(field.key, (x, a, b))), field.residue)
    return a if _positive(x) else b


def _abs(x: Number) -> Number:
    low = x.value.low
    if low is not None and low > 0:  # all that is known of it is how fast it vanishes
        return Number(x.field, Series({}, low), x.degree)
    if sign := x.field.sign(x):
        return x * sign
    if not x.field.related:
        return x.field.atom(("abs", min(x.field.key(x), x.field.key(-x))), x.field.residue)
    return x if _positive(x) else -x


def _maximum(x: Number, y: Number) -> Number:
    if sign := x.field.sign(x - y):
        return x if sign > 0 else y
    for small, large in ((x, y), (y, x)):
        low, constant = small.value.low, large.poly
        if low is not None and low > 0 and constant is not None and constant.keys() == {()}:
            if constant[()][0] > 0 and constant[()][1] == 0:
                return large
    if not x.field.related:
        keys = sorted([x.field.key(x), x.field.key(y)])
        return x.field.atom(("max", *keys), x.field.residue)
    return x if _positive(x - y) else y


# ---------------------------------------------------------------------- real and complex
def _conj(x: Number) -> Number:
    p = x.field.p
    value = Series({k: (a, -b % p) for k, (a, b) in x.value.terms.items()}, x.value.end)
    return Number(x.field, value, x.degree)


def _real(x: Number) -> Number:
    value = Series({k: (a, 0) for k, (a, _) in x.value.terms.items() if a}, x.value.end)
    n, d = x.degree
    return Number(x.field, value, (n + d, 2 * d))


def _cos(x: Number) -> Number:
    z = _exp(_times_i(x))
    return (z + z.inverse()) / 2


def _sin(x: Number) -> Number:
    z = _exp(_times_i(x))
    return _times_i(z.inverse() - z) / 2


def _tanh(x: Number) -> Number:
    z = _exp(2 * x)
    return (z - 1) / (z + 1)


_FUNCTIONS: dict[str, Callable[[Number], Number]] = {
    "exp": _exp, "log": _log, "sqrt": _sqrt, "cos": _cos, "sin": _sin, "tanh": _tanh,
    "abs": _abs, "conj": _conj, "real": _real, "expm1": lambda x: _exp(x) - 1,
}  # fmt: skip
