"""Value, gradient and Hessian of softmax regression, with memory linear in the rows.

f = softmax(A x), c = f - b, W = diag(w):

    L(x)      = |f - b|^2 / 2 + |W A x|^2 / 2
    grad L(x) = A' (f o c - f <f, c> + W^2 A x)
    Hess L(x) = A' (B + W^2) A,    B = diag(delta) + rho f f' - q f' - f q',
                q = (2f - b) o f,  delta = q - <c, f> f,  rho = <3f - 2b, f>

For b with entries in [0, 1], -1 <= B <= 5/4 is proved: with m and Var the mean and the variance
of v under f, v'Bv = |J v|^2 + sum_k c_k f_k ((v_k - m)^2 - Var), the sum is at most
2 max |c| Var, Var <= |v|^2 / 2 and 0 <= J <= 1/2.  Source: Deng, Li, Song 2023 (arXiv 2304.10411).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsf.core import ops
from dsf.core.ops import softmax

Array = np.ndarray
ROWS = 2**15  # rows of A that are scaled at once

PROVED = (-1.0, 1.25)  # eigenvalues of B, any f in the simplex and b in [0, 1]^n
# The extremes of 4 p^2 (1 - p)(2 - 3p) at p = (15 +- sqrt 33)/24; b in the simplex.  Proved for
# n = 2, a conjecture above.
CONJECTURED = (-0.24040881, 0.30811714)


@dataclass(frozen=True, eq=False)
class Point:
    """x [d] with f [n], the value, the gradient by the logits `slope` [n] and by x [d]."""

    x: Array
    f: Array
    value: float
    slope: Array
    gradient: Array


def point(A: Array, b: Array, w2: Array, x: Array) -> Point:
    """What softmax regression is at x; A [n d], b [n], w2 [n] the squares of the weights.

    >>> p = point(np.eye(2), np.array([1.0, 0.0]), np.zeros(2), np.zeros(2))
    >>> p.value, p.gradient
    (0.25, array([-0.25,  0.25]))
    """
    z = A @ x
    f = softmax(z)
    c = f - b
    by_logits = slope(f, b) + w2 * z
    value = float(c @ c + z @ (w2 * z)) / 2
    return Point(x, f, value, by_logits, A.T @ by_logits)


def slope(f: Array, b: Array) -> Array:
    """The gradient [... n] of |softmax(z) - b|^2 / 2 by z, at f = softmax(z); numpy or torch.

    >>> slope(np.full(2, 0.5), np.array([1.0, 0.0]))
    array([-0.25,  0.25])
    """
    c = f - b
    return f * c - f * ops.asum(f * c)


def curvature(f: Array, b: Array) -> tuple[Array, float, Array]:
    """(delta [n], rho, q [n]) of B = diag(delta) + rho f f' - q f' - f q'.

    >>> delta, rho, q = curvature(np.full(2, 0.5), np.full(2, 0.5))
    >>> delta, rho, q
    (array([0.25, 0.25]), 0.5, array([0.25, 0.25]))
    """
    q = (2 * f - b) * f
    return q - ((f - b) @ f) * f, float((3 * f - 2 * b) @ f), q


def hessian(A: Array, b: Array, w2: Array, f: Array) -> Array:
    """A' (B + diag(w2)) A [d d], from blocks of rows.

    >>> hessian(np.eye(2), np.full(2, 0.5), np.ones(2), np.full(2, 0.5))
    array([[ 1.125, -0.125],
           [-0.125,  1.125]])
    """
    delta, rho, q = curvature(f, b)
    left, right = A.T @ f, A.T @ q
    cross = np.outer(left, right)
    H = gram(A, delta + w2) + rho * np.outer(left, left) - cross - cross.T
    return (H + H.T) / 2


def hessian_times(A: Array, b: Array, w2: Array, f: Array, v: Array) -> Array:
    """A' (B + diag(w2)) A v [d], with two products by A.

    >>> hessian_times(np.eye(2), np.full(2, 0.5), np.ones(2), np.full(2, 0.5), np.ones(2))
    array([1., 1.])
    """
    delta, rho, q = curvature(f, b)
    u = A @ v
    along = float(f @ u)
    return A.T @ ((delta + w2) * u + (rho * along - float(q @ u)) * f - along * q)


def gram(A: Array, scale: Array) -> Array:
    """A' diag(scale) A [d d], from blocks of rows.

    >>> gram(np.ones((2, 1)), np.array([1.0, 2.0]))
    array([[3.]])
    """
    G = np.zeros((A.shape[1], A.shape[1]))
    for rows in _blocks(len(A)):
        G += A[rows].T @ (A[rows] * scale[rows, None])
    return G


def reach(b: Array) -> float:
    """max over k of max(|b_k|, |1 - b_k|): no |f_k - b_k| is larger, and B >= -reach(b).

    >>> reach(np.array([0.25, 0.75])), reach(np.array([2.0, 0.0]))
    (0.75, 2.0)
    """
    return float(np.max(np.maximum(np.abs(b), np.abs(1 - b))))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(i, i + ROWS) for i in range(0, n, ROWS))
