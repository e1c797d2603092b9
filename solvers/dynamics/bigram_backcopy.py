"""The Bigram-Backcopy task.

A Markov chain over `vocabulary` tokens, except after triggers: x_{t+1} = x_{t-1} if x_t is a
trigger, else x_{t+1} ~ P(. | x_t); x_0 is a start token (Guo et al. 2024, arXiv 2410.13835, with a
random chain instead of letters of Shakespeare).  Only trigger tokens need attention: for the others
the sink on the start token says "do nothing".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.solvers.svm.problem import Array

LEAST = 1e-300  # probabilities that underflow to 0 in the draw: their logarithm stays finite


@dataclass(frozen=True, eq=False)
class Task:
    """P [V V] rows of the chain, `triggers`, the marginal of the first token; V is the start token.

    >>> task = draw_task()
    >>> sorted(task.triggers.tolist()), round(float(task.stationary[task.triggers].sum()), 3)
    ([0, 10, 12], 0.15)
    """

    P: Array
    stationary: Array
    triggers: Array

    @property
    def V(self) -> int:
        """The size of the vocabulary without the start token."""
        return len(self.P)

    def sequences(self, rng: np.random.Generator, count: int, length: int) -> Array:
        """[count length + 1] tokens: inputs are all but the last, targets all but the first."""
        cumulative = np.cumsum(self.P, axis=1)
        first = self.stationary.copy()
        first[self.triggers] = 0
        is_trigger = np.isin(np.arange(self.V + 1), self.triggers)
        x = np.full((count, length + 1), self.V)
        x[:, 1] = np.searchsorted(np.cumsum(first / first.sum()), rng.random(count))
        for t in range(2, length + 1):
            last = x[:, t - 1]
            drawn = (rng.random(count)[:, None] > cumulative[last]).sum(axis=1)
            x[:, t] = np.where(is_trigger[last], x[:, t - 2], np.minimum(drawn, self.V - 1))
        return x

    def oracle_loss(self, x: Array) -> Array:
        """-log probability of x_{t+1} in the true model, t >= 1: [count length-1]."""
        now, following = x[:, 1:-1], x[:, 2:]
        loss = -np.log(self.P[now, following])
        return np.where(np.isin(now, self.triggers), 0.0, loss)


def draw_task(V: int = 32, triggers: int = 3, alpha: float = 0.3, seed: int = 0) -> Task:
    """Rows of P from a Dirichlet; triggers are the most frequent tokens of the chain."""
    P = np.random.default_rng(seed).dirichlet(np.full(V, alpha), V)
    P = np.maximum(P, LEAST)
    values, vectors = np.linalg.eig(P.T)
    stationary = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    stationary /= stationary.sum()
    return Task(P, stationary, np.argsort(-stationary)[:triggers])
