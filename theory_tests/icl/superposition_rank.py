"""How many tasks a layer of softmax heads serves at first order: one fewer than it has heads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.errors import DomainError
from dsf.solvers.icl.tasks import Tasks, realise, scaled_heads
from dsf.solvers.icl.training import predict

statement = (
    "For small omega, heads with diagonal KQ_h = Omega_h and values mu_th with sum_h mu_th = 0 "
    "serve task t by a debiased gradient step with the matrix D_t = sum_h mu_th Omega_h. Diagonals "
    "D_1 ... D_N can be had from H heads if and only if they span at most H - 1 dimensions: N + 1 "
    "heads suffice for N tasks. The error is O(omega) in general and O(omega^2) for 2N heads in "
    "+- pairs."
)
reference = "derived; he2025 reports superposition for N < H < 2N"
falsified_by = "heads of sum zero that realise more than H - 1 independent diagonals"

TASKS = Tasks()


def pairs(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2N heads, a pair for each task: Omega [2N d], mu [N 2N]."""
    N = len(targets)
    Omega = np.concatenate([targets, -targets])
    return Omega, np.concatenate([np.eye(N), -np.eye(N)], -1) / 2


def steps(X: np.ndarray, y: np.ndarray, query: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Debiased gradient steps with diagonal matrices, task by task [B N]."""
    centred = X - X.mean(-2, keepdims=True)
    g = np.einsum("bld,blt->btd", centred, y) / X.shape[-2]
    return np.einsum("bd,td,btd->bt", query, targets, g)


def errors(Omega: np.ndarray, mu: np.ndarray, sizes: tuple[float, ...]) -> np.ndarray:
    """Root mean square of a layer of softmax heads less the steps it stands for."""
    u, _ = TASKS.draw(0, 200)
    X, y, query = u[:, :-1, : TASKS.d], u[:, :-1, TASKS.d :], u[:, -1, : TASKS.d]
    exact = steps(X, y, query, mu @ Omega)
    found = [predict(*scaled_heads(Omega, mu, size), u) for size in sizes]
    return np.array([np.sqrt(np.mean((y - exact) ** 2)) for y in found])


def claim():
    """Three heads for two tasks: the diagonals they realise, and the order of their error; the
    order for two pairs."""
    targets = TASKS.best_diagonals()
    Omega, mu = realise(targets, 3)
    sizes = (0.04, 0.02, 0.01)
    slopes = [np.polyfit(np.log(sizes), np.log(errors(*heads, sizes)), 1)[0]
              for heads in ((Omega, mu), pairs(targets))]  # fmt: skip
    return [(mu @ Omega, targets, 1e-12), (mu.sum(-1), np.zeros(2), 1e-12),
            (np.array(slopes), np.array([1.0, 2.0]), 0.1)]  # fmt: skip


def test_claim_holds() -> None:
    for computed, theory, tolerance in claim():
        np.testing.assert_allclose(computed, theory, rtol=0, atol=tolerance)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10**6))
def test_as_many_heads_as_the_rank_and_one(N: int, d: int, seed: int) -> None:
    targets = np.random.default_rng(seed).standard_normal((N, d))
    rank = np.linalg.matrix_rank(targets)
    for heads in (rank + 1, rank + 2):
        Omega, mu = realise(targets, heads)
        assert Omega.shape == (heads, d) and mu.shape == (N, heads)
        np.testing.assert_allclose(mu @ Omega, targets, atol=1e-10)
        np.testing.assert_allclose(mu.sum(-1), 0, atol=1e-12)
    with pytest.raises(DomainError, match="independent"):
        realise(targets, rank)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_no_heads_do_better(N: int, heads: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mu, Omega = rng.standard_normal((N, heads)), rng.standard_normal((heads, d))
    mu -= mu.mean(-1, keepdims=True)
    rank = np.linalg.matrix_rank(mu @ Omega, rtol=1e-10)  # far above rounding
    assert rank <= min(N, heads - 1, d)
