"""The two gradients of one attention layer in its pair variables, against automatic ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.dynamics.scan_snap import Classes
from dsf.solvers.dynamics.sequence_classes import Task, ascent

statement = (
    "With Y = U W_V' U', Z = U W_Q W_K' U'/sqrt(d) the gradients for one sequence are dY = "
    "LN(X'b)(x_{T+1} - alpha)' and dZ = x_T (x_{T+1} - alpha)' Y' (P_perp / |X'b|) X' diag(b) X. "
    "Only the row of the last token of Z moves, and Y 1 = Z 1 = 0 is conserved."
)
reference = "tian2023, lemma 1"
falsified_by = "an automatic derivative that differs, another row that moves, or a sum that drifts"


def draw(seed: int, M: int = 7, T: int = 9, d: int = 5):
    """One-hot X [T-1 M], last and next token, weights U, W_V, W_Q, W_K of the original model."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(M, size=T + 1)
    U, *W = (rng.standard_normal(s) for s in ((M, d), (d, d), (d, d), (d, d)))
    return np.eye(M)[tokens[:-2]], int(tokens[-2]), int(tokens[-1]), U, W


def pair(U: np.ndarray, W: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(Y, Z) of the weights."""
    return U @ W[0].T @ U.T, U @ W[1] @ W[2].T @ U.T / np.sqrt(U.shape[1])


def lemma(X: np.ndarray, m: int, n: int, Y: np.ndarray, Z: np.ndarray):
    """The two gradients as the lemma writes them."""
    M = X.shape[1]
    b = np.exp(X @ Z[m])
    b /= b.sum()
    v = X.T @ b
    f = v / np.linalg.norm(v)
    e = np.exp(Y.T @ f)
    error = np.eye(M)[n] - e / e.sum()
    across = (np.eye(M) - np.outer(f, f)) / np.linalg.norm(v)
    return np.outer(f, error), np.outer(np.eye(M)[m], error @ Y.T @ across @ X.T @ np.diag(b) @ X)


def likelihood(X, m, n, Y, Z):
    """log alpha_n of the pair variables, in torch."""
    import torch

    v = torch.softmax(X @ Z[m], 0) @ X
    return torch.log_softmax(Y.T @ (v / v.norm()), 0)[n]


def claim(seed: int = 0):
    """Both gradients of the lemma against automatic differentiation."""
    import torch

    X, m, n, U, W = draw(seed)
    Y, Z = pair(U, W)
    y, z = (torch.tensor(a, requires_grad=True) for a in (Y, Z))
    likelihood(torch.tensor(X), m, n, y, z).backward()
    found = lemma(X, m, n, Y, Z)
    return [(found[0], y.grad.numpy(), 1e-12), (found[1], z.grad.numpy(), 1e-11)]


@given(st.integers(0, 10_000))
def test_lemma_is_the_automatic_gradient(seed: int) -> None:
    for computed, theory, tolerance in claim(seed):
        np.testing.assert_allclose(computed, theory, rtol=1e-10, atol=tolerance)


@given(st.integers(0, 10_000))
def test_the_pair_variables_carry_the_original_objective(seed: int) -> None:
    """u_n' W_V U' LN(X'b) - log sum exp, with b from the embeddings, is the same number."""
    X, m, n, U, W = draw(seed)
    b = np.exp(U[m] @ W[1] @ W[2].T @ (X @ U).T / np.sqrt(U.shape[1]))
    v = X.T @ (b / b.sum())
    s = U @ W[0] @ U.T @ (v / np.linalg.norm(v))
    import torch

    value = likelihood(torch.tensor(X), m, n, *(torch.tensor(a) for a in pair(U, W)))
    assert float(value) == pytest.approx(s[n] - np.logaddexp.reduce(s), abs=1e-10)


@given(st.integers(0, 10_000))
def test_only_one_row_moves_and_the_sums_stay(seed: int) -> None:
    X, m, n, U, W = draw(seed)
    Y, Z = pair(U, W)
    dY, dZ = lemma(X, m, n, Y, Z)
    scale = max(1.0, np.abs(Y).max())
    np.testing.assert_allclose(dY.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(dZ.sum(1), 0, atol=1e-11 * scale)
    assert not np.delete(dZ, m, axis=0).any() and np.abs(dZ[m]).max() > 0
    assert not dZ[:, X.sum(0) == 0].any()  # tokens that do not occur get no gradient


@given(st.integers(0, 10_000))
def test_the_batched_gradients_of_the_solver_are_the_means(seed: int) -> None:
    """`ascent` from counts, against the lemma sequence by sequence."""
    rng = np.random.default_rng(seed)
    K, M, B = 3, 7, 5
    task = Task(Classes(rng.dirichlet(np.ones(M), K)), np.array([0, 1, 1]), outputs=M)
    n = rng.integers(K, size=B)
    counts = rng.multinomial(9, task.classes.P[n])
    Y, Z = rng.standard_normal((M, M)), rng.standard_normal((2, M))
    _, dY, dZ = ascent(task, counts, n, Y, Z)
    rows = np.pad(Z, ((0, M - 2), (0, 0)))  # the lemma has a row for every token
    slow = [
        lemma(np.repeat(np.eye(M), c, axis=0), int(task.query[k]), int(k), Y, rows)
        for c, k in zip(counts, n, strict=True)
    ]
    np.testing.assert_allclose(dY, np.mean([g[0] for g in slow], axis=0), atol=1e-12)
    np.testing.assert_allclose(dZ, np.mean([g[1][:2] for g in slow], axis=0), atol=1e-12)


@pytest.mark.parametrize("T", [100, 10_000])
def test_long_sequences_have_the_population_attention(T: int) -> None:
    """X'b -> c_n with c ~ P(.|n) e^z: the error falls like 1/sqrt(T)."""
    rng = np.random.default_rng(0)
    P, z = rng.dirichlet(np.ones(8)), rng.standard_normal(8)
    c = Classes(P[None]).attention(z)[0]
    w = rng.multinomial(T, P, size=400) * np.exp(z)
    error = np.linalg.norm(w / w.sum(1, keepdims=True) - c, axis=1).mean()
    # first order: c_l (e_l - sum c_j e_j) with relative errors e of the counts, variance 1/(P T)
    theory = np.sqrt(np.sum(c**2 / P * (1 - 2 * c)) + np.sum(c**2) * np.sum(c**2 / P)) / np.sqrt(T)
    assert error == pytest.approx(theory, rel=0.15)
