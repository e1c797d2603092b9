"""Softmax attention is a mean of kernel attention over a mixture of directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.ops import softmax
from dsf.mechanisms.linear.features import log_features
from dsf.solvers import random_feature_attention, randomised_attention
from dsf.solvers.random_features.importance import weighted_directions
from dsf.solvers.random_features.quadrature import gaussian_nodes

statement = (
    "softmax(q'k) v = E f(w) over w ~ sum_j softmax(q'k)_j N(q + k_j, I), where f(w) is attention "
    "with the weights e^{w'k_j - |k_j|^2/2}. Attention by positive random features is "
    "self-normalised importance sampling of it with the proposal N(0, I)."
)
reference = "zheng2022"
falsified_by = "a quadrature of the mean that is not softmax attention, or two different ratios"


def claim(keys: int = 5, seed: int = 0):
    """Both sides in one dimension, the right one by quadrature of each component."""
    rng = np.random.default_rng(seed)
    q, k, v = 0.7 * rng.standard_normal((3, keys))
    t, weight = gaussian_nodes()
    exact = softmax(np.outer(q, k)) @ v
    mean = np.zeros(keys)
    for i in range(keys):
        w = (q[i] + k)[:, None] + t  # [component node]
        f = softmax(log_features("favor", k[:, None], w.reshape(-1, 1)).T) @ v
        mean[i] = softmax(q[i] * k) @ (f.reshape(w.shape) @ weight)
    return mean, exact, 1e-10


@given(st.integers(1, 8), st.integers(0, 10**6))
def test_the_mean(keys, seed):
    computed, theory, tolerance = claim(keys, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_favor_is_importance_sampling(n, d, seed):
    rng = np.random.default_rng(seed)
    q, k, v, w = rng.standard_normal((4, n, d))
    sampled = weighted_directions(q, k, v, w, np.zeros(n))
    np.testing.assert_allclose(random_feature_attention(q, k, v, w), sampled, atol=1e-12)


def test_it_is_unbiased_in_sixteen_dimensions_and_favor_is_not():
    rng = np.random.default_rng(5)
    q, k, v = rng.standard_normal((3, 8, 16)) / 4
    exact = softmax(q @ k.T) @ v
    mean, error = randomised_attention(q, k, v, 20_000)
    assert np.all(np.abs(mean - exact) < 5 * error)
    few = np.array([
        random_feature_attention(q, k, v, rng.standard_normal((4, 16))) for _ in range(2000)
    ])  # fmt: skip
    off = np.abs(few.mean(0) - exact) / (few.std(0) / np.sqrt(len(few)))
    assert off.max() > 10


def test_one_key_needs_no_luck():
    mean, error = randomised_attention(np.ones((2, 3)), np.ones((1, 3)), np.ones((1, 2)), 4)
    assert np.all(mean == 1) and error == pytest.approx(0)
