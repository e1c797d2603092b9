"""Attention through features in linear time is the same as through the matrix of weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.mechanisms.linear.features import RANDOM
from dsf.solvers import random_feature_attention, softmax_kernel_features

statement = (
    "sum_j phi(q)'phi(k_j) v_j / sum_j phi(q)'phi(k_j), over all keys or over the past, is "
    "computed from sums of phi(k_j) (v_j, 1) alone, and does not change when phi(q) is scaled for "
    "each query or phi(k) by one factor for all keys."
)
reference = "katharopoulos2020; choromanski2021"
falsified_by = "an output that differs from the quadratic evaluation by more than rounding"


def quadratic(q, k, v, omega, kind, causal, A=0.0):
    """The slow twin: the matrix of weights, as the formula reads."""
    weights = softmax_kernel_features(q, omega, kind, A=A) @ softmax_kernel_features(
        k, omega, kind, A=A
    ).T  # fmt: skip
    weights = np.tril(weights) if causal else weights
    return weights @ v / weights.sum(1, keepdims=True)


def claim(kind: str = "favor", causal: bool = True, L: int = 40, d: int = 4, seed: int = 0):
    """Linear against quadratic evaluation; trig with enough features for positive sums."""
    rng = np.random.default_rng(seed)
    q, k, v = 0.4 * rng.standard_normal((3, L, d))
    omega = rng.standard_normal((400, d))
    A = -0.1 if kind == "favor++" else 0.0
    found = random_feature_attention(q, k, v, omega, kind, causal=causal, A=A)
    return found, quadratic(q, k, v, omega, kind, causal, A), 1e-10


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", RANDOM)
@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 10**6))
def test_linear_is_quadratic(kind, causal, L, d, seed):
    computed, theory, tolerance = claim(kind, causal, L, d, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


def test_scaling_keeps_what_the_formula_would_overflow():
    """|q| = 60: e^{-|q|^2/2} underflows, the ratio does not."""
    rng = np.random.default_rng(0)
    q = np.full((1, 4), 30.0)
    k, v, omega = rng.standard_normal((3, 6, 4))
    assert not softmax_kernel_features(q, omega).any()
    logs = omega @ q[0] + (omega @ k.T - np.sum(k * k, 1) / 2).T  # [key feature]
    weights = np.exp(logs - logs.max()).sum(1)
    np.testing.assert_allclose(
        random_feature_attention(q, k, v, omega)[0], weights @ v / weights.sum(), rtol=1e-10
    )
