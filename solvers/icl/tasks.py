"""Several regressions in one prompt: tokens (x, y_1, ..., y_N), a task on some coordinates each.

    y_t = beta_t'x_(t) + e_t,   beta_t ~ N(0, I),   e_t ~ N(0, noise_var |S_t|)

x_(t) are the coordinates S_t of x ~ N(0, I); the targets beta_t'x_q(t) have no noise.
Source: He et al. 2025, arXiv 2503.12734, and its published code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError
from dsf.solvers.icl.estimators import prompt_tokens
from dsf.solvers.icl.optimal import ICLOptimum, icl_optimal
from dsf.solvers.icl.prompts import Array

RANK = 1e-12  # relative: smaller singular values of the targets count as zero


@dataclass(frozen=True)
class Tasks:
    """Tasks on the coordinates `supports` of d, in prompts of one length.

    >>> u, target = Tasks().draw(0, 3)
    >>> u.shape, target.shape
    ((3, 49, 8), (3, 2))
    """

    d: int = 6
    supports: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3), (2, 3, 4, 5))
    length: int = 48
    noise_var: float = 0.1

    def masks(self) -> Array:
        """1 where a task uses a coordinate [N d].

        >>> Tasks().masks()
        array([[1., 1., 1., 1., 0., 0.],
               [0., 0., 1., 1., 1., 1.]])
        """
        return np.array([[float(i in s) for i in range(self.d)] for s in self.supports])

    def draw(self, rng: Any, count: int, dtype: Any = np.float64) -> tuple[Array, Array]:
        """Tokens u [B L+1 d+N] and targets [B N]."""
        rng, masks = np.random.default_rng(rng), self.masks().astype(dtype)
        X = rng.standard_normal((count, self.length, self.d), dtype)
        query = rng.standard_normal((count, self.d), dtype)
        beta = rng.standard_normal((count, len(masks), self.d), dtype) * masks
        noise = rng.standard_normal((count, self.length, len(masks)), dtype)
        sigma = np.sqrt(self.noise_var * masks.sum(-1)).astype(dtype)
        y = X @ np.swapaxes(beta, -1, -2) + sigma * noise
        return prompt_tokens(X, y, query), np.einsum("btd,bd->bt", beta, query)

    def best_diagonals(self) -> Array:
        """The best debiased step of each task, on its own coordinates [N d].

        >>> Tasks().best_diagonals()[0].round(4).tolist()
        [0.916, 0.916, 0.916, 0.916, 0.0, 0.0]
        """
        return np.array([best.step for best in self._best()])[:, None] * self.masks()

    def least_risk(self) -> Array:
        """Of each task, the risk of its best debiased step on its own coordinates [N].

        >>> Tasks().least_risk().round(4).tolist()
        [0.4122, 0.4122]
        """
        noise = self.noise_var * self.masks().sum(-1)
        return np.array([best.value for best in self._best()]) - noise  # the target has none

    def _best(self) -> list[ICLOptimum]:
        sizes = [len(support) for support in self.supports]
        return [
            icl_optimal("debiased_gd", m, self.length, self.noise_var * m, prior=np.eye(m))
            for m in sizes
        ]

    def batches(self, rng: Any, batch: int) -> Iterator[tuple[Array, Array]]:
        """Fresh batches without end, float32."""
        rng = np.random.default_rng(rng)
        while True:
            yield self.draw(rng, batch, np.float32)


def realise(targets: Array, heads: int) -> tuple[Array, Array]:
    """Diagonals Omega [H d] of heads and values mu [N H] of sum zero with mu Omega = targets [N d].

    Raises DomainError where targets span more than heads - 1 dimensions: then there are none.

    >>> Omega, mu = realise(np.array([[1.0, 0.0], [0.0, 2.0]]), 3)
    >>> bool(np.allclose(mu @ Omega, [[1.0, 0.0], [0.0, 2.0]])), bool(abs(mu.sum(-1)).max() < 1e-15)
    (True, True)
    """
    targets = np.asarray(targets, np.float64)
    U, size, V = np.linalg.svd(targets, full_matrices=False)
    rank = int(np.sum(size > RANK * size[0])) if size.size else 0
    if rank > heads - 1:
        raise DomainError(
            f"realise: {heads} heads whose values sum to zero realise at most {heads - 1} "
            f"independent diagonals; got {rank}. Use {rank + 1} heads."
        )
    # rows orthogonal to (1, ..., 1): the last columns of a full basis that starts with it
    basis = np.linalg.qr(np.column_stack([np.ones(heads), np.eye(heads)]))[0][:, 1 : rank + 1].T
    root = np.sqrt(size[:rank])
    return basis.T @ (root[:, None] * V[:rank]), U[:, :rank] * root @ basis


def scaled_heads(Omega: Array, mu: Array, size: float) -> tuple[Array, Array]:
    """Circuits KQ [H D D] and OV [H N D] of heads `size` Omega, mu/size on tokens (x, y).

    >>> KQ, OV = scaled_heads(np.ones((2, 1)), np.array([[1.0, -1.0]]), 0.1)
    >>> KQ[0].tolist(), OV[1].tolist()
    ([[0.1, 0.0], [0.0, 0.0]], [[0.0, -10.0]])
    """
    (H, d), N = Omega.shape, len(mu)
    KQ, OV = np.zeros((H, d + N, d + N)), np.zeros((H, N, d + N))
    KQ[:, np.arange(d), np.arange(d)] = size * Omega
    OV[:, np.arange(N), d + np.arange(N)] = mu.T / size
    return KQ, OV
