"""Exact coordinate ascent on the dual of the least-distance problem.

    maximise  h'lam - lam' K lam / 2   over lam >= 0,        K_ij = <A_i, A_j>, unit diagonal
    lam_j  <-  max(0, lam_j + g_j),    g = h - K lam

W = sum lam_j A_j.  A few sweeps find the support; the equations K_SS lam_S = h_S then give the
optimum to rounding.  The problem is bounded if and only if the constraints are separable, so the
number of sweeps is capped.  Importing this module imports numba.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numba
import numpy as np

from dsf.solvers.svm.problem import Array, ScaledRows
from dsf.solvers.svm.support import on_support

SWEEPS = (20, 40, 80, 160, 320, 640)
MISSED = 2.0**-44  # rounding of K lam, relative to |W|, by which rows outside the support may miss
BETWEEN = 1e9  # multiplications between two readings of the clock


def gram(rows: ScaledRows) -> Array:
    """`rows.gram()` with one allocation: (D D') times the products of the distinct queries."""
    _, first, index = np.unique(rows.query, return_index=True, return_inverse=True)
    distinct = rows.unit_Z[first]
    K = rows.unit_D @ rows.unit_D.T
    multiply(K, distinct @ distinct.T, index.reshape(-1))
    return K


def coordinate_ascent(
    K: Array, h: Array, width: int = 0, time_limit: float = 60.0
) -> Optimum | None:
    """The optimum, or None if the sweeps or `time_limit` seconds did not reach it.

    K [N N] with unit diagonal, h [N] >= 0; width = d + e of the rows behind K (see `on_support`).

    >>> found = coordinate_ascent(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.25]))
    >>> found.support, found.lam
    (array([0]), array([1.]))
    """
    lam, g = np.zeros(len(h)), h.copy()
    done, end, most = 0, time.monotonic() + time_limit, max(1, int(BETWEEN / len(h) ** 2))
    for sweeps in SWEEPS:
        for start in range(0, sweeps, most):
            if time.monotonic() > end:
                return None
            sweep(K, lam, g, min(most, sweeps - start))
        done += sweeps
        S = np.flatnonzero(lam)
        if not np.isfinite(lam).all() or len(S) == 0:
            return None
        KS = K[np.ix_(S, S)]
        exact = on_support(KS, h[S], width)
        if exact is None or not exact[0].min() >= 0.0:
            continue
        slack = exact[0] @ K[S] - h
        slack[S] = 0.0
        if slack.min() >= -MISSED * np.sqrt(h[S] @ exact[0]):
            return Optimum(S, *exact, done)
    return None


class Optimum(NamedTuple):
    """Support [s], its multipliers, those of the lifted right-hand sides, sweeps done."""

    support: Array
    lam: Array
    lifted: Array
    sweeps: int


def sweep_twin(K: Array, lam: Array, g: Array, sweeps: int) -> None:
    """`sweeps` passes over the coordinates, in place; reads like the formula."""
    for _ in range(sweeps):
        for j in range(len(lam)):
            step = max(lam[j] + g[j], 0.0) - lam[j]
            lam[j] += step
            g -= step * K[j]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "arcp"}, nogil=True)
def sweep(K, lam, g, sweeps):
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


@numba.njit(cache=True, error_model="numpy")
def multiply(K, C, index):
    """K_ij <- K_ij C[index_i, index_j], in place."""
    for i in range(len(K)):
        for j in range(len(K)):
            K[i, j] *= C[index[i], index[j]]
