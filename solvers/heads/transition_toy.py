"""Learning the transition matrix of a small graph with softmax rows, with a scale per token or not.

    Q = softmax_j(tau_i e_i'W e_j),   least   mean_i KL(P_i || Q_i) + ridge |W|_F^2

after the toy of selective self-attention (Zhang et al. 2024, arXiv 2411.12892).  Rows of P have
one, two, four or eight equal entries: some have to be sharp, some flat.  tau_i = 1 without scales,
and 1 + tanh(f_i) in (0, 2), f_i free, with them.  The bound is part of the problem: for free tau
only tau W counts, and |W| could be made as small as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.core import ops
from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.svm.instances import log_softmax, unit
from dsf.solvers.svm.problem import Array

DEGREES = (1, 2, 4, 8)
START = 0.01  # size of the first weights
OPTIMAL = {"ftol": 1e-12, "gtol": 1e-7}  # L-BFGS: far below the differences in KL that are shown


@dataclass(frozen=True)
class Fit:
    """W [d d], temperatures tau [V], learned rows Q [V V], mean KL(P || Q) in nats."""

    W: Array
    tau: Array
    rows: Array
    kl: float
    converged: bool

    @property
    def size(self) -> float:
        """max tau |W|_F, which stays the same when a factor moves from tau to W."""
        return float(self.tau.max() * np.linalg.norm(self.W))

    def l1(self, P: Array) -> float:
        """Mean over rows of |P_i - Q_i|_1."""
        return float(np.abs(P - self.rows).sum(axis=1).mean())


def graph(seed: int, V: int = 12, d: int = 6) -> tuple[Array, Array]:
    """(unit embeddings [V d], transition matrix P [V V]) with 1, 2, 4 or 8 neighbours in turn.

    >>> E, P = graph(0)
    >>> (P > 0).sum(axis=1)
    array([1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8])
    """
    rng = np.random.default_rng(seed)
    E = rng.standard_normal((V, d))
    P = np.zeros((V, V))
    for i in range(V):
        degree = DEGREES[i % len(DEGREES)]
        P[i, rng.choice(V, degree, replace=False)] = 1 / degree
    return unit(E), P


def loss(x: Array, E: Array, P: Array, ridge: float) -> tuple[float, Array]:
    """(mean KL + ridge |W|^2, gradient) at x = (W, f), or (W) for tau = 1.

    >>> E, P = graph(0)
    >>> value, _ = loss(np.zeros(36), E, P, 0.1)        # uniform rows: log 12 - H(P)
    >>> bool(np.isclose(value, np.mean(np.log(12) - entropy(P))))
    True
    """
    d = E.shape[1]
    W, f = x[: d * d].reshape(d, d), x[d * d :]
    tau = temperatures(x, E)
    s = E @ W @ E.T
    logits = tau[:, None] * s
    cross = -np.sum(P * log_softmax(logits), axis=1)
    value = np.mean(cross - entropy(P)) + ridge * np.sum(W**2)
    slope = (ops.softmax(logits) - P) / len(P)
    dW = E.T @ (tau[:, None] * slope) @ E + 2 * ridge * W
    df = np.sum(slope * s, axis=1)[: len(f)] * (1 - np.tanh(f) ** 2)
    return float(value), np.concatenate([dW.ravel(), df])


def temperatures(x: Array, E: Array) -> Array:
    """tau [V] at x = (W, f) or (W)."""
    V, d = E.shape
    return 1 + np.tanh(x[d * d :]) if x.size > d * d else np.ones(V)


def fit(E: Array, P: Array, ridge: float, scales: bool, steps: int = 3000) -> Fit:
    """A local minimum found by L-BFGS from small random weights and tau = 1.

    >>> E, P = graph(0)
    >>> [round(fit(E, P, 1e-2, scales).kl, 2) for scales in (False, True)]
    [1.03, 0.71]
    """
    from scipy.optimize import minimize

    V, d = E.shape
    x = np.zeros(d * d + V * scales)
    x[: d * d] = START * np.random.default_rng(0).standard_normal(d * d)
    options = {"maxiter": steps, "maxfun": 2 * steps, **OPTIMAL}
    found = minimize(loss, x, (E, P, ridge), jac=True, method="L-BFGS-B", options=options)
    W, tau = found.x[: d * d].reshape(d, d), temperatures(found.x, E)
    rows = ops.softmax(tau[:, None] * (E @ W @ E.T))
    kl = loss(found.x, E, P, 0.0)[0]
    return Fit(W, tau, rows, kl, bool(found.success))
