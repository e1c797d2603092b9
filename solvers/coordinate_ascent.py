"""Exact coordinate ascent on the dual of the least-distance problem.

    maximise  h'lam - lam' K lam / 2   over lam >= 0,        K_ij = <A_i, A_j>, unit diagonal
    lam_j  <-  max(0, lam_j + g_j),    g = h - K lam

W = sum lam_j A_j.  A few sweeps find the support; the equations K_SS lam_S = h_S then give the
optimum to rounding.  The problem is bounded if and only if the constraints are separable, so the
number of sweeps is capped.  Importing this module imports numba.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy.linalg.lapack import dposv

from dsf.solvers.problem import Array

SWEEPS = (20, 40, 80, 160, 320, 640)


def coordinate_ascent(K: Array, h: Array) -> tuple[Array, int] | None:
    """Multipliers lam [N] >= 0 of the optimum and the number of sweeps; None if none was reached.

    K [N N] with unit diagonal, h [N] >= 0.

    >>> lam, _ = coordinate_ascent(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.25]))
    >>> lam
    array([1., 0.])
    """
    lam, g = np.zeros(len(h)), h.copy()
    done = 0
    for sweeps in SWEEPS:
        sweep(K, lam, g, sweeps)
        done += sweeps
        if not np.all(np.isfinite(lam)):
            return None
        exact = on_support(K, h, lam > 0.0)
        if exact is not None:
            return exact, done
    return None


def on_support(K: Array, h: Array, support: Array) -> Array | None:
    """The optimum if `support` is its support: K_SS lam_S = h_S, lam_S >= 0, K lam >= h; or None.

    A row may miss h by the rounding of K lam, which is relative to |W| = sqrt(h'lam).
    """
    S = np.flatnonzero(support)
    if len(S) == 0:
        return None
    _, x, info = dposv(K[np.ix_(S, S)], h[S])
    if info != 0 or not np.all(x >= 0.0):
        return None
    lam = np.zeros(len(h))
    lam[S] = x
    slack = K @ lam - h
    slack[S] = 0.0
    return lam if np.all(slack >= -(2.0**-44) * np.sqrt(h @ lam)) else None


def sweep_twin(K: Array, lam: Array, g: Array, sweeps: int) -> None:
    """`sweeps` passes over the coordinates, in place; reads like the formula."""
    for _ in range(sweeps):
        for j in range(len(lam)):
            step = max(lam[j] + g[j], 0.0) - lam[j]
            lam[j] += step
            g -= step * K[j]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"}, nogil=True)
def sweep(K, lam, g, sweeps):  # type: ignore[no-untyped-def]
    """`sweeps` passes over the coordinates, in place: lam and g = h - K lam."""
    N = len(lam)
    for _ in range(sweeps):
        for j in range(N):
            new = max(lam[j] + g[j], 0.0)
            step = new - lam[j]
            if step != 0.0:
                lam[j] = new
                for i in range(N):
                    g[i] -= step * K[j, i]
