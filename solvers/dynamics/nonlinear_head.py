"""Training attention below a head that is not linear: several tokens can keep attention.

    f_i = h(X_i's_i),  s_i = softmax(X_i W z_i),  h(x) = sum_k relu(V x)_k
    grad L(W) = (1/n) sum_i l'(Y_i f_i) Y_i X_i' (diag(s_i) - s_i s_i') X_i h'(X_i's_i) z_i'

with l the logistic loss and h'(x) = V' 1[V x > 0]; W <- W - eta G/(|G| + floor).  All S runs at
once.  Where several tokens share attention G tends to zero while W still grows, and its rounding
error (about 1e-17) would fill whole steps: the floor, machine epsilon as published, damps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsf.core import ops
from dsf.core.errors import DomainError
from dsf.solvers.svm.instances import log_softmax, slope, unit
from dsf.solvers.svm.problem import Array


@dataclass(frozen=True, eq=False)
class HeadData:
    """X [S n T d] tokens, z [S n d] queries, Y [S n] labels +-1, V [S k d] weights of the head."""

    X: Array
    z: Array
    Y: Array
    V: Array


def draw(seed: int, count: int, n: int, T: int, d: int) -> HeadData:
    """`count` random data sets: tokens and queries on the unit sphere, V Gaussian with |V|_F = 1.

    Labels are signs of a Gaussian; a data set without a negative label is drawn again, because
    h >= 0 leaves nothing to trade off.

    >>> data = draw(0, 5, n=3, T=4, d=6)
    >>> data.X.shape, bool((data.Y.min(axis=1) < 0).all())
    ((5, 3, 4, 6), True)
    """
    rng = np.random.default_rng([seed, d])
    X, z = unit(rng.standard_normal((count, n, T, d))), unit(rng.standard_normal((count, n, d)))
    V = unit(rng.standard_normal((count, d, d)), axes=(1, 2))
    Y = np.where(rng.standard_normal((count, n)) > 0, 1.0, -1.0)
    while np.any(again := Y.min(axis=1) > 0):
        Y[again] = np.where(rng.standard_normal((int(again.sum()), n)) > 0, 1.0, -1.0)
    return HeadData(X, z, Y, V)


def logits(W: Array, X: Array, z: Array) -> Array:
    """x_it' W z_i, [S n T] from W [S d d]."""
    return np.squeeze(X @ (z @ np.swapaxes(W, 1, 2))[..., None], -1)


def log_attention(W: Array, X: Array, z: Array) -> Array:
    """log softmax(X W z), [S n T] from W [S d d]; exact however small the attention is."""
    return log_softmax(logits(W, X, z))


def loss(W: Array, data: HeadData) -> Array:
    """(1/n) sum_i log(1 + exp(-Y_i f_i)) of every run, [S]."""
    x = _attended(ops.softmax(logits(W, data.X, data.z)), data.X)
    f = np.maximum(x @ np.swapaxes(data.V, 1, 2), 0.0).sum(-1)
    return np.logaddexp(0.0, -data.Y * f).mean(axis=1)


def gradient(W: Array, data: HeadData) -> Array:
    """The gradient of `loss`, [S d d]: the formula at the top of this file.

    >>> data = draw(0, 1, n=3, T=4, d=5)
    >>> W, step = np.ones((1, 5, 5)), np.eye(5)[None] * 1e-6
    >>> slope = (loss(W + step, data) - loss(W - step, data)) / 2e-6
    >>> bool(np.allclose(np.trace(gradient(W, data)[0]), slope, rtol=1e-6))
    True
    """
    s = ops.softmax(logits(W, data.X, data.z))
    x = _attended(s, data.X)
    hidden = x @ np.swapaxes(data.V, 1, 2)
    f = np.maximum(hidden, 0.0).sum(-1)
    h = (hidden > 0).astype(float) @ data.V  # h'(x), [S n d]
    value = np.squeeze(data.X @ h[..., None], -1)  # what each token adds to first order
    # relative to the leading token, so that nothing cancels where one token has all attention
    lead = s.argmax(-1)[..., None]
    ahead = value - np.take_along_axis(value, lead, -1)
    c = s * (ahead - np.sum(s * ahead, -1, keepdims=True))
    weight = data.Y * slope(data.Y * f) / s.shape[1]
    return np.swapaxes(weight[..., None] * _attended(c, data.X), 1, 2) @ data.z


def descend(
    W: Array,
    data: HeadData,
    eta: float = 0.1,
    record: Sequence[int] = (2000,),
    floor: float = 2.0**-52,
) -> Array:
    """Normalised gradient descent of every run: the weights [S R d d] after `record` [R] steps.

    Raises DomainError unless `record` increases and eta > 0.
    Source: tarzanagh2023, experiments with a nonlinear head.
    """
    if not eta > 0 or list(record) != sorted(set(record)) or not record or record[0] < 0:
        raise DomainError(
            f"descend: needs eta > 0 and increasing steps `record` >= 0; got {eta}, {list(record)}"
        )
    W, out = np.array(W, dtype=np.float64), []
    for step in range(record[-1] + 1):
        if step in record:
            out.append(W.copy())
        if step < record[-1]:
            G = gradient(W, data)
            size = np.linalg.norm(G, axis=(1, 2), keepdims=True)
            W -= eta * G / (size + floor)
    return np.stack(out, axis=1)


def _attended(s: Array, X: Array) -> Array:
    """X_i's_i, [S n d]."""
    return np.squeeze(s[..., None, :] @ X, -2)
