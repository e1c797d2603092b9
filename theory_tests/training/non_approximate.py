"""Attention whose logits ignore the query: one normalised recurrence with d_v + 1 states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.solvers.heads.deconstructed import key_logits, non_approximate, non_approximate_scan
from dsf.theory_tests.run import run

statement = (
    "With l_j = SiLU(q_j)'k_j / sqrt d the map e^{l_j} / sum e^{l_j} is linear attention with phi "
    "= exp, normalised, at width 1 with tokens q = 1, k = e^l: states p + 1, semiseparable rank 1, "
    "a denominator that only grows. As a function of its query, with the logits of the keys fixed, "
    "a row is constant; q_i enters row i through the weight of key i alone."
)
reference = "xue2025 (arXiv 2510.11602), non-approximate; the identities are derived here"
falsified_by = "a recurrence off the map, or weights on the past whose ratios move with q_i"


def tokens(T: int, d: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, d)), rng.standard_normal((T, d)), rng.standard_normal((T, p))


def claim(T: int = 40, d: int = 4, p: int = 3, seed: int = 0) -> list:
    """The map, its recurrence, and the linear attention, on the same tokens."""
    q, k, v = tokens(T, d, p, seed)
    theory = non_approximate(q, k) @ v
    scan, _ = non_approximate_scan(q, k, v)
    weights = np.exp(key_logits(q, k))
    linear = run(dsf.linear_attn(phi="exp", normalise=True), q=np.ones(T), k=weights, v=v)
    return [(scan, theory, 1e-13), (linear, theory, 1e-13)]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_three_forms(T: int, d: int, p: int, seed: int) -> None:
    for computed, theory, tolerance in claim(T, d, p, seed):
        np.testing.assert_allclose(computed, theory, atol=tolerance)


def test_parameters_of_the_linear_attention() -> None:
    """On inputs [u, l]: W_q = 0 gives q = e^0, W_k reads l; the state is [1 p+1]."""
    q, k, v = tokens(20, 4, 3, 1)
    u = np.column_stack([v, key_logits(q, k)])
    take = np.eye(4)
    mech = LinearAttention(
        np.zeros((1, 4, 1)), take[None, :, 3:], take[None, :, :3], phi="exp", normalise=True
    )
    np.testing.assert_allclose(mech(u), non_approximate(q, k) @ v, atol=1e-13)
    ltv, X = mech.system(mech.tokens(u))
    assert (ltv.n, X.shape[-1]) == (1, 3 + 1)


def test_no_parameters_without_the_extra_input() -> None:
    """Along a ray u -> c u the logit grows like c^2, and log of a feature e^{u'w} like c."""
    rng = np.random.default_rng(0)
    u, Wq, Wk = (
        rng.standard_normal((1, 4)),
        rng.standard_normal((4, 4)),
        rng.standard_normal((4, 4)),
    )
    far = [key_logits(c * u @ Wq, c * u @ Wk)[0] / c**2 for c in (1e3, 1e4)]
    assert far[0] == pytest.approx(far[1], rel=1e-9) and abs(far[0]) > 1e-3


@given(st.integers(2, 40), st.integers(0, 99))
def test_the_denominator_only_grows(T: int, seed: int) -> None:
    _, (_, z) = non_approximate_scan(*tokens(T, 4, 2, seed))
    assert np.all(np.diff(z[:, 0]) > 0)


def test_what_a_row_sees_of_its_query() -> None:
    q, k, _ = tokens(12, 4, 1, 2)
    A = non_approximate(q, k)
    for i in (3, 11):
        moved = q.copy()
        moved[i] += 1.0
        B = non_approximate(moved, k)
        np.testing.assert_array_equal(B[:i], A[:i])
        np.testing.assert_allclose(B[i, :i] / B[i, 0], A[i, :i] / A[i, 0], rtol=1e-13)
        assert abs(B[i, i] - A[i, i]) > 1e-3  # its own key moves
