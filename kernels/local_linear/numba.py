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
    tile: int = 0,
) -> tuple[Array, Array]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads.

    Of `tile` queries and keys at a time (0: as many as suit the cache), which changes the order of
    the sums and nothing else.  Raises IllConditionedError.
    """
    (B, M, H, K), N = q.shape, k.shape[1]
    tile = tile or _tile(K)
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


def _tile(K: int) -> int:
    """Queries, and keys, that are taken at once: their K x K sums stay in the cache."""
    return 64 if K <= 32 else 32


def _unit(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


def _refuse(lost: Array) -> None:
    if lost.any():
        batch, query, head = map(int, np.argwhere(lost)[0])
        raise undetermined(int(lost.sum()), batch, query, head)


@compiled.backward(inputs=6)
def _directions(
    q: Array, k: Array, v: Array, lse: Array, dy: Array, dlse: Array, dq: Array, r: Array,
    u: Array, numbers: Array, lost: Array,
    scale: Any, ridge: Any, log2e: Any, unit: Any, by_mass: bool, causal: bool, tile: int,
    first: int, last: int, wide: tuple[int, ...], lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """r_i, u_i of the queries, dq_i = u_i, and (vb'dy, kb'r, kb'u, share of all keys) of each.

    (C + lam I) r = kb - q,  (C + lam I) u = sum_j p_j (v_j'dy) (k_j - kb).  The work units are
    those of `_forward`.
    """
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, R = len(lanes), N - M, lifted(K)
    blocks, width = (M + tile - 1) // tile, (tile + W - 1) // W * W
    zero = q.dtype.type(0)
    Q, P = np.zeros((K, width), q.dtype), np.zeros((tile, width), q.dtype)
    Y, D = np.zeros((V, width), q.dtype), np.zeros((tile, width), q.dtype)
    keys, values = np.zeros((tile, K), q.dtype), np.zeros((tile, V), q.dtype)
    shift = np.zeros(width, q.dtype)
    F, S, P64 = np.zeros((R, tile)), np.zeros((R, width)), np.zeros((tile, width))
    X, T, T0 = np.zeros((K, width)), np.zeros((K, width)), np.zeros((1, width))
    lam, floor, bad = np.zeros(width), np.zeros(width), np.zeros(width, np.bool_)
    for unit_ in range(first, last):
        b, h, c = unit_ // blocks // H, unit_ // blocks % H, unit_ % blocks
        c = c // 2 if c % 2 == 0 else blocks - 1 - c // 2
        g, i0 = h * G // H, c * tile
        size = min(tile, M - i0)
        columns = (size + W - 1) // W * W
        stop = max(min(i0 + size + offset, N), 0) if causal else N
        Q[:, :columns] = zero
        Y[:, :columns] = zero
        shift[:columns] = zero
        for m in range(size):
            for d in range(K):
                Q[d, m] = q[b, i0 + m, h, d] * (scale * log2e)
            for d in range(V):
                Y[d, m] = dy[b, i0 + m, h, d]
            if lse[b, i0 + m, h] != -np.inf:
                shift[m] = lse[b, i0 + m, h] * log2e
        S[:, :columns] = 0.0
        T[:, :columns] = 0.0
        T0[:, :columns] = 0.0
        for j0 in range(0, stop, tile):
            n = min(tile, stop - j0)
            hidden = i0 + offset - j0 if causal else n
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            lift(F, keys, n, K)
            _logits(P, keys, Q, n, K, columns, hidden, lanes)
            _powers(P, shift, n, columns)
            for j in range(n):
                for m in range(columns):
                    P64[j, m] = P[j, m]
            _gathered(S, F, P64, R, n, columns, hidden, wide)
            D[:n, :columns] = zero
            product(D, values, Y, n, V, columns, lanes)
            for j in range(n):
                for m in range(columns):
                    P64[j, m] *= D[j, m]
            _hide(P64, n, columns, hidden, 0.0)
            _gathered(T, F, P64, K, n, columns, hidden, wide)
            for j in range(n):
                for m in range(columns):
                    T0[0, m] += P64[j, m]
        for m in range(columns):
            lam[m] = ridge if by_mass else ridge * np.exp2(-np.float64(shift[m]))
        centre(S, lam, floor, K, columns, unit)
        factor(S, floor, bad, K, columns)
        for m in range(columns):
            T0[0, m] /= S[K, m]
        for d in range(K):
            for m in range(size):
                X[d, m] = S[d, m] - q[b, i0 + m, h, d]
            for m in range(columns):
                T[d, m] = T[d, m] / S[K, m] - T0[0, m] * S[d, m]
        solve(S, X, K, columns)
        solve(S, T, K, columns)
        for m in range(size):
            i = i0 + m
            if causal and i + offset < 0:
                continue
            lost[b, i, h] = bad[m]
            along = ahead = inner = 0.0
            for d in range(K):
                along += S[d, m] * X[d, m]
                ahead += S[d, m] * T[d, m]
                inner += X[d, m] * T[d, m]
                r[b, h, i, d], u[b, h, i, d], dq[b, h, i, d] = X[d, m], T[d, m], T[d, m]
            numbers[b, h, i, 0], numbers[b, h, i, 1] = T0[0, m], along
            numbers[b, h, i, 2] = ahead
            numbers[b, h, i, 3] = dlse[b, i, h] + (lam[m] * inner if by_mass else 0.0)


@compiled.backward(inputs=8)
def _back(
    q: Array, k: Array, v: Array, lse: Array, dy: Array, r: Array, u: Array, numbers: Array,
    dq: Array, dk: Array, dv: Array,
    scale: Any, log2e: Any, causal: bool, tile: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a head of keys, which lie in the lanes.

    With a_j = (v_j - vb)'dy, b_j = (k_j - kb)'r, e_j = (k_j - kb)'u:  dv_j += p_j (1 - b_j) dy,
    dk_j -= p_j ((a_j - e_j) r + (1 - b_j) u),  ds_j = p_j ((a_j - e_j) (1 - b_j) + share).
    """
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, wide = len(lanes), N - M, dq.shape[3]
    width = (tile + W - 1) // W * W
    zero, one = q.dtype.type(0), q.dtype.type(1)
    keys, keys_T = np.zeros((tile, wide), q.dtype), np.zeros((K, width), q.dtype)
    values, values_T = np.zeros((tile, V), q.dtype), np.zeros((V, width), q.dtype)
    Q, Y = np.zeros((tile, K), q.dtype), np.zeros((tile, V), q.dtype)
    P, A = np.zeros((tile, width), q.dtype), np.zeros((tile, width), q.dtype)
    B, E = np.zeros((tile, width), q.dtype), np.zeros((tile, width), q.dtype)
    dk_T, dv_T = np.zeros((K, width), q.dtype), np.zeros((V, width), q.dtype)
    for unit in range(first, last):
        b, g = unit // G, unit % G
        for j0 in range(0, N, tile):
            n = min(tile, N - j0)
            columns = (n + W - 1) // W * W
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            keys_T[:, :columns] = zero
            values_T[:, :columns] = zero
            keys_T[:, :n] = keys[:n, :K].T
            values_T[:, :n] = values[:n].T
            dk_T[:, :columns] = zero
            dv_T[:, :columns] = zero
            for h in range(g * (H // G), (g + 1) * (H // G)):
                start = max(j0 - offset, 0) // tile * tile if causal else 0
                for i0 in range(start, M, tile):
                    size = min(tile, M - i0)
                    copy_rows(Q, q[b, i0 : i0 + size, h], size, K)
                    copy_rows(Y, dy[b, i0 : i0 + size, h], size, V)
                    rows, along = r[b, h, i0 : i0 + size], u[b, h, i0 : i0 + size]
                    P[:size, :columns] = zero
                    A[:size, :columns] = zero
                    B[:size, :columns] = zero
                    E[:size, :columns] = zero
                    product(P, Q, keys_T, size, K, columns, lanes)
                    product(A, Y, values_T, size, V, columns, lanes)
                    product(B, rows, keys_T, size, K, columns, lanes)
                    product(E, along, keys_T, size, K, columns, lanes)
                    for m in range(size):
                        i = i0 + m
                        seen = min(max(i + offset - j0 + 1, 0), n) if causal else n
                        shift = lse[b, i, h] * log2e
                        mean, at_r, at_u = numbers[b, h, i, 0], numbers[b, h, i, 1], numbers[b, h, i, 2]
                        share = numbers[b, h, i, 3]
                        for j in range(columns):
                            P[m, j] = exp2(P[m, j] * (scale * log2e) - shift)
                        for j in range(columns):
                            rest = one - (B[m, j] - at_r)
                            z = P[m, j] * ((A[m, j] - mean) - (E[m, j] - at_u))
                            ds = (z * rest + P[m, j] * share) * scale
                            w = P[m, j] * rest
                            P[m, j], A[m, j], B[m, j], E[m, j] = w, -z, -w, ds
                        for j in range(seen, columns):
                            P[m, j] = A[m, j] = B[m, j] = E[m, j] = zero
                    product(dv_T, Y.T, P, V, size, columns, lanes)
                    product(dk_T, rows.T, A, K, size, columns, lanes)
                    product(dk_T, along.T, B, K, size, columns, lanes)
                    product(dk_T, Q.T, E, K, size, columns, lanes)
                    product(dq[b, h, i0 : i0 + size], E, keys, size, n, wide, lanes)
            for j in range(n):
                for d in range(K):
                    dk[b, j0 + j, g, d] = dk_T[d, j]
                for d in range(V):
                    dv[b, j0 + j, g, d] = dv_T[d, j]


def backward(
    q: Array, k: Array, v: Array, lse: Array, scale: float, ridge: float, by_mass: float,
    causal: float, dy: Array, dlse: Array, tile: int = 0,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k and v from log omega of `forward` and the gradients of what it gave.

    The moments are made again: to keep them, or their factors, would take n K x K matrices.
    """
    (B, M, H, K), (N, G), V = q.shape, k.shape[1:3], v.shape[3]
    tile = tile or _tile(K)
    wide, lanes = vectors.lanes(np.dtype(np.float64)), vectors.lanes(v.dtype)
    dq = np.zeros((B, H, M, math.ceil(K / len(lanes)) * len(lanes)), q.dtype)
    dk, dv = np.zeros(k.shape, q.dtype), np.zeros(v.shape, q.dtype)
    r, u = np.zeros((2, B, H, M, K), q.dtype)
    numbers, lost = np.zeros((B, H, M, 4), q.dtype), np.zeros((B, M, H), np.bool_)

    def directions(first: int, last: int) -> None:
        _directions(
            q, k, v, lse, dy, dlse, dq, r, u, numbers, lost, float(scale), float(ridge), LOG2E,
            _unit(v.dtype), bool(by_mass), bool(causal), tile, first, last, wide, lanes,
        )  # fmt: skip

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, lse, dy, r, u, numbers, dq, dk, dv, float(scale), LOG2E, bool(causal), tile,
            first, last, lanes,
        )  # fmt: skip

    if M and N:
        work = B * H * M * N
        compiled.shared(B * H * math.ceil(M / tile), work * lifted(K), directions)
        _refuse(lost)
        compiled.shared(B * G, 3 * work * (3 * K + V), run)
    return np.ascontiguousarray(np.moveaxis(dq[..., :K], 1, 2)), dk, dv
