"""FAVOR+ random features: unbiased, with the variance of its formula."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.core.draws import orthogonal_rows
from dsf.core.errors import UnknownNameError
from dsf.mechanisms.linear.features import RANDOM, feature_map

DRAWS = 100_000


@pytest.mark.parametrize("n", [1, 3])
def test_directions_are_gaussian(n):
    rows = orthogonal_rows(np.random.default_rng(0), (DRAWS, n))
    error = 5 / np.sqrt(DRAWS)  # five standard deviations
    assert np.abs(rows.mean(0)).max() < error
    assert np.abs(rows.T @ rows / DRAWS - np.eye(n)).max() < 3 * error
    if n > 1:
        block = rows[:n] @ rows[:n].T
        assert np.abs(block - np.diag(np.diagonal(block))).max() < 1e-12


def test_features_are_unbiased_with_the_known_variance():
    """E = e^{x'y},  Var = e^{2x'y} (e^{|x+y|^2} - 1) for a single feature."""
    rng = np.random.default_rng(1)
    x, y = 0.4 * rng.standard_normal((2, 3))
    omega = orthogonal_rows(rng, (DRAWS, 3))
    phi, psi = (feature_map("favor", z, omega=omega) for z in (x, y))
    single = phi * psi * DRAWS
    mean, variance = np.exp(x @ y), np.exp(2 * x @ y) * (np.exp((x + y) @ (x + y)) - 1)
    assert abs(single.mean() - mean) < 5 * np.sqrt(variance / DRAWS)
    assert single.var() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("name", RANDOM)
def test_random_features_are_the_same_in_torch(name):
    import torch

    x, omega = np.random.default_rng(0).standard_normal((2, 4, 3))
    found = feature_map(name, torch.tensor(x), omega=torch.tensor(omega), A=-0.1)
    np.testing.assert_allclose(found, feature_map(name, x, omega=omega, A=-0.1), rtol=1e-13)
    with pytest.raises(UnknownNameError, match="need their directions"):
        feature_map(name, x)
