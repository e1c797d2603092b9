"""Several regressions in one prompt: tokens (x, y_1, ..., y_N), each task on coordinates of its own.

    y_t = beta_t'x_(t) + e_t,   beta_t ~ N(0, I),   e_t ~ N(0, noise_var |S_t|)

x_(t) are the coordinates S_t of x ~ N(0, I); the targets beta_t'x_q(t) have no noise.
Source: He et al. 2025, arXiv 2503.12734, and its published code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.solvers.icl.estimators import prompt_tokens
from dsf.solvers.icl.prompts import Array


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

    def batches(self, rng: Any, batch: int) -> Iterator[tuple[Array, Array]]:
        """Fresh batches without end, float32."""
        rng = np.random.default_rng(rng)
        while True:
            yield self.draw(rng, batch, np.float32)
