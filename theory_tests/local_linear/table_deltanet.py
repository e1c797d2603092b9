"""The table of test-time regression, row 3: DeltaNet."""

from __future__ import annotations

import numpy as np

import dsf
from dsf.theory_tests.local_linear.one_step import differs, squares, token
from dsf.theory_tests.run import run

statement = (
    "S_t = (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t' is one step of gradient descent of size "
    "beta_t on |v_t - S'k_t|^2/2, at S_{t-1}. Identities in free tokens, n = p = 2."
)
reference = "wang2025, table of recurrences; yang2024"
falsified_by = "an entry of the difference that is not zero as an expression"


def claim():
    """How many entries of the state differ, against 0."""
    t = token("beta")
    kv = {"k": t["k"], "v": t["v"]}
    return differs(dsf.deltanet, lambda S: t["beta"][0] * squares(S, **kv), **t), 0, 0


def test_every_entry_agrees():
    assert claim()[0] == 0


def test_linear_loss_is_another_step():
    t = token("beta")
    linear = lambda S: -t["beta"][0] * (t["v"] @ S.T @ t["k"])  # noqa: E731
    assert differs(dsf.deltanet, linear, **t) == 4


def test_orthonormal_keys_and_full_steps_are_linear_attention():
    rng = np.random.default_rng(0)
    k, q, v = np.linalg.qr(rng.standard_normal((5, 5)))[0], *rng.standard_normal((2, 5, 5))
    np.testing.assert_allclose(
        run(dsf.deltanet, q=q, k=k, v=v, beta=[1] * 5), run(dsf.linear_attn, q=q, k=k, v=v),
        atol=1e-12,
    )  # fmt: skip
