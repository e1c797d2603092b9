"""The quick real part is the real part: against numbers, and where sympy has to decide."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.algebra.parts import real_part

x, y = sympy.symbols("x y", real=True)
I = sympy.I
LEAVES = [x, y, I, x + I * y, sympy.Integer(2), sympy.Rational(-1, 3), sympy.pi]


def grown(inner: st.SearchStrategy) -> st.SearchStrategy:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.map(lambda p: p[0] + p[1]),
        pair.map(lambda p: p[0] * p[1]),
        inner.map(lambda e: sympy.exp(e / 4)),
        inner.map(sympy.conjugate),
        st.tuples(inner, st.sampled_from([-2, -1, 2, 3])).map(lambda p: (p[0] + 5) ** p[1]),
        inner.map(sympy.cos),
    )


@given(st.recursive(st.sampled_from(LEAVES), grown, max_leaves=6))
def test_it_is_the_real_part_of_the_number(e):
    part = real_part(e)
    for values in ((0.3, -0.7), (-1.1, 0.4)):
        at = dict(zip((x, y), values, strict=True))
        got, want = complex(part.subs(at).evalf()), complex(e.subs(at).evalf()).real
        if np.isfinite(want) and abs(want) < 1e6:
            assert got == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_what_has_no_imaginary_part_stays():
    e = sympy.exp(-x) * (x**2 + y) / (1 + x**2)
    assert real_part(e) == e and real_part(I * e) == 0


def test_unknown_symbols_and_cuts_are_left_to_sympy():
    z = sympy.Symbol("z")
    assert real_part(z) == sympy.re(z) and real_part(z + x) == sympy.re(z) + x
    assert real_part(sympy.sqrt(z)) == sympy.re(sympy.sqrt(z))
    assert real_part(sympy.sqrt(-2 - x**2)) == 0
