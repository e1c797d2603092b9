"""The table of test-time regression, row 4: gated DeltaNet."""

from __future__ import annotations

import sympy as sp

import dsf
from dsf.theory_tests.local_linear.one_step import differs, squares, token

statement = (
    "S_t = a_t (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t' is weight decay and then one step "
    "of gradient descent of size beta_t on |v_t - S'k_t|^2/2, at a_t S_{t-1}, not at S_{t-1}. "
    "Identities in free tokens, n = p = 2."
)
reference = "wang2025, table of recurrences; yang2024gated"
falsified_by = "an entry of the difference that is not zero as an expression"


def entries(decay_first: bool) -> int:
    """How many entries differ, with the gradient at a S or at S beside the decay."""
    t = token("beta", "log_a")
    a, beta = sp.exp(t["log_a"][0]), t["beta"][0]
    kv = {"k": t["k"], "v": t["v"]}
    if decay_first:
        return differs(dsf.gated_deltanet, lambda S: beta * squares(S, **kv), lambda S: a * S, **t)
    penalty = lambda S: (1 - a) * (S**2).sum() / 2  # noqa: E731
    return differs(dsf.gated_deltanet, lambda S: beta * squares(S, **kv) + penalty(S), **t)


def claim():
    """How many entries of the state differ, against 0."""
    return entries(decay_first=True), 0, 0


def test_every_entry_agrees():
    assert claim()[0] == 0


def test_squares_with_weight_decay_at_the_old_state_are_another_step():
    assert entries(decay_first=False) == 4
