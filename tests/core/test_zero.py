"""The zero test: what it calls zero is zero; the identities of the papers close by themselves."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import I, Rational, cos, exp, log, re, sin, sqrt, tanh

from dsf.core.algebra.zero import affine_parts, first_nonzero, is_zero

x, y, z = sympy.symbols("x y z", real=True)
p, g = sympy.symbols("p g", positive=True)
softplus, sigmoid = log(1 + exp(x)), 1 / (1 + exp(-x))

IDENTITIES = {
    "reversed sigmoid": exp(-y * softplus) - (1 / (1 + exp(x))) ** y,
    "one minus": 1 - exp(-softplus) - sigmoid,
    "sum in the exponent": exp(x + 2 * y) - exp(x) * exp(y) ** 2,
    "half exponents": exp(x / 2) ** 2 * exp(x / 3) ** 3 - exp(2 * x),
    "addition theorem": cos(x - y) - cos(x) * cos(y) - sin(x) * sin(y),
    "tanh": tanh(x) - (exp(2 * x) - 1) / (exp(2 * x) + 1),
    "square root": (1 - sqrt(1 - p)) ** 2 + 2 * sqrt(1 - p) - 2 + p,
    "root of a fraction": sqrt(x**2 / (1 + y**2) + 1) ** 2 * (1 + y**2) - x**2 - 1 - y**2,
    "nested roots": sqrt(1 + sqrt(1 + x**2)) ** 4 - 2 * sqrt(1 + x**2) - 2 - x**2,
    "equal roots": sqrt((x + 1) ** 2 + 1) - sqrt(x**2 + 2 * x + 2),
    "real part": re((x + I * y) * exp(I * z)) - x * cos(z) + y * sin(z),
    "polar form": exp(I * sympy.atan2(y, x)) * sqrt(x**2 + y**2) - x - I * y,
    "power of a logarithm": exp(2 * log(p) - 3 * log(g)) - p**2 / g**3,
    "symbolic power": p**x * p**y - p ** (x + y),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities(name):
    assert is_zero(IDENTITIES[name])


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_wrong_identity_is_not_zero(name):
    assert not is_zero(IDENTITIES[name] + Rational(1, 10**6))
    assert not is_zero(IDENTITIES[name] + x * p)


def test_unit_vectors():
    off = x**2 + y**2 - 1
    assert not is_zero(off)
    assert is_zero(off, [(x, y)])
    assert is_zero((x**4 + 2 * x**2 * y**2 + y**4 - 1) * z, [(x, y)])
    assert not is_zero(off, [(x, z)])


def test_not_zero_is_not_a_disproof():
    # both vanish, but the arctangent is unknown here, and exponents are not simplified
    assert not is_zero(sympy.atan(p) + sympy.atan(1 / p) - sympy.pi / 2)
    assert not is_zero(exp(1 / (1 + x) ** 2) - exp(1 / (1 + 2 * x + x**2)))


def test_first_nonzero():
    assert first_nonzero([x - x, cos(x) ** 2 + sin(x) ** 2 - 1]) is None
    assert first_nonzero([sympy.Integer(0), x, y]) == 1
    assert first_nonzero([]) is None


def test_conjugates_of_complex_roots_are_refused():
    assert is_zero(sqrt(x + I) ** 4 - (x + I) ** 2)
    with pytest.raises(NotImplementedError, match="which has a cut"):
        is_zero(re(sqrt(x + I), evaluate=False) - x)


def test_a_vanishing_denominator_is_an_error():
    with pytest.raises(ZeroDivisionError):
        is_zero(y + 1 / (x**2 - 1 - (x + 1) * (x - 1)))


# ------------------------------------------------------------- against numbers
LEAVES = st.sampled_from([x, y, p, sympy.Integer(1), sympy.Integer(2), Rational(1, 3)])


def _grow(children):
    pair = st.tuples(children, children)
    return st.one_of(
        pair.map(lambda t: t[0] + t[1]),
        pair.map(lambda t: t[0] - t[1]),
        pair.map(lambda t: t[0] * t[1]),
        pair.map(lambda t: t[0] / (1 + t[1] ** 2)),
        children.map(lambda e: cos(e)),
        children.map(lambda e: sqrt(1 + e**2)),
        children.map(lambda e: exp(-(e**2))),
        children.map(lambda e: 1 / (1 + exp(e / 2))),
    )


def test_the_constant_e_is_an_exponential_like_others():
    assert is_zero(sympy.E * exp(x) - exp(x + 1))
    assert is_zero(sympy.E**2 - exp(Rational(1, 2)) ** 4) and is_zero(sympy.E - exp(y + 1) / exp(y))
    assert not is_zero(sympy.E - 3) and not is_zero(sympy.E * exp(x) - exp(x + 2))


EXPRESSIONS = st.recursive(LEAVES, _grow, max_leaves=5)


@given(EXPRESSIONS)
def test_rewriting_is_recognised(e):
    assert is_zero(sympy.expand(e, deep=False) - e)  # arguments of functions stay as they are
    assert is_zero((e + y) ** 2 - e**2 - 2 * e * y - y**2)


@given(EXPRESSIONS, EXPRESSIONS)
def test_zero_means_zero(a, b):
    e = a - b
    value = abs(
        complex(e.evalf(30, subs={x: Rational(7, 9), y: -Rational(4, 7), p: Rational(5, 3)}))
    )
    assert value < 1e-12 or not is_zero(e)


@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_affine_parts_are_the_coefficients_and_the_rest(a, b, c):
    s, t = sympy.symbols("s t", real=True)
    parts = affine_parts(s * a + (t + b) * c, [[s, t]])
    wanted = [e for e in (a, c, b * c) if not is_zero(e)]
    assert all(any(is_zero(part - e) for part in parts) for e in wanted)
    assert all(any(is_zero(part - e) for e in (a, c, b * c)) for part in parts)
    assert not any(part.free_symbols & {s, t} for part in parts)


def test_affine_parts_pass_over_what_is_not_affine():
    assert affine_parts(x * y, [[x, y]]) == [x * y]
    assert affine_parts(exp(x) + y, [[x, y]]) == [exp(x) + y]
