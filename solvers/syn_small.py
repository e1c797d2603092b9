"""Scan and Snap on sampled sequences: stochastic gradient descent on decoder and attention.

The experiment "Syn-Small" of Tian et al. 2023 (arXiv 2305.16380): K classes, each with its own
query; a batch draws classes uniformly and `length` contextual tokens from P(. | n).

    x = counts * e^{z_n} / sum,   f = x / |x|,   alpha = softmax(Y' f)
    Y' = eta_Y mean f (e_n - alpha)',   z_n' = eta_Z mean f * (P_perp Y (e_n - alpha))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.errors import DomainError
from dsf.solvers.problem import Array
from dsf.solvers.scan_snap import Classes, example

MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Run:
    """Attention c_n [times K tokens] at the iterations `at`."""

    at: Array
    attention: Array


def syn_small() -> Classes:
    """Two classes, ten common tokens of weight 1, ten distinct ones each of weights 0.1 .. 1.

    >>> P = syn_small().P
    >>> P.shape, round(float(P[0, :10].sum()), 6), round(float(P[0, 19]), 6)
    ((2, 30), 0.645161, 0.064516)
    """
    return example(K=2, common=10, distinct=10)


def descend(
    classes: Classes,
    eta_Y: float,
    eta_Z: float,
    iterations: int,
    seed: int,
    batch: int = 128,
    length: int = 128,
) -> Run:
    """Gradient steps with momentum 0.9 from Y = Z = 0; attention after every iteration.

    Raises DomainError for rates that are not positive.

    >>> run = descend(syn_small(), 1.0, 1.0, 20, seed=0)
    >>> start, end = run.attention[0, 0, :10].sum(), run.attention[-1, 0, :10].sum()
    >>> bool(end < 0.6 * start)         # common tokens lose attention
    True
    """
    if eta_Y <= 0 or eta_Z <= 0:
        raise DomainError(f"descend: the rates must be positive, got {eta_Y} and {eta_Z}")
    K, M = classes.P.shape
    rng = np.random.default_rng(seed)
    Y, Z = np.zeros((M, K)), np.zeros((K, M))
    speed_Y, speed_Z = np.zeros_like(Y), np.zeros_like(Z)
    attention = [classes.attention(Z)]
    for _ in range(iterations):
        n = rng.integers(K, size=batch)
        counts = rng.multinomial(length, classes.P[n])
        dY, dZ = ascent(counts, n, Y, Z)
        speed_Y, speed_Z = MOMENTUM * speed_Y + dY, MOMENTUM * speed_Z + dZ
        Y, Z = Y + eta_Y * speed_Y, Z + eta_Z * speed_Z
        attention.append(classes.attention(Z))
    return Run(np.arange(iterations + 1), np.array(attention))


def ascent(counts: Array, n: Array, Y: Array, Z: Array) -> tuple[Array, Array]:
    """The gradients of the mean log-likelihood in Y [M K] and Z [K M]; counts [batch M], n [batch].

    >>> counts, n = np.array([[2, 1, 1]]), np.array([0])
    >>> Y, Z = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]]), np.zeros((2, 3))
    >>> e = np.zeros((2, 3)); e[0, 1] = 1e-6
    >>> up, down = likelihood(counts, n, Y, Z + e), likelihood(counts, n, Y, Z - e)
    >>> bool(abs(ascent(counts, n, Y, Z)[1][0, 1] - (up - down) / 2e-6) < 1e-9)
    True
    """
    f, error = _forward(counts, n, Y, Z)
    g = error @ Y.T
    across = g - f * np.sum(f * g, axis=1, keepdims=True)
    dZ = np.zeros_like(Z)
    np.add.at(dZ, n, f * across / len(n))
    return f.T @ error / len(n), dZ


def likelihood(counts: Array, n: Array, Y: Array, Z: Array) -> float:
    """Mean of log alpha_n over the batch."""
    f, _ = _forward(counts, n, Y, Z)
    s = f @ Y
    return float(np.mean(s[np.arange(len(n)), n] - np.logaddexp.reduce(s, axis=1)))


def _forward(counts: Array, n: Array, Y: Array, Z: Array) -> tuple[Array, Array]:
    """(f [batch M], e_n - alpha [batch K])."""
    w = counts * np.exp(Z[n] - Z[n].max(axis=1, keepdims=True))
    f = w / np.linalg.norm(w, axis=1, keepdims=True)
    s = f @ Y
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return f, np.eye(Y.shape[1])[n] - e / e.sum(axis=1, keepdims=True)
