"""Softmax regression in ball arithmetic: gradient, Hessian, and eigenvalues with proved bounds.

Everything is evaluated from the exact data in Arb balls.  The Hessian is written by the spread of
the rows about their mean under f, m = A'f and v_k = a_k - m:

    Hess L(x) = sum_k f_k (f_k + c_k - <c, f>) v_k v_k'  +  sum_k w_k^2 a_k a_k'

which is A'(JJ + sum_k c_k Hess f_k + W^2)A, with time and memory linear in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.reading import require

BITS = 128
# What float64 may lose of a bound: relative to the bound, and to the moduli of the terms of its
# sums per term (MORE of them: the operations beside the sums).  Both are generous.
LOST, LOST_PER_TERM, MORE = 1e-9, 2.0**-46, 64
WORK = 2**26  # entries of A times columns (64 at least) that a check looks at: a few seconds


def within_reach(A: np.ndarray) -> bool:
    """Whether A [n d] is so small that its claims can be checked.

    >>> within_reach(np.ones((1000, 10))), within_reach(np.broadcast_to(0.0, (2**20, 64)))
    (True, False)
    """
    return A.size * max(A.shape[1], 64) <= WORK


@dataclass(frozen=True, eq=False)
class Here:
    """What softmax regression is at x, in balls, and how large its terms are in float64.

    gradient, slack   |grad L(x)| as a ball; what float64 may lose of it
    hessian, spread   Hess L(x) as a matrix of balls; what float64 may lose of its eigenvalues
    """

    gradient: Any
    slack: float
    hessian: Any
    spread: float


def at(A: np.ndarray, b: np.ndarray, w: np.ndarray, x: np.ndarray) -> Here:
    """A [n d], b [n], w [n], x [d]: float64, taken as exact."""
    import flint

    a = matrix(A)
    z = a * column(x)
    f = softmax(z.entries())
    c = [p - flint.arb(float(y)) for p, y in zip(f, b, strict=True)]
    inner = total(p * y for p, y in zip(f, c, strict=True))
    w2 = [flint.arb(float(y)) ** 2 for y in w]
    slope = [p * (y - inner) + s * u for p, y, s, u in zip(f, c, w2, z.entries(), strict=True)]
    gradient = norm((a.transpose() * column(slope)).entries())
    mean = (a.transpose() * column(f)).entries()
    v = flint.arb_mat([[y - m for y, m in zip(row, mean, strict=True)] for row in a.tolist()])
    bend = [p * (p + y - inner) for p, y in zip(f, c, strict=True)]
    hessian = gram(v, bend) + gram(a, w2)

    size, far, heavy = float(np.linalg.norm(A)), float(constant(b)), float(np.max(w * w))
    logits = [float(y) for y in z.entries()]
    # a logit is off by its own sum, a probability by that, relatively
    moved = 1 + size * float(np.linalg.norm(x)) + max(logits) - min(logits)
    lost = (sum(A.shape) + MORE) * LOST_PER_TERM * moved
    slack = lost * size * ((1 + far) + heavy * (1 + float(np.linalg.norm(logits))))
    return Here(gradient, slack, hessian, lost * size**2 * (1 + far + heavy))


def softmax(z: list[Any]) -> list[Any]:
    """exp(z_k) / sum of exp(z_j), shifted by the largest."""
    top = max(z, key=float)
    e = [(y - top).exp() for y in z]
    alpha = total(e)
    return [y / alpha for y in e]


def gram(a: Any, scale: list[Any]) -> Any:
    """a' diag(scale) a."""
    import flint

    rows = [[y * s for y in row] for row, s in zip(a.tolist(), scale, strict=True)]
    return a.transpose() * flint.arb_mat(rows)


def smallest_eigenvalue(H: Any) -> tuple[Any, Any]:
    """(lower, upper) bounds of the smallest eigenvalue of every symmetric matrix in the balls H.

    For the float eigenvectors U and values e of the midpoints, those of U diag(e) U' are e times
    numbers within |U'U - I| of 1 (Ostrowski), and H is |H - U diag(e) U'| away (Weyl).
    """
    import flint

    d = H.nrows()
    middle = np.array([[float(H[i, j].mid()) for j in range(d)] for i in range(d)])
    e, U = np.linalg.eigh((middle + middle.T) / 2)
    u = matrix(U)
    rest = norm((H - u * matrix(np.diag(e)) * u.transpose()).entries())
    defect = norm((u.transpose() * u - matrix(np.eye(d))).entries())
    require(bool(defect < 1), "the eigenvectors could not be computed")
    lowest = flint.arb(float(e[0]))
    off = (abs(lowest) * defect + rest).upper()
    return (lowest - off).lower(), (lowest + off).upper()


def constant(b: np.ndarray) -> Any:
    """max over k of max(|b_k|, |1 - b_k|), rounded up: B >= -constant(b) for every f.

    v'Bv = |J v|^2 + sum_k c_k f_k ((v_k - <f, v>)^2 - Var), whose sum is at least
    -2 max|c| Var, and Var <= |v|^2 / 2.  It is at most 1 where b has entries in [0, 1].
    """
    import flint

    far = [flint.arb(float(y)) for y in (np.min(b), np.max(b))]
    return max((y.upper() for x in far for y in (abs(x), abs(1 - x))), key=float)


# ---------------------------------------------------------------- small parts
def matrix(A: np.ndarray) -> Any:
    """A float matrix as exact balls."""
    import flint

    return flint.arb_mat(A.tolist())


def column(x: Any) -> Any:
    """A list of numbers as a column of balls."""
    import flint

    return flint.arb_mat([[y if isinstance(y, flint.arb) else float(y)] for y in x])


def total(x: Any) -> Any:
    """The sum of balls."""
    import flint

    return sum(x, flint.arb(0))


def norm(x: list[Any]) -> Any:
    """The Euclidean norm of balls, from 0 on where a ball round 0 has no root."""
    import flint

    squares = total(y * y for y in x)
    if bool(squares >= 0):
        return squares.sqrt()
    return squares.upper().sqrt() * flint.arb(0.5, 0.5)
