"""Attention on the first token when nothing distinguishes the tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.attention_metrics import sink_rate, sink_weight
from dsf.solvers.heads.interventions import softmax

statement = (
    "Causal uniform rows give the mean attention alpha_1 = H_T / T on the first token (0.0741 at "
    "T = 64); sum_k (T-k+1) alpha_k = T for any rows that sum to one. With logits in [-xi, xi] "
    "A_t1 <= e^{2 xi} / (e^{2 xi} + t - 1), and with linear position biases weights fall with "
    "distance."
)
reference = "gu2024 (arXiv 2410.10781), repeated tokens; H_T / T follows"
falsified_by = "another value of alpha_1, a row that beats the bound, or a rising weight"


def causal(logits: np.ndarray) -> np.ndarray:
    return softmax(np.where(np.tri(len(logits), dtype=bool), logits, -np.inf))


def claim(T: int = 64):
    """alpha_1 of identical tokens against H_T / T."""
    return sink_weight(causal(np.zeros((T, T)))), np.sum(1 / np.arange(1, T + 1)) / T, 1e-14


@pytest.mark.parametrize("T", [1, 2, 64, 300])
def test_uniform_rows(T: int) -> None:
    computed, theory, tolerance = claim(T)
    assert abs(computed - theory) <= tolerance


def test_value_at_64() -> None:
    assert round(float(claim(64)[0]), 4) == 0.0741
    assert sink_rate(causal(np.zeros((64, 64)))) == 0.0


@given(st.integers(2, 40), st.integers(0, 99))
def test_weights_add_up_to_the_length(T: int, seed: int) -> None:
    A = causal(3 * np.random.default_rng(seed).standard_normal((T, T)))
    total = sum((T - k + 1) * sink_weight(A, k) for k in range(1, T + 1))
    assert total == pytest.approx(T, rel=1e-13)


@given(st.integers(2, 40), st.integers(0, 99), st.floats(0, 4))
def test_bounded_logits_bound_the_sink(T: int, seed: int, xi: float) -> None:
    """Rotary positions on repeated tokens: |q'R k| <= |q||k| = xi."""
    rng = np.random.default_rng(seed)
    q, k = rng.standard_normal((2, 8))
    q, k = (np.sqrt(xi) * v / np.linalg.norm(v) for v in (q, k))
    pairs = 0.1 ** np.arange(4) * np.arange(T)[:, None]
    turn = np.exp(1j * pairs)  # [T 4]: rotations of the four pairs of coordinates
    qs, ks = ((v[:4] + 1j * v[4:]) * turn for v in (q, k))
    logits = (qs @ ks.conj().T).real
    assert np.abs(logits).max() <= xi + 1e-12
    t = np.arange(1, T + 1)
    assert np.all(causal(logits)[:, 0] <= 1 / (1 + (t - 1) * np.exp(-2 * xi)) + 1e-12)


@given(st.integers(2, 40), st.floats(1e-3, 1))
def test_linear_biases_prefer_near_tokens(T: int, slope: float) -> None:
    i = np.arange(T)
    last = causal(slope * (i[None, :] - i[:, None]))[-1]
    assert np.all(np.diff(last) > 0)


@given(st.integers(2, 64), st.floats(1e-3, 1))
def test_linear_biases_leave_no_sink(T: int, slope: float) -> None:
    """Less attention on the first token than uniform rows give it, in every row."""
    i = np.arange(T)
    A = causal(slope * (i[None, :] - i[:, None]))
    assert np.all(A[1:, 0] < 1 / (i[1:] + 1))
    assert sink_weight(A) < claim(T)[0]


@pytest.mark.parametrize("T", [2, 64])
def test_identical_tokens_give_uniform_rows(T: int) -> None:
    """Without positions every key has the same logit, whatever the weights: A_ti = 1/t."""
    x = np.tile(np.random.default_rng(0).standard_normal(6), (T, 1))
    W = np.random.default_rng(1).standard_normal((6, 6))
    A = causal(x @ W @ x.T)
    np.testing.assert_allclose(A, np.tri(T) / np.arange(1, T + 1)[:, None], atol=1e-14)
