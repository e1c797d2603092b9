"""What linear algebra says about the transitions of a system; the docstrings of `LTV` say what for.

Numpy only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.arrays import common_zero
from dsf.core.errors import IllConditionedError, TimeVaryingError
from dsf.core.ops import Array
from dsf.core.transition import Diag, Shift, dense


def eigenvalues(ltv: Any) -> Array:
    """Eigenvalues of A_t [... L n]."""
    if isinstance(ltv.A, Diag):
        a = ltv.A.values()
        return np.broadcast_to(a, (*a.shape[:-2], ltv.length, ltv.n))
    if isinstance(ltv.A, Shift):
        return np.zeros((ltv.length, ltv.n))
    A = ltv.dense().A.dense()
    return np.linalg.eigvals(np.broadcast_to(A, (*A.shape[:-3], ltv.length, ltv.n, ltv.n)))


def diagonalise(ltv: Any) -> tuple[Any, float]:
    """A constant system in the coordinates of its eigenvectors, and their condition number."""
    if any(size > 1 for size in ltv.A.lengths()):
        raise TimeVaryingError(
            "LTV.diagonalise: A varies over time, and one set of eigenvectors serves one "
            "matrix. Use ltv.part(t, t + 1) for one step, or gauge(T) with T_t [L n n]."
        )
    A = np.asarray(ltv.A.dense(ltv.n))
    w, V = np.linalg.eig(A)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.max(np.linalg.cond(V), initial=1)
    condition = float(found) if np.isfinite(found) else float("inf")
    limit = float(np.finfo(V.dtype).eps) ** -0.5
    if condition > limit:
        raise IllConditionedError(
            f"LTV.diagonalise: the eigenvectors have condition number {condition:.2g}, above "
            f"1/sqrt(eps) = {limit:.2g}, so more than half of the digits would be lost. Likely "
            "cause: a Jordan block, or eigenvalues that almost coincide. Keep the dense form; "
            "scan does not need eigenvectors."
        )
    B, C = np.linalg.solve(V, dense(ltv.B)), dense(ltv.C)
    return replace(ltv, A=Diag(a=w), B=B, C=C @ V), condition


def growth(ltv: Any) -> Array:
    """log |A_t ... A_0|_2 for every t [... L]."""
    P: Any = ops.eye(ltv.n, common_zero(*ltv.arrays()))
    scale: Any = 0.0
    out = []
    for t in range(ltv.length):
        P = ltv.A.at(t).apply(P)
        size = np.linalg.norm(P, 2, axis=(-2, -1), keepdims=True)
        safe = np.where(size > 0, size, 1)
        P, scale = P / safe, scale + np.log(safe[..., 0, 0])
        with np.errstate(divide="ignore"):
            out.append(np.where(size[..., 0, 0] > 0, scale, -np.inf))
    return np.stack(out, -1) if out else np.zeros((*ltv.batch, 0))
