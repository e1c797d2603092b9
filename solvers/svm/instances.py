"""Reference instances, and the loss of one softmax attention head with its gradient.

    f_i = v' X_i' softmax(X_i W z_i),   gamma_it = Y_i v'x_it,   m_i = sum_t s_it gamma_it = Y_i f_i
    L(W) = (1/n) sum_i l(m_i)
    grad L(W) = (1/n) sum_i l'(m_i) X_i' (diag(s_i) - s_i s_i') gamma_i z_i'

No factor 1/sqrt(d).  Scores are x' W z: the side of the keys is the row index of W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import DomainError
from dsf.solvers.svm.problem import Array


@dataclass(frozen=True, eq=False)
class Instance:
    """A data set for one attention head.

    X [n T d] tokens, z [n d] queries, Y [n] labels +-1, v [d] head,
    scores [n T] gamma, optimal [n] the token of largest score
    """

    X: Array
    z: Array
    Y: Array
    v: Array
    scores: Array
    optimal: Array


def unit(A: Array, axes: Any = -1) -> Array:
    """A divided by its length along `axes`; zero stays zero.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    size = np.linalg.norm(A, axis=axes, keepdims=True)
    return np.asarray(A / np.where(size > 0, size, 1.0))


# name -> (seed, n, T, d); D is not separable
NAMED = {
    "A": (0, 2, 3, 2),
    "B": (1, 6, 8, 10),
    "C": (2, 5, 5, 4),
    "D": (3, 10, 6, 3),
    "E": (4, 4, 4, 4),
}


def draw(seed: int, n: int, T: int, d: int) -> Instance:
    """A random instance on the unit sphere: v, then labels, tokens and queries, in this order.

    >>> draw(0, 2, 3, 2).optimal
    array([2, 2])
    """
    rng = np.random.default_rng(seed)
    v = unit(rng.standard_normal(d))
    Y = np.where(rng.standard_normal(n) > 0.0, 1.0, -1.0)
    X = unit(rng.standard_normal((n, T, d)))
    z = unit(rng.standard_normal((n, d)))
    scores = Y[:, None] * (X @ v)
    return Instance(X, z, Y, v, scores, scores.argmax(axis=1))


def named(name: str) -> Instance:
    """One of the reference instances A, B, C, D (not separable), E; DomainError otherwise."""
    if name not in NAMED:
        raise DomainError(f"no reference instance {name!r}; known: {', '.join(NAMED)}")
    return draw(*NAMED[name])


def attention(W: Array, X: Array, z: Array) -> Array:
    """softmax(X_i W z_i) for every sample, [n T]; W [d e], X [n T d], z [n e]."""
    return np.asarray(ops.softmax(np.einsum("itd,de,ie->it", X, W, z)))


def log_softmax(a: Array) -> Array:
    """log softmax along the last axis.

    Beside `dsf.ops.softmax`, because the weights of the tokens that lose underflow as |W| grows,
    and their logarithms do not.

    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    a = a - a.max(axis=-1, keepdims=True)
    return np.asarray(a - np.log(np.exp(a).sum(axis=-1, keepdims=True)))


LOSSES = ("logistic", "exponential", "linear")


def loss(W: Array, X: Array, z: Array, scores: Array, kind: str = "logistic") -> float:
    """(1/n) sum_i l(m_i) with l(u) = log(1 + e^-u), e^-u or -u.

    >>> i = draw(0, 2, 3, 2)
    >>> flat = loss(np.zeros((2, 2)), i.X, i.z, i.scores, "linear")
    >>> bool(abs(flat + i.scores.mean()) < 1e-15)
    True
    """
    m = np.sum(attention(W, X, z) * scores, axis=1)
    if kind == "logistic":
        return float(np.mean(np.logaddexp(0.0, -m)))
    if kind == "exponential":
        return float(np.mean(np.exp(-m)))
    return float(np.mean(-m)) if kind == "linear" else _unknown(kind)


def log_slope(m: Array, kind: str = "logistic") -> Array:
    """log(-l'(m)) of the three losses: -log(1 + e^m), -m, 0; it does not underflow.

    >>> float(log_slope(np.array(800.0)))
    -800.0
    """
    if kind == "logistic":
        return -np.logaddexp(0.0, m)
    if kind == "exponential":
        return -m
    if kind != "linear":
        _unknown(kind)
    return np.zeros_like(m)


def slope(m: Array, kind: str = "logistic") -> Array:
    """l'(m) of the three losses: -1/(1 + e^m), -e^-m, -1.

    >>> slope(np.zeros(1)), slope(np.zeros(1), "exponential")
    (array([-0.5]), array([-1.]))
    """
    return -np.exp(log_slope(m, kind))


def gradient(W: Array, X: Array, z: Array, scores: Array, kind: str = "logistic") -> Array:
    """The gradient of `loss`, [d e]; the formula at the top of this file.

    It underflows where the attention saturates (1 - s near 1e-16): a training loop for large W
    needs the factored form.
    """
    s = attention(W, X, z)
    m = np.sum(s * scores, axis=1)
    c = s * scores - s * m[:, None]  # (diag(s) - s s') gamma
    return np.einsum("i,itd,it,ie->de", slope(m, kind), X, c, z) / len(m)


def equal_scores(instance: Instance, low: float = 0.0) -> Array:
    """Scores [n T] under which all non-optimal tokens tie at `low`, as global convergence asks."""
    out = np.full(instance.scores.shape, low)
    rows = np.arange(len(out))
    out[rows, instance.optimal] = instance.scores[rows, instance.optimal]
    return out


def _unknown(kind: str) -> float:
    raise DomainError(f"no loss {kind!r}; known: {', '.join(LOSSES)}")
