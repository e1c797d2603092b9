"""A zero test for the expressions that mechanisms produce: fast, and a proof where it says zero.

The expression becomes a fraction of polynomials in generators that are independent as far as the
test knows: its symbols; one positive generator for every exponential e^{c m}, where sums are split
and c is rational; one root for every b^{1/q}, with the relation r^q = b; i with i^2 = -1.  Cosines
and sines are exponentials, real parts are (z + conj z)/2.  Zero means that the numerator vanishes
modulo the relations: that is a proof.  Not zero is *not* a disproof.

>>> import sympy
>>> x, a = sympy.symbols("x a", real=True)
>>> is_zero(sympy.exp(-a * sympy.log(1 + sympy.exp(x))) - (1 / (1 + sympy.exp(x))) ** a)
True
>>> is_zero(sympy.cos(x) ** 2 + sympy.sin(x) ** 2 - 1)
True
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from math import lcm
from typing import Any

import sympy
from sympy.polys.rings import ring

Expr = Any
Unit = Iterable[tuple[Any, ...]]  # vectors of symbols of Euclidean length 1


def is_zero(expr: Expr, unit: Unit = ()) -> bool:
    """Whether `expr`, with real symbols, is shown to vanish; vectors in `unit` have length 1.

    True is a proof (where no denominator of the expression vanishes), False that none was found.
    Raises NotImplementedError for the conjugate of a root or logarithm of something complex.
    """
    expr = sympy.sympify(expr)
    if expr.is_Number:
        return bool(expr == 0)
    return not Reducer([expr], unit).numerator(expr)


def first_nonzero(exprs: Iterable[Expr], unit: Unit = ()) -> int | None:
    """The index of the first expression that is not shown to vanish; None if all are zero."""
    exprs = [sympy.sympify(e) for e in exprs]
    if not exprs:
        return None
    reducer = Reducer(exprs, unit)
    for i, e in enumerate(exprs):
        if reducer.numerator(e):
            return i
    return None


class Reducer:
    """Expressions over one set of generators, and their numerators modulo the relations."""

    def __init__(self, exprs: Iterable[Expr], unit: Unit = ()) -> None:
        self.exponents: dict[Expr, int] = {}  # monomial m -> D: the generator stands for e^{m/D}
        self.names: dict[Expr, Expr] = {}  # what a generator stands for -> its symbol
        self.roots: list[tuple[Expr, int, Expr]] = []  # (symbol, q, base)
        self.memo: dict[Expr, Expr] = {}
        exprs = list(exprs)
        plain = [unfold(e) for e in exprs]
        for e in plain:
            self._collect(e)
        rational = [self._rational(e) for e in plain]
        bases = [x for symbol, _, base in self.roots for x in (symbol, base)]
        squares = {v[-1]: sympy.Integer(1) - sum(k * k for k in v[:-1]) for v in unit}
        pool = [*rational, *bases, *squares, *squares.values()]
        gens = sorted(set().union(*[e.free_symbols for e in pool]), key=str)
        if not gens:
            gens = [sympy.Dummy("one")]
        self.ring, *self.gens = ring(gens, sympy.QQ)
        self.one = self.ring(1)
        self.index = {g: i for i, g in enumerate(gens)}
        self.value = dict(zip(gens, self.gens, strict=True))
        self.fractions: dict[Expr, tuple[Any, dict[Any, int]]] = {}
        self.rules: list[tuple[int, int, Any]] = []  # generator index, power, what it equals
        self.scale: dict[Expr, Any] = {}  # root symbol -> denominator of its base
        seen: dict[Any, Expr] = {}
        for symbol, q, base in self.roots:  # inner roots first
            num, factors = self._fraction(base)
            num, below = num.cancel(self._product(factors))
            first = seen.setdefault((num, below, q), symbol)
            self.value[symbol], self.scale[symbol] = self.value[first], below
            if first is symbol:
                self.rules.append((self.index[symbol], q, num * below ** (q - 1)))
        for symbol, square in squares.items():
            self.rules.append((self.index[symbol], 2, self._fraction(square)[0]))
        if _I in self.index:
            self.rules.append((self.index[_I], 2, self.ring(-1)))
        self.done = dict(zip(exprs, rational, strict=True))

    def numerator(self, expr: Expr) -> Any:
        """The numerator of one of the expressions, reduced; falsy if it is the zero polynomial."""
        return self._reduce(self._fraction(self.done[expr])[0])

    # --------------------------------------------------- expression -> generators
    def _collect(self, e: Expr) -> None:
        """Find the common denominator of the coefficients of every monomial in an exponent."""
        for node in sympy.preorder_traversal(e):
            if isinstance(node, sympy.exp) or node is sympy.E:
                for c, m in _terms(_exponent(node)):
                    self.exponents[m] = lcm(self.exponents.get(m, 1), int(c.q))

    def _rational(self, e: Expr) -> Expr:
        if e not in self.memo:
            self.memo[e] = self._rewrite(e)
        return self.memo[e]

    def _rewrite(self, e: Expr) -> Expr:
        if e.is_Symbol or e.is_Rational:
            return e
        if e is sympy.I:
            return _I
        if e.is_Add or e.is_Mul:
            return e.func(*[self._rational(a) for a in e.args])
        if e.is_Pow and e.exp.is_Integer:
            return self._rational(e.base) ** e.exp
        if e.is_Pow and e.exp.is_Rational:
            return self._root(e.base, int(e.exp.q)) ** int(e.exp.p)
        if isinstance(e, sympy.exp) or e is sympy.E:
            return sympy.Mul(*[self._power(c, m) for c, m in _terms(_exponent(e))])
        return self._name(e)

    def _power(self, c: Any, m: Expr) -> Expr:
        """e^{c m}: a power of b for m = log b, a phase for m = i atan2, else of a generator."""
        if isinstance(m, sympy.log) and c.q == 1:
            return self._rational(m.args[0]) ** int(c)
        if isinstance(m, sympy.log):
            return self._root(m.args[0], int(c.q)) ** int(c.p)
        angle = m / sympy.I
        if isinstance(angle, sympy.atan2) and c.q == 1:
            y, x = angle.args
            z = (x + sympy.I * y) / sympy.sqrt(x**2 + y**2)
            return self._rational(unfold(z)) ** int(c)
        D = self.exponents[m]
        return self._name(("exp", m)) ** int(c * D)

    def _root(self, base: Expr, q: int) -> Expr:
        symbol = self.names.get(("root", base, q))
        if symbol is None:
            inner = self._rational(base)  # first: its own roots must come before this one
            symbol = self._name(("root", base, q))
            self.roots.append((symbol, q, inner))
        return symbol

    def _name(self, what: Any) -> Expr:
        if what not in self.names:
            self.names[what] = sympy.Symbol(f"_g{len(self.names)}")
        return self.names[what]

    # --------------------------------------------------- generators -> polynomials
    def _fraction(self, e: Expr) -> tuple[Any, dict[Any, int]]:
        """(numerator, {factor: power} of the denominator)."""
        if e not in self.fractions:
            self.fractions[e] = self._divide(e)
        return self.fractions[e]

    def _divide(self, e: Expr) -> tuple[Any, dict[Any, int]]:
        if e.is_Symbol:
            below = self.scale.get(e)
            return self.value[e], {} if below is None or below == 1 else {below: 1}
        if e.is_Rational:
            return self.ring(sympy.QQ(int(e.p), int(e.q))), {}
        if e.is_Mul:
            num = None
            den: dict[Any, int] = {}
            for a in e.args:
                n, d = self._fraction(a)
                num = n if num is None else num * n
                for f, k in d.items():
                    den[f] = den.get(f, 0) + k
            return num, den
        if e.is_Pow:
            n, d = self._fraction(e.base)
            k = int(e.exp)
            if k >= 0:
                return n**k, {f: m * k for f, m in d.items()}
            return self._product(d) ** -k, {f: m * -k for f, m in self._factors(n).items()}
        parts = [self._fraction(a) for a in e.args]
        common: dict[Any, int] = {}
        for _, d in parts:
            for f, k in d.items():
                common[f] = max(common.get(f, 0), k)
        total = self.ring(0)
        for n, d in parts:
            missing = self._product({f: k - d.get(f, 0) for f, k in common.items()})
            total = total + (n if missing is self.one else n * missing)
        return total, common

    def _factors(self, p: Any) -> dict[Any, int]:
        """A polynomial as a product: monomials split into generators, anything else stays whole."""
        if not p:
            raise ZeroDivisionError(
                "zero test: a denominator of the expression is identically zero"
            )
        if len(p) > 1:
            return {p: 1}
        (powers, c), *_ = p.terms()
        found = {g: k for g, k in zip(self.gens, powers, strict=True) if k}
        return found if c == 1 else {**found, self.ring(c): 1}

    def _product(self, factors: Mapping[Any, int]) -> Any:
        out = None
        for f, k in factors.items():
            if k:
                power = f if k == 1 else f**k
                out = power if out is None else out * power
        return self.one if out is None else out

    def _reduce(self, p: Any) -> Any:
        """Replace g^q by what it equals, until no generator reaches the power of its rule."""
        again = True
        while again and p:
            again = False
            for i, q, equals in self.rules:
                while any(powers[i] >= q for powers in p):
                    again = True
                    p = self._replace(p, i, q, equals)
        return p

    def _replace(self, p: Any, i: int, q: int, equals: Any) -> Any:
        by_power: dict[int, Any] = {}
        for powers, c in p.terms():
            k, rest = divmod(powers[i], q)
            stay = (*powers[:i], rest, *powers[i + 1 :])
            part = by_power.setdefault(k, self.ring(0))
            part[stay] = part.get(stay, 0) + c
        out = self.ring(0)
        for k, part in by_power.items():
            out = out + part * equals**k
        return out


_I = sympy.Symbol("_i")


def unfold(e: Expr) -> Expr:
    """Real parts, conjugates, cosines, hyperbolic and symbolic powers as sums and exponentials."""
    return _unfold(e, {})


def _unfold(e: Expr, memo: dict[Expr, Expr]) -> Expr:
    if not e.args:
        return e
    if e not in memo:
        memo[e] = _unfolded(e, [_unfold(a, memo) for a in e.args])
    return memo[e]


def _unfolded(e: Expr, args: list[Expr]) -> Expr:
    """The expression with its arguments unfolded already."""
    if isinstance(e, (sympy.re, sympy.conjugate)):
        z = args[0]
        bar = z.xreplace({sympy.I: -sympy.I})
        if any(n.has(sympy.I) for n in e.args[0].atoms(sympy.Function, sympy.Pow) if _cut(n)):
            raise NotImplementedError(f"zero test: conjugate of {e.args[0]}, which has a cut")
        return bar if isinstance(e, sympy.conjugate) else (z + bar) / 2
    if isinstance(e, sympy.cos):
        z = sympy.exp(sympy.I * sympy.expand(args[0]))
        return (z + 1 / z) / 2
    if isinstance(e, sympy.sin):
        z = sympy.exp(sympy.I * sympy.expand(args[0]))
        return (z - 1 / z) / (2 * sympy.I)
    if isinstance(e, sympy.tanh):
        z = sympy.exp(2 * args[0])
        return (z - 1) / (z + 1)
    if isinstance(e, sympy.log) and args[0].is_Add:
        return sympy.expand_log(sympy.log(sympy.factor(args[0])))
    if e.is_Pow and not isinstance(e, sympy.exp) and not args[1].is_Rational:
        return sympy.exp(args[1] * sympy.expand_log(sympy.log(args[0])))
    return e if all(map(operator.is_, args, e.args)) else e.func(*args)


def _cut(e: Expr) -> bool:
    """Whether the conjugate of a function is not the function of the conjugate everywhere."""
    smooth = (sympy.exp, sympy.cos, sympy.sin, sympy.tanh, sympy.re, sympy.conjugate)
    return not (isinstance(e, smooth) or (e.is_Pow and e.exp.is_Integer))


def _exponent(e: Expr) -> Expr:
    return sympy.Integer(1) if e is sympy.E else e.args[0]


def _terms(exponent: Expr) -> list[tuple[Any, Expr]]:
    """The summands of an exponent as (rational coefficient, rest); arguments of functions stay."""
    if exponent.is_Add:
        return [t for a in exponent.args for t in _terms(a)]
    opened = exponent
    if exponent.is_Mul:
        opened = sympy.expand(exponent, deep=False)
        if opened.is_Mul:
            opened = opened.func(*[_open_log(a) for a in opened.args])
            opened = sympy.expand(opened, deep=False)
    elif isinstance(exponent, sympy.log):
        opened = _open_log(exponent)
    if opened.is_Add:
        return _terms(opened)
    return [opened.as_coeff_Mul(rational=True)]


def _open_log(e: Expr) -> Expr:
    return sympy.expand_log(e, deep=False) if isinstance(e, sympy.log) else e


def affine_parts(e: Expr, groups: Iterable[Iterable[Expr]]) -> list[Expr]:
    """Expressions that all vanish if and only if e does, e being affine in each group of symbols.

    These are the coefficients of the symbols, and the rest without them, of one group after the
    other.  Groups in which e is not affine are passed over.
    """
    parts = [e]
    for group in map(frozenset, groups):
        split = (_coefficients(part, group, {}) for part in parts)
        parts = [
            x
            for part, found in zip(parts, split, strict=True)
            for x in ([part] if found is None else found.values())
            if x != 0
        ]
    return parts


Coefficients = dict[Any, Expr]  # symbol, or None for the rest -> its coefficient


def _coefficients(
    e: Expr, group: frozenset[Expr], memo: dict[Expr, Coefficients | None]
) -> Coefficients | None:
    """The coefficients of e in the real symbols of a group; None if e is not seen to be affine."""
    if not e.args:
        return {e: sympy.Integer(1)} if e in group else {None: e}
    if e not in memo:
        memo[e] = _combined(e, [_coefficients(a, group, memo) for a in e.args])
    return memo[e]


def _combined(e: Expr, parts: list[Coefficients | None]) -> Coefficients | None:
    """The coefficients of an expression from those of its arguments."""
    known = [c for c in parts if c is not None]
    if len(known) < len(parts):
        return None
    if all(c.keys() <= {None} for c in known):
        return {None: e}
    if e.is_Add:
        terms: dict[Any, list[Expr]] = {}
        for part in known:
            for s, c in part.items():
                terms.setdefault(s, []).append(c)
        return {s: sympy.Add(*cs) for s, cs in terms.items()}
    if e.is_Mul:
        inside = [c for c in known if not c.keys() <= {None}]
        outside = [c[None] for c in known if c.keys() <= {None}]
        if len(inside) == 1:
            return {s: sympy.Mul(*outside, c) for s, c in inside[0].items()}
    if isinstance(e, (sympy.re, sympy.conjugate)):  # the symbols are real
        return {s: e.func(c) for s, c in known[0].items()}
    return None
