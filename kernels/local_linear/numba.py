"""Local linear attention in numba, streamed over blocks of keys; memory grows as n d.

Three steps for a block of queries, which lie in the lanes: the moments of the keys with an online
maximum (see `moments`), the fit, and a second sweep for the output.  A fit by conjugate gradients
needs no K x K matrix, but sweeps over the keys in each iteration.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from dsf.kernels import compiled, vectors
from dsf.kernels.exponential import LOG2E, exp2
from dsf.kernels.local_linear.moments import centre, factor, lift, lifted, solve
from dsf.kernels.local_linear.reference import undetermined
from dsf.kernels.products import copy_rows, product

Array = np.ndarray
TILE = 64  # queries, and keys, that are taken at once


@numba.njit(nogil=True, error_model="numpy")
def _hide(P: Array, n: int, columns: int, hidden: int, value: Any) -> None:
    """P[j, m] = value where key j lies after query m: j > hidden + m."""
    for j in range(max(hidden + 1, 0), n):
        for m in range(min(j - hidden, columns)):
            P[j, m] = value


@numba.njit(nogil=True, error_model="numpy", fastmath={*compiled.EXACT})
def _logits(
    P: Array, keys: Array, Q: Array, n: int, K: int, columns: int, hidden: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """P [n columns] <- keys Q, and -inf for keys that a query does not see."""
    P[:n, :columns] = P.dtype.type(0)
    product(P, keys, Q, n, K, columns, lanes)
    _hide(P, n, columns, hidden, P.dtype.type(-np.inf))


@numba.njit(nogil=True, error_model="numpy", fastmath={*compiled.EXACT})
def _powers(P: Array, shift: Array, n: int, columns: int) -> None:
    """P <- 2^(P - shift)."""
    for j in range(n):
        for m in range(columns):
            P[j, m] = exp2(P[j, m] - shift[m])


@numba.njit(nogil=True, error_model="numpy", fastmath={*compiled.EXACT})
def _gathered(
    C: Array, A: Array, P: Array, rows: int, n: int, columns: int, hidden: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """C += A [rows n] P [n columns]; what is not finite does not reach a query before it."""
    if hidden >= n - 1 or np.isfinite(A[:rows, :n].sum()):
        product(C, A, P, rows, n, columns, lanes)
        return
    for j in range(n):
        for m in range(max(j - hidden, 0), columns):
            for a in range(rows):
                C[a, m] += A[a, j] * P[j, m]


@compiled.forward(inputs=3)
def _forward(
    q: Array, k: Array, v: Array, y: Array, lse: Array, lost: Array,
    scale: Any, ridge: Any, log2e: Any, unit: Any, by_mass: bool, causal: bool, tile: int,
    first: int, last: int, wide: tuple[int, ...], lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a block of queries of one head, in the lanes."""
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, R = len(lanes), N - M, lifted(K)
    blocks, width = (M + tile - 1) // tile, (tile + W - 1) // W * W
    zero, lowest = q.dtype.type(0), q.dtype.type(-np.inf)
    Q, P = np.zeros((K, width), q.dtype), np.zeros((tile, width), q.dtype)
    B, Y = np.zeros((tile, width), q.dtype), np.zeros((V, width), q.dtype)
    keys, values = np.zeros((tile, K), q.dtype), np.zeros((tile, V), q.dtype)
    top, now = np.zeros(width, q.dtype), np.zeros(width, q.dtype)
    at_mean, r = np.zeros(width, q.dtype), np.zeros((K, width), q.dtype)
    F, S, P64 = np.zeros((R, tile)), np.zeros((R, width)), np.zeros((tile, width))
    X, lam, floor = np.zeros((K, width)), np.zeros(width), np.zeros(width)
    bad = np.zeros(width, np.bool_)
    for unit_ in range(first, last):
        b, h, c = unit_ // blocks // H, unit_ // blocks % H, unit_ % blocks
        c = c // 2 if c % 2 == 0 else blocks - 1 - c // 2  # long and short ones in turn
        g, i0 = h * G // H, c * tile
        size = min(tile, M - i0)
        columns = (size + W - 1) // W * W
        stop = max(min(i0 + size + offset, N), 0) if causal else N
        for d in range(K):
            for m in range(size):
                Q[d, m] = q[b, i0 + m, h, d] * (scale * log2e)
            for m in range(size, columns):
                Q[d, m] = zero
        top[:] = lowest
        S[:, :columns] = 0.0
        for j0 in range(0, stop, tile):
            n = min(tile, stop - j0)
            hidden = i0 + offset - j0 if causal else n
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            lift(F, keys, n, K)
            _logits(P, keys, Q, n, K, columns, hidden, lanes)
            for m in range(columns):
                now[m] = top[m]
            for j in range(n):
                for m in range(columns):
                    now[m] = max(now[m], P[j, m])
            for m in range(columns):
                old, top[m] = top[m], now[m]
                now[m] = zero if now[m] == lowest else now[m]
                if old != top[m] and j0:
                    shrink = exp2(old - now[m])
                    for a in range(R):
                        S[a, m] *= shrink
            _powers(P, now, n, columns)
            for j in range(n):
                for m in range(columns):
                    P64[j, m] = P[j, m]
            _gathered(S, F, P64, R, n, columns, hidden, wide)
        for m in range(columns):
            mass = S[K, m]
            lam[m] = ridge if by_mass else ridge * np.exp2(-np.float64(top[m])) / mass
            if m < size:
                lse[b, i0 + m, h] = (top[m] + np.log2(mass)) / log2e
        centre(S, lam, floor, K, columns, unit)
        factor(S, floor, bad, K, columns)
        for d in range(K):
            for m in range(size):
                X[d, m] = S[d, m] - q[b, i0 + m, h, d]
        solve(S, X, K, columns)
        for m in range(columns):
            along = 0.0
            for d in range(K):
                along += S[d, m] * X[d, m]
                r[d, m] = X[d, m]
            at_mean[m] = along
        Y[:, :columns] = zero
        for j0 in range(0, stop, tile):
            n = min(tile, stop - j0)
            hidden = i0 + offset - j0 if causal else n
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            _logits(P, keys, Q, n, K, columns, hidden, lanes)
            _powers(P, top, n, columns)
            B[:n, :columns] = zero
            product(B, keys, r, n, K, columns, lanes)
            for j in range(n):
                for m in range(columns):
                    P[j, m] *= 1 - (B[j, m] - at_mean[m])
            _hide(P, n, columns, hidden, zero)
            _gathered(Y, values.T, P, V, n, columns, hidden, lanes)
        for m in range(size):
            mass = zero + S[K, m]
            if causal and i0 + m + offset < 0:  # sees no key
                continue
            lost[b, i0 + m, h] = bad[m]
            for d in range(V):
                y[b, i0 + m, h, d] = Y[d, m] / mass


def forward(
    q: Array, k: Array, v: Array, scale: float, ridge: float, by_mass: float, causal: float,
    tile: int = TILE,
) -> tuple[Array, Array]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads.

    Of `tile` queries and keys at a time, which changes the order of the sums and nothing else.
    Raises IllConditionedError.
    """
    (B, M, H, K), N = q.shape, k.shape[1]
    y, lse = np.zeros((B, M, H, v.shape[3]), v.dtype), np.full((B, M, H), -np.inf, v.dtype)
    lost = np.zeros((B, M, H), np.bool_)
    if M == 0 or N == 0:
        return y, lse
    wide, lanes = vectors.lanes(np.dtype(np.float64)), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _forward(
            q, k, v, y, lse, lost, float(scale), float(ridge), LOG2E, _unit(v.dtype),
            bool(by_mass), bool(causal), tile, first, last, wide, lanes,
        )  # fmt: skip

    compiled.shared(B * H * math.ceil(M / tile), B * H * M * N * lifted(K), run)
    _refuse(lost)
    return y, lse


def _unit(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


def _refuse(lost: Array) -> None:
    if lost.any():
        batch, query, head = map(int, np.argwhere(lost)[0])
        raise undetermined(int(lost.sum()), batch, query, head)
