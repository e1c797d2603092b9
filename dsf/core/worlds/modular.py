"""Numbers of a prime field: identities in free tokens, decided at random points.

A free token is a random residue modulo a random prime.  Exponentials, phases, logarithms and roots
are further random residues that obey the laws of these functions and no others.  An expression
that vanishes at such a point vanishes identically, except with a probability of at most
(its degree) / (the prime) (Schwartz 1980, Zippel 1979); the field adds up the degrees of all tests.
What does not vanish is not shown to be zero, and not refuted.

A number may also be a Laurent series in a parameter h that goes to 0 from above: so limits of
expressions are told.  Complex numbers are pairs of residues.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.errors import DSFError
from dsf.core.worlds import series
from dsf.core.worlds.series import ORDER, Series

BITS = 127  # of the prime
RISK = 2.0**-80  # the largest probability of error with which an identity is accepted
TRIES = 200  # points, until every square root that is needed exists at one; 16 were enough so far
BRANCHES = 10  # signs of roots, and pieces of max: all combinations are gone through
PARTS = 48  # e^m is the power 48 of its generator, so that e^{m/2}, e^{m/16}, ... exist too
TERMS = 32  # of an exponent that is kept as a polynomial
FREED = {"root", "piece", "abs", "max"}  # atoms of these names obey no relation

Monomial = tuple[tuple[int, int], ...]  # (atom, power), in the order of the atoms
Poly = dict[Monomial, tuple[Fraction, Fraction]]  # monomial -> re + i im
ZERO, ONE = Fraction(0), Fraction(1)


class NotDecided(DSFError):
    """Residues cannot stand for an expression, such as the exponential of a pole."""


class Redraw(Exception):
    """A square root does not exist at this point: another point is needed."""


# ------------------------------------------------------------------------- the field
class Field:
    """A prime, a random point, and what has been made of it.

    related   whether r^2 = v holds for roots, and max is one of the two; else they are free too
    spent     the sum of the degrees of all tests so far
    """

    def __init__(self, source: random.Random, p: int, related: bool) -> None:
        self.source, self.p, self.related = source, p, related
        self.known: dict[Any, int] = {}  # what an atom stands for -> the atom
        self.names: list[Any] = []  # what the atoms stand for
        self.atoms: list[Number] = []
        self.arguments: dict[int, Number] = {}  # of the atoms that are logarithms and angles
        self.positive: set[Any] = set()  # the values of which a caller knows that they are positive
        self.choices: dict[Any, int] = {}  # what is chosen -> its place among the signs
        self.signs: tuple[int, ...] = ()
        self.spent = 0
        self.h = self.atom(("h",), lambda: Series({1: (1, 0)}))

    def free(self, name: Any) -> Number:
        """A free real number, the same one for the same name."""
        return self.atom(("free", name), self.residue)

    def residue(self) -> Series:
        """A random number that is not 0."""
        return series.constant(self.source.randrange(1, self.p))

    def phase(self) -> Series:
        """A random complex number of modulus 1: (1 + i t)^2 / (1 + t^2)."""
        t = self.source.randrange(1, self.p)
        below = pow(1 + t * t, -1, self.p)
        return series.constant((1 - t * t) * below % self.p, 2 * t * below % self.p)

    def atom(self, what: Any, value: Callable[[], Series]) -> Number:
        """The number that stands for something, made the first time that it is asked for."""
        if what not in self.known:
            index = self.known[what] = len(self.atoms)
            self.names.append(what)
            self.atoms.append(Number(self, value(), (1, 1), {((index, 1),): (ONE, ZERO)}))
        return self.atoms[self.known[what]]

    def function(self, what: Any, of: Number, value: Callable[[], Series]) -> Number:
        """An atom with its argument."""
        made = self.atom(what, value)
        self.arguments[self.known[what]] = of
        return made

    def key(self, x: Number) -> Any:
        """What tells the value of a number from others; equal values are one expression."""
        self.spent += sum(x.degree) * (len(self.known) + 1)
        if x.value.end is not None:
            raise NotDecided("residues: a function of a series that is not known to the end")
        return tuple(sorted(x.value.terms.items()))

    def tell(self, x: Any) -> None:
        """Let max and |x| know that a number is positive, which its caller has proved."""
        self.positive.add(self.key(number(x, self)))

    def sign(self, x: Number) -> int:
        """1 or -1 if the first coefficient of x was told, so for small h; else 0."""
        value = x.value
        if value.low is None or value.low not in value.terms:
            return 0
        first = Number(self, series.constant(*value.terms[value.low]), x.degree)
        return (self.key(first) in self.positive) - (self.key(-first) in self.positive)

    def choice(self, what: Any, count: int = 2) -> bool:
        """One of two possibilities, the same one for the same question in the same run."""
        place = self.choices.setdefault(what, len(self.choices))
        if place >= BRANCHES:
            raise NotDecided(f"residues: more than {BRANCHES} roots and choices")
        return place < len(self.signs) and bool(self.signs[place])

    @property
    def error(self) -> float:
        """The probability that one of the tests so far has taken something for zero."""
        return self.spent * 2.0 ** len(self.choices) / self.p

    def vanishes(self, x: Any, limit: bool = False) -> bool:
        """Whether a number is 0 (`limit`: whether it goes to 0 with h)."""
        x = number(x, self)
        n, d = x.degree
        self.spent += n + (ORDER + 1) * d
        if limit:
            return all(k > 0 for k in x.value.terms) and (x.value.end is None or x.value.end > 0)
        return not x.value.terms and x.value.end is None


def _prime(source: random.Random) -> int:
    """A random prime that is 3 modulo 4, where the square root of v is v^((p+1)/4)."""
    import flint

    while True:
        p = source.getrandbits(BITS) | 1 << (BITS - 1) | 3
        if flint.fmpz(p).is_prime():
            return p


_FIELD: ContextVar[Field] = ContextVar("prime field")


def current() -> Field:
    """The field whose numbers are being computed with."""
    try:
        return _FIELD.get()
    except LookupError:
        raise NotDecided("residues exist inside of `vanishing` only") from None


@contextmanager
def _within(field: Field) -> Any:
    token = _FIELD.set(field)
    try:
        yield field
    finally:
        _FIELD.reset(token)


def vanishing(make: Callable[[Field], Iterable[Any]], limit: bool = False) -> bool:
    """Whether the numbers that `make` computes from a field are all zero, identically.

    `limit`: whether all go to zero with h.  Most identities need no relation of roots and pieces;
    where one does, `make` is run for every combination of the signs of square roots and of the
    pieces of max, at a point that is drawn here.  True is wrong with a probability below RISK;
    False refutes nothing.  Raises NotDecided.

    >>> vanishing(lambda field: [field.free("x") * 2 - field.free("x") - field.free("x")])
    True
    """
    source = random.SystemRandom()
    p = _prime(source)
    field = Field(source, p, related=False)
    if _all_branches(field, make, limit):
        return True
    if FREED.isdisjoint(what[0] for what in field.names):  # the relations would change nothing
        return False
    for _ in range(TRIES):
        field = Field(source, p, related=True)
        try:
            return _all_branches(field, make, limit)
        except Redraw:
            p = _prime(source)  # constants have roots modulo half of the primes, at every point
    raise NotDecided(f"residues: no point of {TRIES} has all square roots that are needed")


def _all_branches(field: Field, make: Callable[[Field], Iterable[Any]], limit: bool) -> bool:
    with _within(field):
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            field.signs = signs = waiting.pop()
            if not all(field.vanishes(x, limit) for x in make(field)):
                return False
            later = range(len(signs), len(field.choices))
            waiting += [(*signs, *[0] * (place - len(signs)), 1) for place in later]
    if not field.error < RISK:
        raise NotDecided(f"residues: the probability of error is {field.error:.3g}")
    return True


# ------------------------------------------------------------------------- numbers
class Number:
    """A number of a prime field, perhaps a series in h; see the module.

    degree   bounds of the degrees of numerator and denominator in the atoms
    poly     the number as a polynomial of atoms, where it is a short one
    """

    __slots__ = ("degree", "field", "poly", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, field: Field, value: Series, degree: tuple[int, int], poly: Poly | None = None
    ) -> None:
        self.field, self.value, self.degree = field, value, degree
        self.poly = poly if poly is None or len(poly) <= TERMS else None

    def __add__(self, other: Any) -> Number:
        y = number(other, self.field)
        if y is NotImplemented:
            return y
        (a, b), (c, d) = self.degree, y.degree
        poly = None
        if self.poly is not None and y.poly is not None:
            poly = dict(self.poly)
            for m, (re, im) in y.poly.items():
                e, f = poly.get(m, (ZERO, ZERO))
                poly[m] = (e + re if e else re, f + im if f or im else f)
            poly = {m: c for m, c in poly.items() if c[0] or c[1]}
        value = series.add(self.value, y.value, self.field.p)
        return Number(self.field, value, (max(a + d, c + b), b + d), poly)

    def __mul__(self, other: Any) -> Number:
        y = number(other, self.field)
        if y is NotImplemented:
            return y
        (a, b), (c, d) = self.degree, y.degree
        poly = None
        if self.poly is not None and y.poly is not None:
            if len(self.poly) * len(y.poly) <= TERMS:
                poly = _times(self.poly, y.poly)
        value = series.multiply(self.value, y.value, self.field.p)
        return Number(self.field, value, (a + c, b + d), poly)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Number:
        return self * -1

    def __sub__(self, other: Any) -> Number:
        return self + -number(other, self.field)

    def __rsub__(self, other: Any) -> Number:
        return -self + other

    def inverse(self) -> Number:
        """1 / x; NotDecided where x is not known to be other than 0."""
        value = series.inverse(self.value, self.field.p)
        if value is None:
            raise NotDecided("residues: a denominator is zero, or not known to be other than zero")
        poly = None
        if self.poly is not None and len(self.poly) == 1:
            ((m, (re, im)),) = self.poly.items()
            size = re * re + im * im
            poly = {tuple((a, -k) for a, k in m): (re / size, -im / size)}
        n, d = self.degree
        return Number(self.field, value, (d, n), poly)

    def __truediv__(self, other: Any) -> Number:
        y = number(other, self.field)
        return y if y is NotImplemented else self * y.inverse()

    def __rtruediv__(self, other: Any) -> Number:
        return self.inverse() * other

    def __pow__(self, k: int) -> Number:
        if int(k) != k:
            raise NotDecided(f"residues: the power {k} of a number")
        base = self if k >= 0 else self.inverse()
        out = number(1, self.field)
        for bit in bin(abs(int(k)))[2:]:
            out = out * out
            out = out * base if bit == "1" else out
        return out

    def __eq__(self, other: object) -> bool:
        return self.field.vanishes(self - other)

    def __lt__(self, other: Any) -> bool:
        raise NotDecided("residues have no order")

    __gt__ = __le__ = __ge__ = __lt__

    def __repr__(self) -> str:
        return f"residue({dict(self.value.terms)}, end={self.value.end})"


def number(x: Any, field: Field) -> Any:
    """An integer, fraction or float as a number of a field, exactly."""
    if isinstance(x, Number):
        return x
    if isinstance(x, np.ndarray):
        return NotImplemented if x.ndim else number(x.item(), field)
    if not isinstance(x, (int, float, Fraction, np.integer, np.floating)):
        return NotImplemented
    x = Fraction(x if isinstance(x, (int, float, Fraction)) else x.item())
    residue = x.numerator * pow(x.denominator, -1, field.p) % field.p
    return Number(field, series.constant(residue), (0, 0), {(): (x, ZERO)} if x else {})


def _times(x: Poly, y: Poly) -> Poly:
    out: Poly = {}
    for m, (a, b) in x.items():
        for k, (c, d) in y.items():
            name = _joined(m, k) if m and k else m or k
            e, f = out.get(name, (ZERO, ZERO))
            if b or d:
                out[name] = (e + a * c - b * d, f + a * d + b * c)
            else:  # most are real, and fractions are slow
                out[name] = (e + a * c if e else a * c, f)
    return {m: c for m, c in out.items() if c[0] or c[1]}


def _joined(m: Monomial, k: Monomial) -> Monomial:
    powers = dict(m)
    for atom, power in k:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted((atom, power) for atom, power in powers.items() if power))
