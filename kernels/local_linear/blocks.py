"""Weights of a block of queries, which lie in the lanes, on blocks of keys; see `numba`.

Of a block of keys the first of which stands at j0, query m sees those up to j0 + hidden + m.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.kernels.compiled import part
from dsf.kernels.exponential import powers
from dsf.kernels.products import product, scratch

Array = np.ndarray


@part
def hide(P: Array, n: int, columns: int, hidden: int, value: Any) -> None:
    """P[j, m] = value where query m does not see key j."""
    for j in range(max(hidden + 1, 0), n):
        for m in range(min(j - hidden, columns)):
            P[j, m] = value


@part
def finite(A: Array, rows: int, n: int) -> bool:
    """Whether the sum of A[:rows, :n] is a number, so that each of them is."""
    total = A.dtype.type(0)
    for a in range(rows):
        for j in range(n):
            total += A[a, j]
    return bool(np.isfinite(total))


@part
def gathered(
    C: Array, A: Array, P: Array, rows: int, n: int, columns: int, hidden: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """C += A [rows n] P [n columns]; what is not finite does not reach queries before it."""
    if hidden >= n - 1 or finite(A, rows, n):
        product(C, A, P, rows, n, columns, lanes)
        return
    for j in range(n):
        for m in range(max(j - hidden, 0), columns):
            for a in range(rows):
                C[a, m] += A[a, j] * P[j, m]


@part
def weights(
    P: Array, keys: Array, Q: Array, top: Array, mass: Array, mean: Array, stop: int, K: int,
    columns: int, hidden: int, tile: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """P [stop columns] = 2^(keys Q) / its sums, which are mass 2^top; mean [K columns] of the keys.

    A query that sees no key has mass 0 and no numbers elsewhere.
    """
    zero, lowest = P.dtype.type(0), P.dtype.type(-np.inf)
    top[:columns] = lowest
    mass[:columns] = zero
    mean[:, :columns] = zero
    P[:stop, :columns] = zero
    for j0 in range(0, stop, tile):
        n = min(tile, stop - j0)
        block = P[j0 : j0 + n]
        product(block, keys[j0 : j0 + n], Q, n, K, columns, lanes)
        hide(block, n, columns, hidden - j0, lowest)
        for j in range(n):
            for m in range(columns):
                top[m] = max(top[m], block[j, m])
    for j in range(stop):
        for m in range(columns):
            P[j, m] -= top[m]
    powers(P, stop, columns, lanes)
    for j in range(stop):
        for m in range(columns):
            mass[m] += P[j, m]
    inverse = scratch((columns,), P)
    for m in range(columns):
        inverse[m] = (zero + 1) / mass[m]
    for j0 in range(0, stop, tile):
        n = min(tile, stop - j0)
        block = P[j0 : j0 + n]
        for j in range(n):
            for m in range(columns):
                block[j, m] *= inverse[m]
        hide(block, n, columns, hidden - j0, zero)
        gathered(mean, keys[j0 : j0 + n].T, block, K, n, columns, hidden - j0, lanes)


@part
def inner(out: Array, A: Array, B: Array, K: int, columns: int) -> None:
    """out[m] = sum_d A[d, m] B[d, m]."""
    out[:columns] = A.dtype.type(0)
    for d in range(K):
        for m in range(columns):
            out[m] += A[d, m] * B[d, m]


@part
def along(
    A: Array, P: Array, keys: Array, X: Array, at_mean: Array, n: int, K: int, columns: int,
    hidden: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """A [n columns] = P ((k_j - kb)'x) with at_mean = kb'x, and 0 where a key is not seen."""
    A[:n, :columns] = A.dtype.type(0)
    product(A, keys, X, n, K, columns, lanes)
    for j in range(n):
        for m in range(columns):
            A[j, m] = P[j, m] * (A[j, m] - at_mean[m])
    hide(A, n, columns, hidden, A.dtype.type(0))
