"""Parallax with the right direction is local linear attention, without one it is softmax."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.solvers import local_linear_attention, parallax
from dsf.theory_tests import judge

statement = (
    "With kb_i and C_i the mean and the covariance of the keys under the softmax weights of query "
    "i, Parallax along r_i = (C_i + ridge I)^-1 (kb_i - q_i) is local linear attention with the "
    "penalty ridge sum_j w_ij |W|^2; along r_i = 0 it is softmax attention. That a learned "
    "direction does as well is not claimed here."
)
reference = "zuo2026parallax; the map: zuo2026"
falsified_by = "tokens for which the two outputs differ by more than rounding"


def direction(q: np.ndarray, k: np.ndarray, ridge: float):
    """r_i of every query [n d], and the causal softmax weights [n n] that it is made from."""
    n, d = q.shape
    p = softmax(q @ k.T / np.sqrt(d), np.tri(n, dtype=bool))
    kb = p @ k
    C = [(k - kb[i]).T @ (p[i, :, None] * (k - kb[i])) for i in range(n)]
    return np.array([np.linalg.solve(C[i] + ridge * np.eye(d), kb[i] - q[i]) for i in range(n)]), p


def claim(n: int = 24, d: int = 4, ridge: float = 0.5, seed: int = 0):
    """Parallax along r_i against the local linear fit, and along 0 against softmax attention."""
    q, k, v = np.random.default_rng(seed).standard_normal((3, n, d))
    r, p = direction(q, k, ridge)
    return [
        (parallax(q, k, v, r), local_linear_attention(q, k, v, ridge=ridge, form="weights"), 1e-9),
        (parallax(q, k, v, 0 * r), p @ v, 1e-12),
    ]


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 4), st.floats(0.1, 20), st.integers(0, 10**6))
def test_the_identity(n, d, ridge, seed):
    judgement = judge(claim(n, d, ridge, seed))
    assert judgement.holds, "\n".join(judgement.lines)


def test_another_direction_gives_another_output():
    q, k, v = np.random.default_rng(0).standard_normal((3, 24, 4))
    r, _ = direction(q, k, 0.5)
    exact = local_linear_attention(q, k, v, ridge=0.5)
    assert np.abs(parallax(q, k, v, 1.01 * r) - exact).max() > 1e-3
