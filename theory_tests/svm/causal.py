"""An output at every position: training converges in direction to the causal attention-SVM."""

from __future__ import annotations

import numpy as np
import pytest

from dsf.solvers import causal_svm
from dsf.solvers.dynamics.descent import scaled_gradient
from dsf.theory_tests import judge

statement = (
    "One head whose position k attends to the positions t <= k, with one chosen token a_k each and "
    "equal scores of the others: normalised gradient descent on the mean loss of all positions has "
    "W/|W| -> W_mm/|W_mm|, the solution with (x_{a_k} - x_t)' W x_k >= 1 for all t <= k."
)
reference = "tarzanagh2023, extension to causal sequences"
falsified_by = "a run in which every position selects its token and the direction does not converge"


def claim(seed: int = 0, n: int = 2, T: int = 4, d: int = 6, steps: int = 4000) -> list:
    """The correlation after steps/5 and after all steps, and the normalised margin."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, T, d))
    chosen = np.array([[rng.integers(0, k + 1) for k in range(T)] for _ in range(n)])
    s = causal_svm(X, chosen)
    scores = np.zeros((n, T, T))  # sample, position, token
    np.put_along_axis(scores, chosen[:, :, None], 1.0, axis=2)
    W, off = np.zeros((d, d)), []
    for step in range(1, steps + 1):
        G = gradient(W, X, scores)
        W = W - 0.1 * G / np.linalg.norm(G)
        if step in (steps // 5, steps):
            off.append(1 - float(np.sum(W * s.W) / np.linalg.norm(W) / s.value))
    margin = float(s.problem.margins(W / np.linalg.norm(W)).min()) * s.value
    return [
        (1 - off[1], 1.0, 1e-3),
        (max(off[1] / off[0], 0.2), 0.2, 0.0),  # still falling
        (margin, 1.0, 0.02),
        s.certificate,
    ]


def gradient(W: np.ndarray, X: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of the mean logistic loss over all positions from the second on, up to a positive factor.

    Position k is a head on the tokens up to k with query x_k.
    """
    parts = [
        scaled_gradient(W[None], X[None, :, : k + 1], X[None, :, k], scores[None, :, k, : k + 1])
        for k in range(1, X.shape[1])
    ]
    top = max(shift[0] for _, shift in parts)
    return sum(np.exp(shift[0] - top) * G[0] for G, shift in parts)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_every_position(seed):
    judgement = judge(claim(seed))
    assert judgement.holds, "\n".join(judgement.lines)


def test_the_gradient_is_the_one_of_the_masked_loss():
    """Central differences of the loss with a masked softmax."""
    rng = np.random.default_rng(0)
    X, W, E = rng.standard_normal((2, 4, 5)), *rng.standard_normal((2, 5, 5))
    scores = rng.standard_normal((2, 4, 4))

    def loss(W):
        a = np.einsum("ntd,de,nke->nkt", X, W, X)
        a = np.where(np.tri(4, dtype=bool), a, -np.inf)
        s = np.exp(a - np.logaddexp.reduce(a, axis=2, keepdims=True))
        return np.sum(np.logaddexp(0.0, -np.sum(s * scores, axis=2))[:, 1:])

    slope = (loss(W + 1e-6 * E) - loss(W - 1e-6 * E)) / 2e-6
    other = (loss(W + 1e-6 * E.T) - loss(W - 1e-6 * E.T)) / 2e-6
    G = gradient(W, X, scores)
    assert np.isclose(np.sum(G * E) / np.sum(G * E.T), slope / other, rtol=1e-6)
