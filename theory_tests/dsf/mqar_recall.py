"""Associative recall: exact in the operator norm needs a state per pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.theory_tests import judge
from dsf.verdicts.separations import recall_gap, recall_operator

statement = (
    "K pairs read back in any order give a Hankel block that is a permutation matrix: all its K "
    "singular values are 1, so every recurrence with n < K states is at least 1 away in the "
    "operator norm, and the zero operator is exactly 1 away. For decoding by the largest score "
    "less is needed: with K = 1024 pairs and n = 128 random signs per key all wrong scores stay "
    "below 1/2, while the operator norm of the error is above 10. So a capacity has a meaning only "
    "for a given norm."
)
reference = "dsf2026; Eckart and Young; the task: sieber2024"
falsified_by = "A recurrence with fewer than K states closer than 1 to the recall of K pairs."


def cross_talk(K: int, n: int, seed: int) -> tuple[float, float]:
    """(largest wrong score, operator norm of the error) of n-dimensional random signs as keys."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (K, n))
    error = signs @ signs.T / n - np.eye(K)
    return float(np.abs(error).max()), float(np.linalg.norm(error, 2))


def claim(K: int = 16, seed: int = 0) -> list:
    """Singular values of the block for a random order, and the certificate."""
    order = [int(i) for i in np.random.default_rng(seed).permutation(K)]
    sigma = np.linalg.svd(recall_operator(K, order)[K:, :K], compute_uv=False)
    return [(sigma, np.ones(K), 1e-14), recall_gap(K, order)]


@pytest.mark.parametrize("K", [1, 2, 16, 64])
def test_the_claim_holds(K):
    assert judge(claim(K)).holds


@given(st.integers(2, 12), st.data())
def test_no_smaller_rank_is_closer_than_one(K, data):
    n = data.draw(st.integers(0, K - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    M = recall_operator(K)
    other = np.tril(rng.standard_normal((2 * K, 2 * K)))
    U, sigma, V = np.linalg.svd(M[K:, :K] + 0.1 * rng.standard_normal((K, K)))
    other[K:, :K] = (U[:, :n] * sigma[:n]) @ V[:n]
    assert np.linalg.norm(M - other, 2) >= float(recall_gap(K).lower or 0) - 1e-12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_decoding_needs_less(seed):
    largest, norm = cross_talk(1024, 128, seed)
    assert 0.35 < largest < 0.5 and 10 < norm < 16
