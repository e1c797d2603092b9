"""Recursive least squares is ridge regression on all tokens so far, also with gates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.solvers import ridge_recurrence
from dsf.solvers.local_linear.recurrence import ridge_in_batch
from dsf.theory_tests import judge
from dsf.theory_tests.icl.linear_is_gradient_step import descent, free, nonzero
from dsf.theory_tests.local_linear.one_step import N, P, squares

statement = (
    "a = P k/(1 + k'P k), M += a (v - M'k)', P -= a k'P from P = I/ridge is the ridge regression "
    "on the tokens so far; each step is a gradient step on |v - M'k|^2/2 with the matrix P_t as "
    "its size. With gates g, P = P/g before the step, the ridge is forgotten too; with "
    "(H_t + ridge I)^-1 read out of H = g H + k k' it is not, and the two outputs differ."
)
reference = "classical; wang2025, and vonoswald2025 for the second"
falsified_by = "an output that differs from least squares on all tokens by more than rounding"


def draw(n: int, d: int, least: float, seed: int):
    """q, k, v [n d] and gates [n] between `least` and 1."""
    rng = np.random.default_rng(seed)
    return *rng.standard_normal((3, n, d)), rng.uniform(least, 1, n)


def claim(ridge: float = 0.5, least: float = 0.7, n: int = 20, d: int = 4, seed: int = 0):
    """Without gates, and with gates in both forms, against one least squares per token."""
    q, k, v, gates = draw(n, d, least, seed)
    told = [{}, {"gates": gates}, {"gates": gates, "ridge_forgets": False}]
    return [
        (
            ridge_recurrence(q, k, v, ridge=ridge, **t),
            ridge_in_batch(q, k, v, ridge=ridge, **t),
            1e-8,
        )
        for t in told
    ]


@settings(max_examples=25)
@given(st.floats(0.1, 10), st.floats(0.6, 1), st.integers(1, 12), st.integers(1, 4),
       st.integers(0, 10**6))  # fmt: skip
def test_the_recurrence_is_the_batch(ridge, least, n, d, seed):
    judgement = judge(claim(ridge, least, n, d, seed))
    assert judgement.holds, "\n".join(judgement.lines)


def test_the_two_forms_differ_with_gates():
    q, k, v, gates = draw(20, 4, 0.7, 0)
    both = [
        ridge_recurrence(q, k, v, ridge=0.5, gates=gates, ridge_forgets=f) for f in (True, False)
    ]
    assert np.abs(both[0] - both[1])[1:].max() > 0.1


@pytest.mark.parametrize("forget", [False, True])
def test_one_step_in_free_symbols(forget):
    """P_t (g P^-1 + k k') = I, and M_t - M = P_t (-gradient); n = p = 2, P symmetric."""
    import sympy as sp

    k, v, M = free("k", N), free("v", P), free("M", N, P)
    a, b, c, g = sp.symbols("a b c g", positive=True)
    before = np.array([[a, b], [b, c]], dtype=object)
    S = before / g if forget else before
    gain = S @ k / (1 + k @ S @ k)
    after = S - np.outer(gain, k @ S)
    inverse = np.array(sp.Matrix(before).inv()) * (g if forget else 1)
    product = after @ (inverse + np.outer(k, k)) - np.eye(N, dtype=int)
    step = np.outer(gain, v - M.T @ k) - after @ descent(squares(free("S", N, P), k, v),
                                                         free("S", N, P), M)  # fmt: skip
    zero = [sp.cancel(sp.together(e)) for e in (*product.flat, *step.flat)]
    assert nonzero(np.array(zero, dtype=object)) == 0
