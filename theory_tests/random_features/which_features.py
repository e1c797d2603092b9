"""Which random features have the smaller error: conditions without constants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dsf.solvers import softmax_kernel_mse
from dsf.theory_tests.random_features.kernel_mse import points

statement = (
    "With equally many independent directions, z = x + y and D = x - y: favor has a smaller error "
    "than trig if and only if e^{|z|^2} < cosh |D|^2; hyperbolic a smaller one than trig if and "
    "only if x'y < 0; hyperbolic with m directions is (1 - e^{-|z|^2}) times favor with 2m, as "
    "many features."
)
reference = "derived from lemma 2 of choromanski2021"
falsified_by = "a pair of vectors at which the order of the errors is another one"


def claim():
    """The three identities in free symbols a = |z|^2, b = |D|^2; x'y = (a - b)/4."""
    import sympy as sp

    a, b = sp.symbols("a b", positive=True)
    SM2 = sp.exp((a - b) / 2)
    favor = sp.exp(a) * SM2 * (1 - sp.exp(-a))
    trig = sp.exp(a) / SM2 * (1 - sp.exp(-b)) ** 2 / 2
    hyperbolic = favor * (1 - sp.exp(-a)) / 2
    zero = [
        favor / trig - (sp.exp(a) - 1) / (sp.cosh(b) - 1),
        hyperbolic / trig - (sp.sinh(a / 2) / sp.sinh(b / 2)) ** 2,
        hyperbolic - (1 - sp.exp(-a)) * favor / 2,
    ]
    return [(float(sp.simplify(e.rewrite(sp.exp)) != 0), 0.0, 0.0) for e in zero]


def test_the_identities():
    assert [c == t for c, t, _ in claim()] == [True] * 3


@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_the_orders(d, seed, size):
    x, y = points(d, seed, size)
    z, D = np.sum((x + y) ** 2), np.sum((x - y) ** 2)
    favor, trig, hyperbolic = (
        float(softmax_kernel_mse(x, y, 4, k)) for k in ("favor", "trig", "hyperbolic")
    )
    assume(abs(np.expm1(z) - (np.cosh(D) - 1)) > 1e-9 * np.expm1(z) and abs(x @ y) > 1e-9 * (z + D))
    assert (favor < trig) == (np.exp(z) < np.cosh(D))
    assert (hyperbolic < trig) == (x @ y < 0)
    assert hyperbolic == pytest.approx(-np.expm1(-z) * float(softmax_kernel_mse(x, y, 8, "favor")))


def test_trig_is_exact_at_equal_vectors_and_positive_ones_at_opposite():
    x = np.array([0.3, -1.0])
    assert softmax_kernel_mse(x, x, 1, "trig") == 0
    assert softmax_kernel_mse(x, -x, 1, "favor") == softmax_kernel_mse(x, -x, 1, "hyperbolic") == 0
    assert softmax_kernel_mse(x, -x, 1, "favor++") == 0
