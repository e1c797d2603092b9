"""Active-dormant heads: the simplified dynamics of a sink logit and its value.

Non-trigger token v of V, sink logit alpha_v, shared value beta [V] of the first token; the other
keys have total weight W and total value zbar [V] (Guo et al. 2024, arXiv 2410.13835, the loss of
its code):

    q_v = softmax((e^{alpha_v} beta + zbar) / (e^{alpha_v} + W) + log p_v)
    loss = sum_v pi_v KL(p_v | q_v)

Laws under gradient flow:
    beta pinned at a constant   alpha_v(t) = (1/2) log(2 pi_v Var_{p_v}(zbar) t) + o(1): no bound
    alpha pinned at a           beta(t) -> mean(beta(0)) - e^{-a} (zbar - mean(zbar)), exponentially
    both free                   they stop at a finite, common alpha: the loss is zero there
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.core import ops
from dsf.core.errors import ShapeError
from dsf.solvers.dynamics.flows import integrate
from dsf.solvers.svm.problem import Array

RTOL, ATOL = 1e-10, 1e-13  # of the integrator: far below what the laws leave open


@dataclass(frozen=True, eq=False)
class Sink:
    """The data of the simplified model: p [V V'] rows, pi [V], zbar [V'], W > 0."""

    p: Array
    pi: Array
    zbar: Array
    W: float

    def __post_init__(self) -> None:
        if (
            self.p.ndim != 2
            or self.pi.shape != self.p.shape[:1]
            or self.zbar.shape != self.p.shape[1:]
        ):
            raise ShapeError(
                f"Sink: needs p [V U], pi [V], zbar [U]; got {self.p.shape}, {self.pi.shape}, "
                f"{self.zbar.shape}"
            )

    def predicted(self, alpha: Array, beta: Array) -> Array:
        """q [V U]."""
        weight = np.exp(alpha)[:, None]
        s = (weight * beta + self.zbar) / (weight + self.W) + np.log(self.p)
        return np.asarray(ops.softmax(s))

    def loss(self, alpha: Array, beta: Array) -> float:
        """sum_v pi_v KL(p_v | q_v)."""
        q = self.predicted(alpha, beta)
        return float(np.sum(self.pi * np.sum(self.p * np.log(self.p / q), axis=1)))

    def gradients(self, alpha: Array, beta: Array) -> tuple[Array, Array]:
        """The derivatives of the loss in alpha [V] and in beta [U].

        d/d alpha_v = pi_v e^alpha / (e^alpha + W)^2 (q_v - p_v)'(W beta - zbar)
        d/d beta    = sum_v pi_v e^alpha / (e^alpha + W) (q_v - p_v)

        >>> s = draw(0)
        >>> a, b, step = np.zeros(4), np.arange(8.0), 1e-6
        >>> e = np.eye(8)[3] * step
        >>> slope = (s.loss(a, b + e) - s.loss(a, b - e)) / (2 * step)
        >>> bool(abs(s.gradients(a, b)[1][3] - slope) < 1e-8)
        True
        """
        error = self.predicted(alpha, beta) - self.p
        weight = np.exp(alpha)
        share = self.pi * weight / (weight + self.W)
        d_alpha = share / (weight + self.W) * (error @ (self.W * beta - self.zbar))
        return d_alpha, share @ error

    def variance(self) -> Array:
        """Var_{p_v}(zbar) [V]."""
        mean = self.p @ self.zbar
        return self.p @ self.zbar**2 - mean**2

    def logarithmic_law(self, t: Array) -> Array:
        """(1/2) log(2 pi_v Var t) [times V]: the sink logits when beta is pinned at a constant."""
        rate = 2 * self.pi * self.variance()
        return np.log(rate * np.asarray(t)[:, None]) / 2

    def drained(self, a: float, mean: float = 0.0) -> Array:
        """The limit of beta when all sink logits are pinned at a: mean - e^{-a} (zbar - mean)."""
        return mean - np.exp(-a) * (self.zbar - self.zbar.mean())

    def drain_rate(self, a: float) -> float:
        """The exponential rate: least non-zero eigenvalue of the Hessian in beta at the limit."""
        H = sum(
            w * (np.diag(row) - np.outer(row, row)) for w, row in zip(self.pi, self.p, strict=True)
        )
        share = np.exp(a) / (np.exp(a) + self.W)
        return float(share**2 * np.sort(np.linalg.eigvalsh(H))[1])


def draw(seed: int, V: int = 4, U: int = 8, W: float = 10.0) -> Sink:
    """p rows and pi uniform then normalised, zbar uniform in [0, 10], in this order."""
    rng = np.random.default_rng(seed)
    p = rng.random((V, U))
    pi = rng.random(V)
    return Sink(p / p.sum(1, keepdims=True), pi / pi.sum(), 10 * rng.random(U), W)


@dataclass(frozen=True, eq=False)
class SinkFlow:
    """alpha [times V] and beta [times U] at the times t."""

    t: Array
    alpha: Array
    beta: Array


def flow(sink: Sink, alpha: Array, beta: Array, t: Array, train: str = "both") -> SinkFlow:
    """Gradient flow from (alpha, beta) at the increasing times t; `train` alpha, beta or both.

    >>> s = draw(0)
    >>> run = flow(s, np.zeros(4), np.zeros(8), np.array([0.0, 1e6]), train="alpha")
    >>> bool(np.all(np.diff(run.alpha, axis=0) > 0))
    True
    """
    V = len(alpha)
    moves = (float(train in ("both", "alpha")), float(train in ("both", "beta")))

    def right(_: float, y: Array) -> Array:
        d_alpha, d_beta = sink.gradients(y[:V], y[V:])
        return -np.concatenate([moves[0] * d_alpha, moves[1] * d_beta])

    start = np.concatenate([alpha, beta])
    y = integrate(right, start, t, rtol=RTOL, atol=ATOL, begin=float(t[0]))
    return SinkFlow(np.asarray(t), y[:, :V], y[:, V:])
