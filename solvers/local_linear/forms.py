"""Three forms of one local linear fit; each takes the weights and the penalty of each query.

Query i fits b + W (x - q_i) to the values at the keys,

    sum_j w_ij |v_j - b - W (k_j - q_i)|^2 + penalty_i |W|^2  ->  min,

and puts out b.  w [n T] may carry any factor per row if penalty [n 1] carries it too.
"""

from __future__ import annotations

import numpy as np

from dsf.core.arrays import to_numpy
from dsf.core.conditioning import singular
from dsf.core.errors import IllConditionedError
from dsf.core.ops import asum, expand, eye, mT, readable
from dsf.core.worlds import Array, world
from dsf.mechanisms.local.fit import normal_matrix

EPSILON = 2.0**-52  # relative distance of float64 numbers


def weights_form(w: Array, penalty: Array, q: Array, k: Array, v: Array) -> Array:
    """o_i = sum_j s_ij v_j, with s of `smoother_weights`; [n p].

    >>> one, k = np.ones((1, 1)), np.array([[-1.0], [1.0]])
    >>> weights_form(np.ones((1, 2)), one, 0 * one, k, k + 3)
    array([[3.]])
    """
    return smoother_weights(w, penalty, q, k) @ v


def smoother_weights(w: Array, penalty: Array, q: Array, k: Array) -> Array:
    """s_ij = w_ij (1 - z_ij'rho_i) / (sum_j w_ij - mu_i'rho_i), [n T]; rows sum to 1.

    z_ij = k_j - q_i, mu_i = sum_j w_ij z_ij, rho_i = (sum_j w_ij z_ij z_ij' + penalty_i I)^-1 mu_i.
    Entries may be negative.  Raises IllConditionedError.  Zuo et al. 2026 (arXiv 2510.01450).
    """
    z = expand(k, 0) - expand(q, 1)
    wz = expand(w, -1) * z
    mu = asum(wz, -2, False)
    rho = solve(mT(z) @ wz + _diagonal(penalty, q), mu)
    along = asum(z * expand(rho, 1), -1, False)
    return w * (1 - along) / (asum(w) - asum(mu * rho))


def centred(w: Array, penalty: Array, q: Array, k: Array, v: Array) -> Array:
    """o_i = vb_i - C_kv,i' (C_i + lam_i I)^-1 (kb_i - q_i), [n p].

    kb, vb, C, C_kv: means, covariance and cross-covariance under the weights w_i / sum_j w_ij;
    lam_i = penalty_i / sum_j w_ij.  The softmax output minus a correction of first order.
    """
    p, kb, vb, C_kv = moments(w, k, v)
    r = solve(normal_matrix(p, penalty / asum(w), k), kb - q)
    return vb - _times(C_kv, r)


def interpolation(w: Array, penalty: Array, q: Array, k: Array, v: Array) -> Array:
    """o_i = sum_j p_ij (v_j - W_i k_j) + W_i q_i with W_i = C_kv,i' (C_i + lam_i I)^-1; [n p].

    A linear prediction, and softmax over what it leaves.
    """
    p, _, _, C_kv = moments(w, k, v)
    W = mT(solve(normal_matrix(p, penalty / asum(w), k), C_kv))  # C is symmetric
    rest = expand(v, 0) - expand(k, 0) @ mT(W)
    return asum(expand(p, -1) * rest, -2, False) + (W @ expand(q, -1))[..., 0]


def moments(w: Array, k: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """p [n T], kb [n d], vb [n p], C_kv [n d p] of the keys and values under w."""
    p = w / asum(w)
    kb, vb = p @ k, p @ v
    weighted = mT(expand(p, -1) * (expand(k, 0) - expand(kb, 1)))
    return p, kb, vb, weighted @ (expand(v, 0) - expand(vb, 1))


def solve(A: Array, b: Array, queries: Array | None = None) -> Array:
    """A_i^-1 b_i of symmetric positive definite A [n d d], b [n d] or [n d m].

    Raises IllConditionedError where a matrix is singular to the working precision; it names the
    query by its number in `queries` [n], which counts from 0 by default.
    """
    _refuse_singular(A, np.arange(len(A)) if queries is None else queries)
    vectors = b.ndim == A.ndim - 1
    x = world(A).solve(A, expand(b, -1) if vectors else b)
    return x[..., 0] if vectors else x


def _refuse_singular(A: Array, queries: Array) -> None:
    if not readable(A):
        return
    overflows = np.flatnonzero(~np.isfinite(to_numpy(A)).all((-2, -1)))
    found = ((overflows[0],), "overflows") if overflows.size else singular(A)
    if found:
        raise IllConditionedError(
            f"local linear fit: the matrix of query {queries[found[0]]} {found[1]}, so its slope "
            "is not determined. "
            "Likely cause: a ridge of 0 or near it with fewer keys than dimensions, or with keys "
            "in a plane; or ridge_times='one' with very large or small weights. Raise the ridge."
        )


def _diagonal(penalty: Array, q: Array) -> Array:
    return expand(penalty, -1) * eye(q.shape[1], q)


def _times(M: Array, r: Array) -> Array:
    """M_i' r_i, [n p]."""
    return (mT(M) @ expand(r, -1))[..., 0]
