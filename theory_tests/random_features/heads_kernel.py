"""Infinitely many random heads: their kernel in closed form, and what they cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsf.solvers import RandomFeatureHeads, RandomFeatureMLP
from dsf.solvers.random_features.model import with_one
from dsf.solvers.random_features.targets import unit_tokens

statement = (
    "The kernel Phi Phi' of M unbiased random heads has the mean (1/(N^2(d+1))) sum_ij J(r_ij) "
    "<x~_i, y~_j>, r = <x~_0, y~_0><x~_i, y~_j>/4, J the arc-cosine kernel of relu, for any M; it "
    "deviates like M^(-1/2). The features do not change when keys are permuted."
)
reference = "derived; the model: fu2023; J: cho2009"
falsified_by = "a mean over draws off by more than 5 standard errors, or a permutation that shows"


def formula(model: RandomFeatureHeads, X: np.ndarray) -> np.ndarray:
    """The slow twin of the features: one entry after another, as the definition reads."""
    Xt, keys = with_one(X), X.shape[1] - 1
    rows = []
    for x in Xt:
        row = [
            sum(max(x[0] @ W @ x[i], 0.0) * x[i] for i in range(1, keys + 1)) / keys
            for W in model.W
        ]
        rows.append(np.concatenate(row))
    return np.array(rows) / np.sqrt(len(model.W) * Xt.shape[2])


def claim(d: int = 3, keys: int = 2, heads: int = 20_000, seed: int = 0):
    """The kernel of many heads on four sequences against the closed form: 5 standard errors."""
    X = unit_tokens(np.random.default_rng(seed), 4, keys, d)
    model = RandomFeatureHeads.draw(heads, d, seed)
    Phi = model.features(X).reshape(4, heads, d + 1)
    each = heads * np.einsum("nha,mha->nmh", Phi, Phi)
    error = each.std(2).max() / heads**0.5
    return each.mean(2), model.kernel(X, X), 5 * error


@settings(max_examples=5)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_the_mean(d, keys, seed):
    computed, theory, tolerance = claim(d, keys, 20_000, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.floats(0, 8), st.integers(0, 99))
def test_features_are_the_formula(d, keys, heads, bias, seed):
    X = unit_tokens(np.random.default_rng(seed), 2, keys, d)
    model = RandomFeatureHeads.draw(heads, d, seed, bias)
    Phi = model.features(X)
    np.testing.assert_allclose(Phi, formula(model, X), atol=1e-12)
    np.testing.assert_allclose(model.features(X, slice(0, 1)), Phi[:, : d + 1], atol=1e-14)
    shuffled = np.concatenate([X[:, :1], X[:, :0:-1]], 1)
    np.testing.assert_allclose(model.features(shuffled), Phi, atol=1e-14)


def test_the_mlp_sees_the_order():
    X = unit_tokens(np.random.default_rng(0), 2, 3, 4)
    model = RandomFeatureMLP.draw(50, 4, 3)
    shuffled = np.concatenate([X[:, :1], X[:, :0:-1]], 1)
    assert np.abs(model.features(shuffled) - model.features(X)).max() > 0.01


def test_the_deviation_falls_with_the_root_of_the_heads():
    X = unit_tokens(np.random.default_rng(0), 10, 4, 4)
    sizes = np.array([10, 40, 160, 640])
    off = [
        np.mean([
            np.linalg.norm((F := (m := RandomFeatureHeads.draw(M, 4, s)).features(X)) @ F.T
                           - m.kernel(X, X))
            for s in range(40)
        ])
        for M in sizes
    ]  # fmt: skip
    assert np.polyfit(np.log(sizes), np.log(off), 1)[0] == pytest.approx(-0.5, abs=0.05)
