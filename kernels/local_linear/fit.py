"""The fits (C + lam I) x = b of a block of queries: conjugate gradients, or Cholesky factors.

Conjugate gradients form no K x K matrix: an iteration is two products with the keys, factors cost
K / 4 times as much.  A row holds if its residual, computed anew from x, is at most TOLERANCE
units of b.  Where one does not, or a ridge is lost in rounding, the whole block is solved by
factors, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from dsf.kernels.compiled import part
from dsf.kernels.local_linear.blocks import along, gathered, inner
from dsf.kernels.local_linear.moments import centre, factor, lift, lifted, solve

Array = np.ndarray
TOLERANCE = 16  # units of the dtype, of |b|
AIM = 4  # where an iteration stops: the residual it carries along is not quite the true one


@register_jitable
def iterations(K: int, itemsize: int) -> int:
    """How many are tried: none where factors are as fast or faster (measured, 2048 keys).

    float32 with K = 64: 5 times faster than factors at ridge 10, twice at 0.1; float64 with K = 64
    as fast at 10 and half as fast at 0.1, with K = 128 3 times faster and 1.4 times slower.
    """
    return 0 if K < (32 if itemsize == 4 else 96) else K // 2


@part
def clear(lam: Array, keys: Array, stop: int, K: int, size: int, unit: Any) -> bool:
    """Whether every lam stands above the rounding of C, whose norm is at most max |k|^2.

    Where it does not, a small residual would say nothing.
    """
    most = keys.dtype.type(0)
    for j in range(stop):
        square = keys.dtype.type(0)
        for d in range(K):
            square += keys[j, d] * keys[j, d]
        most = max(most, square)
    above = True
    for m in range(size):
        above &= lam[m] > unit * most
    return above


@part
def times(
    Z: Array, D: Array, P: Array, keys: Array, mean: Array, lam: Array, A: Array, work: Array,
    stop: int, K: int, columns: int, hidden: int, tile: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Z = (C + lam I) D:  C x = sum_j p_j ((k_j - kb)'x) (k_j - kb)."""
    at_mean, total = work[0], work[1]
    inner(at_mean, mean, D, K, columns)
    total[:columns] = Z.dtype.type(0)
    Z[:, :columns] = Z.dtype.type(0)
    for j0 in range(0, stop, tile):
        n = min(tile, stop - j0)
        block = keys[j0 : j0 + n]
        along(A, P[j0 : j0 + n], block, D, at_mean, n, K, columns, hidden - j0, lanes)
        for j in range(n):
            for m in range(columns):
                total[m] += A[j, m]
        gathered(Z, block.T, A, K, n, columns, hidden - j0, lanes)
    for d in range(K):
        for m in range(columns):
            Z[d, m] += lam[m] * D[d, m] - total[m] * mean[d, m]


@part
def descend(
    X: Array, b: Array, P: Array, keys: Array, mean: Array, lam: Array, A: Array, Z: Array,
    D: Array, E: Array, work: Array, unit: Any, limit: int, stop: int, K: int, size: int,
    columns: int, hidden: int, tile: int, lanes: tuple[int, ...],
) -> bool:  # fmt: skip
    """X [K columns] from 0 by conjugate gradients; whether all rows of the block hold."""
    zero = X.dtype.type(0)
    square, wanted, alpha, old = work[2], work[3], work[4], work[5]
    for d in range(K):
        for m in range(columns):
            X[d, m], E[d, m], D[d, m] = zero, b[d, m], b[d, m]
    inner(square, E, E, K, columns)
    for m in range(columns):
        wanted[m] = square[m] * (unit * unit)
    for _ in range(limit):
        running = False
        for m in range(size):
            running |= square[m] > wanted[m] * (AIM * AIM)
        if not running:
            break
        times(Z, D, P, keys, mean, lam, A, work, stop, K, columns, hidden, tile, lanes)
        inner(alpha, D, Z, K, columns)
        for m in range(columns):
            old[m] = square[m]
            moves = square[m] > wanted[m] * (AIM * AIM)
            alpha[m] = square[m] / alpha[m] if moves else zero
        for d in range(K):
            for m in range(columns):
                X[d, m] += alpha[m] * D[d, m]
                E[d, m] -= alpha[m] * Z[d, m]
        inner(square, E, E, K, columns)
        for m in range(columns):
            alpha[m] = square[m] / old[m] if alpha[m] != zero else zero
        for d in range(K):
            for m in range(columns):
                D[d, m] = E[d, m] + alpha[m] * D[d, m]
    times(Z, X, P, keys, mean, lam, A, work, stop, K, columns, hidden, tile, lanes)
    for d in range(K):
        for m in range(columns):
            E[d, m] = b[d, m] - Z[d, m]
    inner(square, E, E, K, columns)
    holds = True
    for m in range(size):
        holds &= square[m] <= wanted[m] * (TOLERANCE * TOLERANCE)
    return holds


@part
def factors(
    S: Array, F: Array, P64: Array, floor: Array, lost: Array, P: Array, keys: Array, lam: Array,
    unit: Any, stop: int, K: int, columns: int, hidden: int, tile: int, wide: tuple[int, ...],
) -> None:  # fmt: skip
    """The Cholesky factors of the block, in S; see `moments`."""
    S[:, :columns] = 0.0
    for j0 in range(0, stop, tile):
        n = min(tile, stop - j0)
        lift(F, keys[j0 : j0 + n], n, K)
        for j in range(n):
            for m in range(columns):
                P64[j, m] = P[j0 + j, m]
        gathered(S, F, P64, lifted(K), n, columns, hidden - j0, wide)
    centre(S, lam, floor, K, columns, unit)
    factor(S, floor, lost, K, columns)


@part
def by_factors(X: Array, b: Array, S: Array, X64: Array, K: int, columns: int) -> None:
    """X = (C + lam I)^-1 b with the factors in S."""
    for d in range(K):
        for m in range(columns):
            X64[d, m] = b[d, m]
    solve(S, X64, K, columns)
    for d in range(K):
        for m in range(columns):
            X[d, m] = X64[d, m]
