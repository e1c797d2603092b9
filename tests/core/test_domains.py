"""Signs of symbolic expressions: what is called positive is positive on random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import cos, exp, log, sin, sqrt

from dsf.core.algebra.signs import Domains
from dsf.core.fields import DOMAINS, UNIT

r, a = sympy.Symbol("r", positive=True), sympy.Symbol("a", negative=True)
g, h = sympy.symbols("g h", positive=True)  # in (0, 1) and (0, 2)
t = sympy.Symbol("t", real=True)
circle = (exp(-r) * cos(t) - 1) ** 2 + exp(-2 * r) * sin(t) ** 2  # |e^{-r + i t} - 1|^2

INSIDE = {
    "< 0": [a * r, log(g), -log(1 + r), log(1 - g), exp(a) - 1, (g**2 - 1) / circle],
    "> 0": [1 - g, 2 - h, 1 - exp(a * r), circle, 1 / g - 1, r / (1 - exp(-r))],
    "in (0, 1)": [1 - g, sqrt(1 - g), 1 - sqrt(1 - g), exp(a), sqrt(1 - exp(2 * a)) * g, h / 2],
    "in (0, 2)": [2 - h, h, h**2 / (1 + (1 - h) ** 2), 1 - g**2],
    "real": [t / r, log(r), t / circle, sqrt(r) * exp(t), 1 / (1 - g)],
}
OUTSIDE = {
    "< 0": [log(r), a + r, -t, log(1 + g)],
    "> 0": [1 - 2 * g, cos(t), t**2, 1 - exp(r), circle - 1],
    "in (0, 1)": [2 * g, r, h, sqrt(h), exp(t)],
    "real": [1 / t, log(t), sqrt(t), 1 / (1 - 2 * g)],
}


def cases(table):
    return [(domain, e) for domain, es in table.items() for e in es]


@pytest.mark.parametrize(("domain", "e"), cases(INSIDE))
def test_shown_inside(domain, e):
    assert Domains({g: 1, h: 2}).inside(DOMAINS[domain], np.array([e]))


@pytest.mark.parametrize(("domain", "e"), cases(OUTSIDE))
def test_not_shown(domain, e):
    assert not Domains({g: 1, h: 2}).inside(DOMAINS[domain], np.array([e]))


def test_unit_vectors():
    v = np.array([[cos(t), sin(t)], [sympy.Rational(3, 5), sympy.Rational(4, 5)]])
    assert Domains({}).inside(UNIT, v)
    assert not Domains({}).inside(UNIT, v + 1)


ATOMS = st.sampled_from(
    [g, h, r, a, exp(a), exp(-r), log(g), sqrt(1 - g), cos(t), sympy.Integer(1)]
)


@given(st.lists(st.tuples(st.integers(-2, 2), ATOMS, ATOMS), min_size=1, max_size=3), st.data())
def test_a_sign_is_right_on_numbers(terms, data):
    e = sympy.Add(*[c * u * v for c, u, v in terms])
    sign = Domains({g: 1, h: 2}).sign(e)
    unit = st.floats(0.01, 0.99)
    at = {
        g: data.draw(unit),
        h: 2 * data.draw(unit),
        r: 3 * data.draw(unit),
        a: -3 * data.draw(unit),
        t: 6 * data.draw(unit),
    }
    if sign:
        assert float(e.evalf(30, subs=at)) * sign > 0
