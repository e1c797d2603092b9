"""The optimum of the Frobenius problem, once its support S is known: K_SS lam_S = h_S."""

from __future__ import annotations

import numpy as np

from dsf.solvers.svm.problem import Array
from dsf.states.rounding import gamma


def on_support(K: Array, h: Array, width: int) -> tuple[Array, Array] | None:
    """(lam, lifted): multipliers that meet h exactly, and h plus the rounding of a row.

    K [s s] is the Gram matrix of unit rows of `width` = d + e coordinates, h [s].  The second
    solution aims at h_j + 2 gamma |W|, |W|^2 = h'lam: rows with a small h (long A_j) are then met
    to their own accuracy and not to that of the largest.  None if K is not positive definite.

    >>> on_support(np.eye(2), np.array([1.0, 0.5]), 4)[0]
    array([1. , 0.5])
    """
    from scipy.linalg.lapack import dpotrf, dpotrs

    factor, info = dpotrf(K)
    if info != 0:
        return None
    right = np.ones((len(h), 2))
    right[:, 0] = h
    x = dpotrs(factor, right)[0]
    x += dpotrs(factor, right - K @ x)[0]
    lam = x[:, 0]
    lift = 2.0 * gamma(width + 12) * np.sqrt(max(float(h @ lam), 0.0))
    return lam, lam + lift * x[:, 1]
