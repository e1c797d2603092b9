"""The table of test-time regression, row 1: linear attention."""

from __future__ import annotations

import numpy as np

import dsf
from dsf.theory_tests.icl.linear_is_gradient_step import descent, free, nonzero
from dsf.theory_tests.local_linear.one_step import N, P, differs, squares, state_after, token

statement = (
    "S_t = S_{t-1} + k_t v_t' is one step of gradient descent of size 1 on -v_t'S'k_t; it is not "
    "one on |v_t - S'k_t|^2/2 unless S_{t-1}'k_t = 0. Identities in free tokens, n = p = 2."
)
reference = "wang2025, table of recurrences"
falsified_by = "an entry of the difference that is not zero as an expression"


def claim():
    """How many entries of the state differ, against 0."""
    t = token()
    return differs(dsf.linear_attn, lambda S: -(t["v"] @ S.T @ t["k"]), **t), 0, 0


def test_every_entry_agrees():
    assert claim()[0] == 0


def test_squares_are_another_step():
    t = token()
    assert differs(dsf.linear_attn, lambda S: squares(S, **t), **t) == 4


def test_squares_at_zero_are_the_same_step():
    t = token()
    S = free("S", N, P)
    zero = np.zeros((N, P), dtype=int).astype(object)
    after = state_after(dsf.linear_attn, zero, **t)
    assert nonzero(after - descent(squares(S, **t), S, zero)) == 0
