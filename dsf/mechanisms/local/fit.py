"""The local linear fit: softmax weights that are tilted along a direction of the keys."""

from __future__ import annotations

from typing import Any

from dsf.core import ops
from dsf.core.ops import Array


def tilted(p: Array, r: Array, k: Array) -> Array:
    """s_ij = p_ij (1 - r_i'(k_j - kb_i)), kb_i = sum_j p_ij k_j, for p [... n T], r [... n d].

    The rows of s sum to 1 as those of p do.  With values v: vb_i - C_kv,i' r_i, the softmax output
    less the covariance of keys and values along r_i.

    >>> import numpy as np
    >>> tilted(np.array([[0.5, 0.5]]), np.array([[1.0]]), np.array([[0.0], [1.0]]))
    array([[0.75, 0.25]])
    """
    return p * (1 - (r @ ops.mT(k) - ops.asum(r * (p @ k))))


def ridge_per_weight(ridge: Array, x: Array, seen: Any) -> Array:
    """ridge / omega_i [... n 1], omega_i = sum_j e^{x_ij} over the keys that `seen` [n T] allows.

    >>> import numpy as np
    >>> ridge_per_weight(np.array([[6.0]]), np.zeros((1, 3)), np.array([[True, True, False]]))
    array([[3.]])
    """
    return ridge * ops.exp(-ops.logsumexp(x, seen))


def normal_matrix(p: Array, ridge: Array, k: Array) -> Array:
    """C_i + ridge_i I [... n d d], C_i = sum_j p_ij (k_j - kb_i)(k_j - kb_i)', for ridge [... n 1].

    >>> import numpy as np
    >>> normal_matrix(np.array([[0.5, 0.5]]), np.array([[1.0]]), np.array([[0.0], [1.0]]))
    array([[[1.25]]])
    """
    away = ops.expand(k, -3) - ops.expand(p @ k, -2)
    C = ops.mT(ops.expand(p, -1) * away) @ away
    return C + ops.expand(ridge, -1) * ops.eye(k.shape[-1], k)


def direction(p: Array, ridge: Array, q: Array, k: Array) -> Array:
    """r_i = (C_i + ridge_i I)^-1 (kb_i - q_i) [... n d]: tilted along it, p is the local fit.

    ridge [... n 1] is the penalty on the slope where the weights p sum to 1.

    >>> import numpy as np
    >>> one = np.array([[1.0]])
    >>> direction(np.array([[0.5, 0.5]]), 0.75 * one, one, np.array([[0.0], [1.0]]))
    array([[-0.5]])
    """
    return ops.solve(normal_matrix(p, ridge, k), ops.col(p @ k - q))[..., 0]
