"""The table of test-time regression, row 2: linear attention with gates."""

from __future__ import annotations

import numpy as np
import sympy as sp

import dsf
from dsf.theory_tests.icl.linear_is_gradient_step import free
from dsf.theory_tests.local_linear.one_step import N, differs, token

statement = (
    "S_t = diag(a_t) S_{t-1} + k_t v_t' is one step of gradient descent of size 1 on -v_t'S'k_t + "
    "sum_ij (1 - a_ti) S_ij^2 / 2, a penalty with a weight per row; the case of one gate for all "
    "rows is weight decay. Identities in free tokens, n = p = 2."
)
reference = "wang2025, table of recurrences"
falsified_by = "an entry of the difference that is not zero as an expression"


def objective(S, k, v, a):
    """-v'S'k + sum_ij (1 - a_i) S_ij^2 / 2."""
    return -(v @ S.T @ k) + ((1 - a)[:, None] * S**2).sum() / 2


def gates():
    """Free log-gates [N] and the gates."""
    log_a = free("g", N)
    return log_a, np.array([sp.exp(x) for x in log_a])


def claim():
    """How many entries of the state differ, against 0."""
    t = token()
    log_a, a = gates()
    return differs(dsf.gla, lambda S: objective(S, a=a, **t), log_a=log_a, **t), 0, 0


def test_every_entry_agrees():
    assert claim()[0] == 0


def test_without_the_penalty_it_is_another_step():
    t = token()
    log_a, _ = gates()
    assert differs(dsf.gla, lambda S: -(t["v"] @ S.T @ t["k"]), log_a=log_a, **t) == 4
