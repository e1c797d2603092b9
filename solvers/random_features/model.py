"""Attention heads with frozen random query-key matrices and trained values, and the random MLP.

Fu, Guo, Bai and Mei 2023, arXiv 2307.11353: a query x_0 and N keys x_1..x_N in R^d; with
x~ = (x; 1),

    f(x_0, .., x_N) = sum_m (1/N) sum_i relu(x~_0' W_m x~_i) <v_m, x~_i>

is linear in the values v_m, which ridge regression finds.  The scale of W and the bias W_0 are as
recalled from the paper, not compared with its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import ShapeError
from dsf.core.ops import relu
from dsf.solvers.intake import Array, count, reals


def with_one(x: Array) -> Array:
    """x~ = (x; 1) along the last axis.

    >>> with_one(np.array([2.0]))
    array([2., 1.])
    """
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)


@dataclass(frozen=True, eq=False)
class RandomFeatureHeads:
    """M heads of frozen W [M d+1 d+1]; M (d+1) features, trained values theta of that size.

    >>> model = RandomFeatureHeads.draw(heads=5, d=3)
    >>> X = np.random.default_rng(0).standard_normal((2, 4, 3))   # [samples N+1 d], query first
    >>> model.features(X).shape
    (2, 20)
    """

    W: Array

    @classmethod
    def draw(cls, heads: int, d: int, seed: int = 0, bias: float = 0.0) -> RandomFeatureHeads:
        """W_m = G_m + bias W_0, G iid N(0, 1/4), so that logits of unit vectors are N(0, 1) at
        bias 0; W_0 = [I 0; 0 0] adds bias <x_0, x_i>.  Raises DTypeError, DomainError."""
        heads, d = count("draw", "heads", heads), count("draw", "d", d)
        G = np.random.default_rng(seed).standard_normal((heads, d + 1, d + 1)) / 2
        return cls(biased(G, bias))

    def features(self, X: Any, heads: slice = slice(None)) -> Array:
        """Phi [n M(d+1)] of X [n N+1 d], query first: entries (1/N) sum_i relu(x~_0'W_m x~_i) x~_i
        over sqrt(number of features of all heads); of some heads, where a slice is given.

        Raises ShapeError unless d fits and N >= 1, DTypeError, NonFiniteError.
        """
        X = reals("RandomFeatureHeads", "X", X, 3)
        W = self.W[heads]
        if X.shape[2] + 1 != W.shape[-1] or X.shape[1] < 2:
            raise ShapeError(
                f"RandomFeatureHeads: X {list(X.shape)} must be [n N+1 d] with d = "
                f"{W.shape[-1] - 1} and at least one key after the query"
            )
        Xt = with_one(X)
        keys = Xt[:, 1:]
        projected = Xt[:, 0] @ W.transpose(1, 0, 2).reshape(W.shape[1], -1)
        logits = keys @ projected.reshape(len(X), *W.shape[:2]).transpose(0, 2, 1)  # [n N M]
        values = relu(logits).transpose(0, 2, 1) @ keys
        return values.reshape(len(X), W.shape[0] * W.shape[1]) / (
            keys.shape[1] * np.sqrt(self.size)
        )

    @property
    def size(self) -> int:
        """Number of features, M (d+1)."""
        return len(self.W) * self.W.shape[-1]

    def kernel(self, X: Array, Y: Array) -> Array:
        """The mean of Phi(X) Phi(Y)' over unbiased W, in closed form: [n n'] for unit tokens.

            (1/(N^2 (d+1))) sum_ij J(r_ij) <x~_i, y~_j>,   r_ij = <x~_0, y~_0> <x~_i, y~_j> / 4
            J(r) = (sqrt(1 - r^2) + r (pi - arccos r)) / (2 pi)

        the arc-cosine kernel of relu (Cho and Saul 2009), derived here for this model.
        """
        X, Y = with_one(X), with_one(Y)
        keys = np.einsum("nid,mjd->nmij", X[:, 1:], Y[:, 1:])
        r = np.clip((X[:, 0] @ Y[:, 0].T)[:, :, None, None] * keys / 4, -1, 1)
        J = (np.sqrt(1 - r * r) + r * (np.pi - np.arccos(r))) / (2 * np.pi)
        return np.mean(J * keys, axis=(2, 3)) / X.shape[-1]


def biased(G: Array, bias: float) -> Array:
    """G [M d+1 d+1] + bias W_0, with W_0 = [I 0; 0 0].

    >>> biased(np.zeros((1, 2, 2)), 4.0)[0]
    array([[4., 0.],
           [0., 0.]])
    """
    W0 = np.eye(G.shape[-1])
    W0[-1, -1] = 0
    return G + bias * W0


@dataclass(frozen=True, eq=False)
class RandomFeatureMLP:
    """relu(W (vec(x_0..x_N); 1)) with frozen W [K (N+1)d + 1]: it does not know that keys may be
    permuted.

    >>> model = RandomFeatureMLP.draw(width=6, d=3, keys=4)
    >>> model.features(np.zeros((2, 5, 3))).shape
    (2, 6)
    """

    W: Array

    @classmethod
    def draw(cls, width: int, d: int, keys: int, seed: int = 0) -> RandomFeatureMLP:
        """W iid N(0, 1/(keys + 2)), so that logits of unit vectors are N(0, 1)."""
        for name, value in (("width", width), ("d", d), ("keys", keys)):
            count("draw", name, value)
        rng = np.random.default_rng(seed)
        return cls(rng.standard_normal((width, (keys + 1) * d + 1)) / np.sqrt(keys + 2))

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.W)

    def features(self, X: Any) -> Array:
        """Phi [n K] of X [n N+1 d], over sqrt(K).

        Raises ShapeError, DTypeError, NonFiniteError.
        """
        X = reals("RandomFeatureMLP", "X", X, 3)
        if X.shape[1] * X.shape[2] + 1 != self.W.shape[1]:
            raise ShapeError(
                f"RandomFeatureMLP: X {list(X.shape)} must be [n N+1 d] with (N+1) d = "
                f"{self.W.shape[1] - 1}"
            )
        return relu(with_one(X.reshape(len(X), self.W.shape[1] - 1)) @ self.W.T) / np.sqrt(
            self.size
        )
