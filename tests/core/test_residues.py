"""Residues decide identities: against the symbolic zero test, and against what is known."""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
import sympy
from hypothesis import given

from dsf.core import ops
from dsf.core.algebra.zero import is_zero
from dsf.core.worlds import modular
from dsf.core.worlds.modular import NotDecided, vanishing


def objects(*xs):
    return np.array(xs, dtype=object)


def free(F, *names):
    return [objects(F.free(name)) for name in names]


ZERO = {
    "a sum": lambda x, y: (x + y) ** 2 - x**2 - 2 * x * y - y**2,
    "a quotient": lambda x, y: 1 / x - 1 / y - (y - x) / (x * y),
    "exponentials": lambda x, y: ops.exp(x + y / 3) ** 3 - ops.exp(x) ** 3 * ops.exp(y),
    "of a product": lambda x, y: ops.exp((x + 1) * (y + 1)) - ops.exp(x * y + x) * ops.exp(y + 1),
    "expm1": lambda x, y: ops.expm1(x + y) + 1 - ops.exp(x) * ops.exp(y),
    "logarithms": lambda x, y: ops.exp(2 * ops.log(x + y)) - (x + y) ** 2,
    "log of a product": lambda x, y: ops.log(x * y) - ops.log(y) - ops.log(x),
    "log of exp": lambda x, y: ops.log(ops.exp(x * y)) - x * y,
    "roots": lambda x, y: ops.sqrt(x + y) * ops.sqrt(x + y) - x - y,
    "a half": lambda x, y: ops.exp(ops.log(1 + x) / 2) - ops.sqrt(1 + x),
    "circle": lambda x, y: ops.sin(x * y) ** 2 + ops.cos(x * y) ** 2 - 1,
    "cis": lambda x, y: ops.cis(x + y) - ops.cis(x) * ops.cis(y),
    "conjugates": lambda x, y: ops.cis(x) * ops.conj(ops.cis(x)) - 1,
    "real": lambda x, y: ops.real(ops.as_complex(x, y) ** 2) - x * x + y * y,
    "tanh": lambda x, y: ops.tanh(x) - ops.expm1(2 * x) / (ops.exp(2 * x) + 1),
    "sigmoid": lambda x, y: ops.sigmoid(x) + ops.sigmoid(-x) - 1,
    "softplus": lambda x, y: ops.exp(ops.softplus(x)) - 1 - ops.exp(x),
    "an angle": lambda x, y: ops.cis(ops.arctan2(y, x)) * ops.sqrt(x * x + y * y)
    - ops.as_complex(x, y),
    "absolute": lambda x, y: ops.absolute(x - y) ** 2 - (x - y) ** 2,
    "maximum": lambda x, y: (ops.maximum(x, y) - x) * (ops.maximum(x, y) - y),
    "pieces": lambda x, y: (ops.where_positive(x, x, y) - x) * (ops.where_positive(x, x, y) - y),
    "pi": lambda x, y: ops.pi(x) * x - x * ops.pi(y),
}  # fmt: skip

NOT_ZERO = {
    "by 1e-70": lambda x, y: x * (1 + Fraction(1, 10**70)) - x,
    "a float": lambda x, y: x * 0.1 - x / 10,
    "a transcendental": lambda x, y: ops.exp(x) - x,
    "a product of sums": lambda x, y: (x - y) * (x + y) - x * x,
    "the other root": lambda x, y: ops.sqrt(x * x) + x,
    "a root of a square": lambda x, y: ops.sqrt(x * x) - x,
    "one piece": lambda x, y: ops.maximum(x, y) - x,
    "the sign": lambda x, y: ops.absolute(x) - x,
    "a root of another": lambda x, y: ops.sqrt(x) - ops.sqrt(x + y),
    "i": lambda x, y: ops.cis(x) - ops.conj(ops.cis(x)),
    "e": lambda x, y: ops.exp(x) - 3 ** 1 * ops.exp(x - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ZERO)
def test_identities_are_seen(name):
    assert vanishing(lambda F: ZERO[name](*free(F, "x", "y")))


@pytest.mark.parametrize("name", NOT_ZERO)
def test_what_is_no_identity_is_not_taken_for_one(name):
    for _ in range(20):
        assert not vanishing(lambda F: NOT_ZERO[name](*free(F, "x", "y")))


def test_two_roots_that_depend_on_each_other():
    """sqrt(x) sqrt(y) = sqrt(xy) for positive numbers only: not an identity of the relations."""
    gap = lambda x, y: ops.sqrt(x) * ops.sqrt(y) - ops.sqrt(x * y)  # noqa: E731
    assert not any(vanishing(lambda F: gap(*free(F, "x", "y"))) for _ in range(20))
    square = lambda x, y: ops.sqrt(x) ** 2 * ops.sqrt(y) ** 2 - ops.sqrt(x * y) ** 2  # noqa: E731
    assert vanishing(lambda F: square(*free(F, "x", "y")))


@pytest.mark.parametrize(
    "gap, points",
    [
        (lambda x: x * x - x, 1),  # nothing is left free, so relations would not help
        (lambda x: ops.sqrt(x * x) - 2 * x, 2),
        (lambda x: ops.sqrt(ops.sqrt(x * x)) - x, 2),  # -r has no root where r has one
    ],
)
def test_no_more_points_than_may_help(gap, points):
    drawn = []
    try:
        assert not vanishing(lambda F: drawn.append(F) or gap(*free(F, "x")))
    except NotDecided as e:
        assert "square roots" in str(e)
    assert len(drawn) == points


def test_roots_of_constants_are_decided_whatever_the_prime():
    """2 and 3 are no squares modulo many primes, at no point: another prime has to be drawn."""

    def gap(x, more):
        two, three = (ops.sqrt(k * ops.ones_like(x)) for k in (2, 3))
        return two**2 * three**2 - 6 + more * x

    assert all(vanishing(lambda F: gap(*free(F, "x"), 0)) for _ in range(20))
    assert not any(vanishing(lambda F: gap(*free(F, "x"), 1)) for _ in range(20))


# ------------------------------------------------------------------------- limits
LIMITS = {
    "a difference quotient": lambda x, h: (ops.exp(h * x) - 1) / h - x,
    "the second": lambda x, h: (ops.exp(h * x) - 1 - h * x) / h**2 - x**2 / 2,
    "a pole that cancels": lambda x, h: x / h * (h * 3) - 3 * x,
    "a gate that closes": lambda x, h: ops.exp(ops.log(h)) * x,
    "1 / (1 - h)": lambda x, h: 1 / (1 - h * x) - 1 - h * x,
    "a bounded normaliser": lambda x, h: ops.maximum(ops.absolute(h * x), ops.ones_like(x)) - 1,
    "an exponential of a quotient": lambda x, h: ops.exp(h * x / (1 + x)) - 1,
}
NO_LIMITS = {
    "another slope": lambda x, h: (ops.exp(h * x) - 1) / h - 2 * x,
    "a constant": lambda x, h: h + x - x + ops.ones_like(x) / 10**70,
    "a pole": lambda x, h: x / h,
    "nothing known": lambda x, h: ops.log(h) * h,
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    assert vanishing(lambda F: LIMITS[name](*free(F, "x"), objects(F.h)), limit=True)
    exact = name in ("a pole that cancels", "a bounded normaliser")  # also away from the limit
    assert vanishing(lambda F: LIMITS[name](*free(F, "x"), objects(F.h))) is exact


@pytest.mark.parametrize("name", NO_LIMITS)
def test_no_limits(name):
    assert not vanishing(lambda F: NO_LIMITS[name](*free(F, "x"), objects(F.h)), limit=True)


@pytest.mark.parametrize(
    "expression",
    [
        lambda x, h: ops.exp(x / h),
        lambda x, h: ops.sqrt(h),
        lambda x, h: 1 / (x - x),
        lambda x, h: x > h,
        lambda x, h: ops.sqrt(ops.as_complex(x, x)),
    ],
)
def test_what_residues_cannot_stand_for(expression):
    with pytest.raises(NotDecided):
        vanishing(lambda F: expression(*free(F, "x"), objects(F.h)))


def test_residues_exist_in_a_field_only():
    with pytest.raises(NotDecided, match="inside"):
        modular.current()


# ------------------------------------------------------------------------- the slow twin
SYMBOLS = sympy.symbols("x y", real=True)


def expressions():
    leaf = st.sampled_from([0, 1, 2, 3, 4])
    return st.recursive(
        leaf,
        lambda inner: st.tuples(st.sampled_from("+-*e"), inner, inner),
        max_leaves=5,
    )


def built(tree, x, y, exp):
    if not isinstance(tree, tuple):
        return [x, y, 1 + x, x * y, 2 + 0 * x][tree]
    kind, a, b = tree
    a, b = built(a, x, y, exp), built(b, x, y, exp)
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "e": lambda: exp(a) * b}[
        kind
    ]()


@given(expressions(), expressions())
def test_agrees_with_the_symbolic_zero_test(first, second):
    symbolic = sum((-1) ** i * built(t, *SYMBOLS, sympy.exp) for i, t in enumerate((first, second)))

    def gap(F):
        x, y = free(F, "x", "y")
        return built(first, x, y, ops.exp) - built(second, x, y, ops.exp)

    try:
        found = vanishing(gap)
    except NotDecided:  # e to a power of a power with too many terms
        return
    assert found is is_zero(symbolic)


def test_the_probability_is_counted():
    seen = []

    def gap(F):
        seen.append(F)
        x, y = free(F, "x", "y")
        return [((x + y) ** 5 - (y + x) ** 5)[0], (ops.sqrt(x + y) ** 2 - x - y)[0]]

    assert vanishing(gap)
    field = seen[-1]
    assert field.p.bit_length() == modular.BITS and field.p % 4 == 3
    assert field.spent >= 5 + 5 and 0 < field.error < modular.RISK
    assert len({f.p for f in seen}) >= 1 and vanishing(gap) and seen[-1].p != field.p


def test_degrees_are_not_underestimated():
    """A number's degrees bound those of its numerator and denominator as polynomials."""
    expressions = [
        lambda x, y: 1 / (x + 1) + 1 / (y + 2),
        lambda x, y: (x + 1) / (y + 1) + x / (y - 1) - 1 / (x * y),
        lambda x, y: ((x + y) ** 3 / (x - y) + x) ** 2,
        lambda x, y: 1 / (1 + 1 / (1 + x * y)),
    ]
    for expression in expressions:
        fraction = sympy.fraction(sympy.together(expression(*SYMBOLS)))
        wanted = [sympy.Poly(e, *SYMBOLS).total_degree() for e in fraction]
        seen = []

        def gap(F, expression=expression, seen=seen):
            x, y = free(F, "x", "y")
            seen.append(expression(x, y)[0].degree)
            return []

        assert vanishing(gap)
        assert all(a >= b for a, b in zip(seen[0], wanted, strict=True))


def test_what_is_compared_is_counted():
    """That two values are one expression is a test as well."""

    def gap(F):
        x, y = free(F, "x", "y")
        before = F.spent
        ops.sqrt((x + 1) / (y + 1))
        assert F.spent >= before + 2
        return []

    assert vanishing(gap)


def test_too_large_a_risk_is_refused(monkeypatch):
    monkeypatch.setattr(modular, "RISK", 2.0**-127)
    with pytest.raises(NotDecided, match="probability of error"):
        vanishing(lambda F: [F.free("x") * F.free("y") - F.free("y") * F.free("x")])


def test_an_unknown_series_is_not_zero():
    """A sum that is known up to h^k only is not an identity, though its known terms cancel."""
    gap = lambda x, h: (ops.exp(h * x) - 1) / h - (ops.exp(h * x) - 1) / h  # noqa: E731
    assert not vanishing(lambda F: gap(*free(F, "x"), objects(F.h)))
    assert vanishing(lambda F: gap(*free(F, "x"), objects(F.h)), limit=True)
    deep = lambda x, h: (ops.exp(h * x) - ops.exp(h * x)) / h**9  # noqa: E731
    assert not vanishing(lambda F: deep(*free(F, "x"), objects(F.h)), limit=True)


def test_a_quotient_of_complex_numbers():
    gap = lambda x, y: ops.as_complex(x, y) / ops.cis(x) - ops.as_complex(x, y) * ops.cis(-x)  # noqa: E731
    assert vanishing(lambda F: gap(*free(F, "x", "y")))


def test_signs_that_are_told_decide_maxima_and_moduli():
    """x > 0 and y > x + 1; nothing is told of z."""

    def gaps(F, told):
        x, y, z = free(F, "x", "y", "z")
        one = x / x
        for positive in (x, y - x - one) if told else ():
            F.tell(positive[0])
        yield from ops.absolute(x) - x
        yield from ops.absolute(-x) - x
        yield from ops.absolute(z - z - x) - x
        yield from ops.maximum(y, x + one) - y
        yield from ops.maximum(x + one, y) - y
        yield from ops.absolute(x + one - y) - (y - x - one)

    def not_told(F):
        x, z = free(F, "x", "z")
        F.tell(x[0])
        yield from ops.absolute(z) - z

    assert vanishing(lambda F: gaps(F, True))
    assert not vanishing(lambda F: gaps(F, False))
    assert not vanishing(not_told)
