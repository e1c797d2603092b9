"""What predicts the target of a prompt: gradient steps, least squares, ridge, layers of attention.

Every function takes prompts `Drawn(X [B L d], y [B L], query [B d], ...)` and gives [B].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.tokens import Tokens
from dsf.mechanisms.attention.softmax import Softmax
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.solvers.icl.prompts import Array, Drawn, Prompts

BATCH = 2000  # prompts that are drawn at once


def gradient_step(prompts: Drawn, G: Any = 1.0) -> Array:
    """x_q'G (1/L) sum_l y_l x_l: one step from 0 on |X w - y|^2 / (2L), of size or matrix G.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> gradient_step(Drawn(X, y, np.ones((1, 1)), y), 0.5)
    array([1.75])
    """
    return _read(prompts.query, G, np.einsum("bld,bl->bd", prompts.X, prompts.y), prompts.X)


def debiased_step(prompts: Drawn, G: Any = 1.0) -> Array:
    """x_q'G (1/L) sum_l y_l (x_l - mean x): the covariates are centred by their mean.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> debiased_step(Drawn(X, y, np.ones((1, 1)), y), 0.5)
    array([0.25])
    """
    centred = prompts.X - prompts.X.mean(-2, keepdims=True)
    return _read(prompts.query, G, np.einsum("bld,bl->bd", centred, prompts.y), prompts.X)


def _read(query: Array, G: Any, total: Array, X: Array) -> Array:
    step = G * np.eye(query.shape[-1]) if np.ndim(G) == 0 else np.asarray(G)
    found: Array = np.einsum("bi,ij,bj->b", query, step, total) / X.shape[-2]
    return found


def ridge(prompts: Drawn, penalty: float) -> Array:
    """x_q'(X'X + penalty I)^-1 X'y.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> ridge(Drawn(X, y, np.ones((1, 1)), y), 4.0)
    array([0.5])
    """
    gram = np.einsum("bli,blj->bij", prompts.X, prompts.X) + penalty * np.eye(prompts.X.shape[-1])
    moment = np.einsum("bld,bl->bd", prompts.X, prompts.y)
    return np.einsum("bd,bd->b", prompts.query, np.linalg.solve(gram, moment[..., None])[..., 0])


def least_squares(prompts: Drawn) -> Array:
    """x_q'X^+ y: least squares, of least norm where the examples do not determine it.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 3.0]])
    >>> least_squares(Drawn(X, y, np.ones((1, 1)), y)).round(12)
    array([1.])
    """
    found: Array = np.einsum("bd,bdl,bl->b", prompts.query, np.linalg.pinv(prompts.X), prompts.y)
    return found


# --------------------------------------------------------------------- layers of the catalogue
def softmax_heads(prompts: Drawn, omega: Any, mu: Any) -> Array:
    """sum_h mu_h sum_l softmax(x_l'Omega_h x_q)_l y_l, by `dsf.softmax(include_self=False)`.

    omega [H] for Omega_h = omega_h I, or Omega [H d d];  mu [H].  Only the row of the query is
    computed; `softmax_layer` is the slow twin.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> softmax_heads(Drawn(X, y, np.ones((1, 1)), y), [0.0], [2.0])
    array([3.])
    """
    X, y, query = prompts.X, prompts.y, prompts.query
    u = np.concatenate([X, query[:, None]], -2)
    values = np.concatenate([y, np.zeros_like(y[:, :1])], -1)[..., None]
    q = ops.split_heads(query[:, None]) @ ops.mT(_matrices(omega, X)) * X.shape[-1] ** 0.5
    tok = Tokens(q=q, k=ops.split_heads(u), v=ops.split_heads(values))
    rows, v = Softmax(include_self=False).weights(tok, 1)
    return (rows @ v)[..., 0, 0] @ np.asarray(mu, X.dtype)


def softmax_layer(prompts: Drawn, omega: Any, mu: Any) -> Array:
    """`softmax_heads` as a whole layer: tokens (x, y) and (x_q, 0) in, its last output.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> softmax_layer(Drawn(X, y, np.ones((1, 1)), y), [0.0], [2.0])
    array([3.])
    """
    Omega, d = _matrices(omega, prompts.X), prompts.X.shape[-1]
    none = np.zeros((len(Omega), 1, d))
    mech = Softmax(
        Wq=np.concatenate([ops.mT(Omega) * d**0.5, none], -2),
        Wk=np.concatenate([np.broadcast_to(np.eye(d), Omega.shape), none], -2),
        Wv=np.broadcast_to(np.eye(d + 1)[:, d:], (len(Omega), d + 1, 1)),
        include_self=False,
    )
    return mech(examples_and_query(prompts))[:, -1] @ np.asarray(mu, prompts.X.dtype)


def linear_layer(prompts: Drawn, G: Any = 1.0) -> Array:
    """`gradient_step` as a layer of `dsf.linear_attn`: q = G'x/L, k = x, v = y, the last output.

    The query's own value is 0, so that it does not matter that it sees itself.

    >>> X, y = np.array([[[1.0], [3.0]]]), np.array([[1.0, 2.0]])
    >>> linear_layer(Drawn(X, y, np.ones((1, 1)), y), 0.5)
    array([1.75])
    """
    L, d = prompts.X.shape[-2:]
    step, none = _matrices(np.asarray(G, float)[None], prompts.X), np.zeros((1, 1, d))
    mech = LinearAttention(
        Wq=np.concatenate([step / L, none], -2),
        Wk=np.concatenate([np.eye(d)[None], none], -2),
        Wv=np.eye(d + 1)[None, :, d:],
    )
    return mech(examples_and_query(prompts))[:, -1, 0]


def examples_and_query(prompts: Drawn) -> Array:
    """The tokens (x_l, y_l) and (x_q, 0) [B L+1 d+1].

    >>> drawn = Prompts(d=2, length=3, noise_var=0.1).draw(0, 4)
    >>> examples_and_query(drawn).shape
    (4, 4, 3)
    """
    return prompt_tokens(prompts.X, prompts.y[..., None], prompts.query)


def prompt_tokens(X: Array, y: Array, query: Array) -> Array:
    """(x_l, y_l) for the examples and (x_q, 0) for the query [B L+1 d+outputs]; y [B L outputs].

    >>> prompt_tokens(np.ones((1, 2, 1)), np.zeros((1, 2, 1)), np.full((1, 1), 5.0))[0].tolist()
    [[1.0, 0.0], [1.0, 0.0], [5.0, 0.0]]
    """
    examples = np.concatenate([X, y], -1)
    last = np.concatenate([query, np.zeros_like(y[:, 0])], -1)
    return np.concatenate([examples, last[:, None]], -2)


def _matrices(omega: Any, X: Array) -> Array:
    omega = np.asarray(omega, X.dtype)
    return omega[:, None, None] * np.eye(X.shape[-1], dtype=X.dtype) if omega.ndim == 1 else omega


# --------------------------------------------------------------------- what they cost
def measured(
    predictors: Mapping[str, Callable[[Drawn], Array]], prompts: Prompts, rng: Any, count: int
) -> dict[str, tuple[float, float]]:
    """Mean squared error on `count` prompts, and its standard error; the same draws for all.

    >>> zero = {"zero": lambda drawn: 0 * drawn.target}
    >>> mean, error = measured(zero, Prompts(d=2, length=1, noise_var=0.5), 0, 4000)["zero"]
    >>> abs(mean - 1.5) < 4 * error
    True
    """
    rng, parts = np.random.default_rng(rng), []
    for begin in range(0, count, BATCH):
        drawn = prompts.draw(rng, min(BATCH, count - begin))
        parts.append([(f(drawn) - drawn.target) ** 2 for f in predictors.values()])
    squares = np.concatenate(parts, -1)
    errors = squares.std(-1) / squares.shape[-1] ** 0.5
    return {
        name: (float(m), float(e))
        for name, m, e in zip(predictors, squares.mean(-1), errors, strict=True)
    }
