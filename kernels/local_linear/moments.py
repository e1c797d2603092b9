"""The weighted moments of keys, and the fit they determine, for a block of queries in the lanes.

A key is lifted to (k; 1; k_a k_b for b <= a), so that one product with the weights of a block of
queries gives mean, mass and second moment of each.  They are float64 whatever the inputs are: the
square of the mean is taken off again, and products of float32 numbers are exact there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from dsf.kernels.compiled import part

Array = np.ndarray


@register_jitable
def lifted(K: int) -> int:
    """How many numbers a key is lifted to."""
    return K + 1 + K * (K + 1) // 2


@part
def lift(F: Array, keys: Array, n: int, K: int) -> None:
    """F[:, j] = (k; 1; k_a k_b for b <= a) of the keys [n K]."""
    for a in range(K):
        for j in range(n):
            F[a, j] = keys[j, a]
    F[K, :n] = 1.0
    row = K + 1
    for a in range(K):
        for b in range(a + 1):
            for j in range(n):
                F[row, j] = F[a, j] * F[b, j]
            row += 1


@part
def centre(S: Array, lam: Array, floor: Array, K: int, columns: int, unit: Any) -> None:
    """Sums of lifted keys -> mean, mass, C + lam I; `floor`: what rounding leaves of a pivot.

    S [lifted columns], lam, floor [columns].  A pivot is lost below unit trace(C), the rounding
    of the weights, and below K 2^-52 times the mean square of the keys, that of the sums.
    """
    for m in range(columns):
        floor[m] = 0.0
    for a in range(K):
        for m in range(columns):
            S[a, m] /= S[K, m]
    row = K + 1
    for a in range(K):
        for b in range(a + 1):
            for m in range(columns):
                S[row, m] /= S[K, m]
            if a == b:
                for m in range(columns):
                    floor[m] += (K * 2.0**-52 + unit) * S[row, m] - unit * S[a, m] * S[a, m]
                    S[row, m] += lam[m]
            for m in range(columns):
                S[row, m] -= S[a, m] * S[b, m]
            row += 1


@part
def factor(S: Array, floor: Array, lost: Array, K: int, columns: int) -> None:
    """The lower triangle below row K of S -> its Cholesky factor, 1/pivot on the diagonal.

    lost[m]: whether a pivot was not above floor[m]; a pivot that is no number is not lost.
    """
    for m in range(columns):
        lost[m] = False
    for a in range(K):
        row = K + 1 + a * (a + 1) // 2
        for b in range(a + 1):
            other = K + 1 + b * (b + 1) // 2
            x = S[row + b]
            for c in range(b):
                for m in range(columns):
                    x[m] -= S[row + c, m] * S[other + c, m]
            if b < a:
                for m in range(columns):
                    x[m] *= S[other + b, m]
        x = S[row + a]
        for m in range(columns):
            lost[m] |= x[m] <= floor[m]
            x[m] = 1.0 / np.sqrt(x[m])


@part
def solve(S: Array, X: Array, K: int, columns: int) -> None:
    """X [K columns] <- (C + lam I)^-1 X with the factor in S."""
    for a in range(K):
        row = K + 1 + a * (a + 1) // 2
        for c in range(a):
            for m in range(columns):
                X[a, m] -= S[row + c, m] * X[c, m]
        for m in range(columns):
            X[a, m] *= S[row + a, m]
    for a in range(K - 1, -1, -1):
        for c in range(a + 1, K):
            row = K + 1 + c * (c + 1) // 2
            for m in range(columns):
                X[a, m] -= S[row + a, m] * X[c, m]
        for m in range(columns):
            X[a, m] *= S[K + 1 + a * (a + 1) // 2 + a, m]
