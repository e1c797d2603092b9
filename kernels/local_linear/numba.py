"""Local linear attention in numba, a block of queries at a time, which lie in the lanes.

Its weights on all keys are made once and kept while the block is worked on; then come the fit (see
`fit`) and a sweep for the output.  Memory grows as N: (tile + K + V) numbers for each key.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from dsf.kernels import compiled, vectors
from dsf.kernels.exponential import LOG2E, powers
from dsf.kernels.local_linear.blocks import along, gathered, hide, inner, weights
from dsf.kernels.local_linear.fit import by_factors, clear, descend, factors, iterations
from dsf.kernels.local_linear.moments import lifted
from dsf.kernels.local_linear.reference import undetermined
from dsf.kernels.products import copy_rows, product, scratch

Array = np.ndarray


@register_jitable
def _unit_of(unit: int, blocks: int, H: int, tile: int) -> tuple[int, int, int]:
    """Batch, head and first query of a work unit: long and short ones in turn."""
    c = unit % blocks
    c = c // 2 if c % 2 == 0 else blocks - 1 - c // 2
    return unit // blocks // H, unit // blocks % H, c * tile


@compiled.part
def _queries(Q: Array, q: Array, i0: int, size: int, columns: int, K: int, factor: Any) -> None:
    """Q [K columns] = factor q[i0 : i0 + size]', and 0 in lanes without a query."""
    Q[:, :columns] = Q.dtype.type(0)
    for m in range(size):
        for d in range(K):
            Q[d, m] = q[i0 + m, d] * factor


@compiled.forward(inputs=3)
def _forward(
    q: Array, k: Array, v: Array, y: Array, lse: Array, lost: Array,
    scale: Any, ridge: Any, log2e: Any, unit: Any, by_mass: bool, causal: bool, tile: int,
    limit: int, first: int, last: int, wide: tuple[int, ...], lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a block of queries of one head, in the lanes."""
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, R = len(lanes), N - M, lifted(K)
    blocks, width = (M + tile - 1) // tile, (tile + W - 1) // W * W
    zero = q.dtype.type(0)
    keys, values = scratch((N, K), q), scratch((tile, V), q)
    P, A = scratch((N, width), q), scratch((tile, width), q)
    Q, mean, b_ = scratch((K, width), q), scratch((K, width), q), scratch((K, width), q)
    r, Z = scratch((K, width), q), scratch((K, width), q)
    D, E = scratch((K, width), q), scratch((K, width), q)
    Y, work, lam = scratch((V, width), q), scratch((8, width), q), scratch((width,), np.float64)
    S, F = scratch((R, width), np.float64), scratch((R, tile), np.float64)
    P64, X64, floor = (
        scratch((tile, width), np.float64),
        scratch((K, width), np.float64),
        scratch((width,), np.float64),
    )
    bad = scratch((width,), np.bool_)
    top, mass = work[6], work[7]
    for unit_ in range(first, last):
        b, h, i0 = _unit_of(unit_, blocks, H, tile)
        g, size, hidden = h * G // H, min(tile, M - i0), i0 + offset if causal else N
        columns = (size + W - 1) // W * W
        stop = max(min(i0 + size + offset, N), 0) if causal else N
        _queries(Q, q[b, :, h], i0, size, columns, K, scale * log2e)
        copy_rows(keys, k[b, :, g], stop, K)
        weights(P, keys, Q, top, mass, mean, stop, K, columns, hidden, tile, lanes)
        for m in range(columns):
            lam[m] = ridge if by_mass else ridge * np.exp2(-np.float64(top[m])) / mass[m]
        for d in range(K):
            for m in range(size):
                b_[d, m] = mean[d, m] - q[b, i0 + m, h, d]
        bad[:] = False
        if not (limit and clear(lam, keys, stop, K, size, unit) and descend(
            r, b_, P, keys, mean, lam, A, Z, D, E, work, unit, limit, stop, K, size, columns,
            hidden, tile, lanes,
        )):  # fmt: skip
            factors(S, F, P64, floor, bad, P, keys, lam, unit, stop, K, columns, hidden, tile, wide)
            by_factors(r, b_, S, X64, K, columns)
        inner(work[0], mean, r, K, columns)
        Y[:, :columns] = zero
        for j0 in range(0, stop, tile):
            n = min(tile, stop - j0)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            block = P[j0 : j0 + n]
            along(A, block, keys[j0 : j0 + n], r, work[0], n, K, columns, hidden - j0, lanes)
            for j in range(n):
                for m in range(columns):
                    A[j, m] = block[j, m] - A[j, m]
            gathered(Y, values.T, A, V, n, columns, hidden - j0, lanes)
        for m in range(size):
            if causal and i0 + m + offset < 0:  # sees no key
                continue
            lost[b, i0 + m, h] = bad[m]
            lse[b, i0 + m, h] = (top[m] + np.log2(mass[m])) / log2e
            for d in range(V):
                y[b, i0 + m, h, d] = Y[d, m]


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
            bool(by_mass), bool(causal), tile, _limit(K, v.dtype), first, last, wide, lanes,
        )  # fmt: skip

    compiled.shared(B * H * math.ceil(M / tile), B * H * M * N * lifted(K), run)
    _refuse(lost)
    return y, lse


def _tile(K: int) -> int:
    """Queries, and keys, that are taken at once: their K x K sums fit the cache."""
    return 64 if K <= 64 else 32


def _limit(K: int, dtype: np.dtype) -> int:
    return int(iterations(K, dtype.itemsize))


def _unit(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).eps)


def _refuse(lost: Array) -> None:
    if lost.any():
        batch, query, head = map(int, np.argwhere(lost)[0])
        raise undetermined(int(lost.sum()), batch, query, head)


@compiled.backward(inputs=5)
def _directions(
    q: Array, k: Array, v: Array, dy: Array, dlse: Array, dq: Array, r: Array, u: Array,
    numbers: Array, lost: Array,
    scale: Any, ridge: Any, log2e: Any, unit: Any, by_mass: bool, causal: bool, tile: int,
    limit: int, first: int, last: int, wide: tuple[int, ...], lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """r_i, u_i of the queries, dq_i = u_i, and (vb'dy, kb'r, kb'u, share of all keys) of each.

    (C + lam I) r = kb - q,  (C + lam I) u = sum_j p_j (v_j'dy) (k_j - kb).  The work units are
    those of `_forward`.
    """
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, R = len(lanes), N - M, lifted(K)
    blocks, width = (M + tile - 1) // tile, (tile + W - 1) // W * W
    zero, one = q.dtype.type(0), q.dtype.type(1)
    keys, values = scratch((N, K), q), scratch((tile, V), q)
    P, A = scratch((N, width), q), scratch((tile, width), q)
    Q, mean, b_ = scratch((K, width), q), scratch((K, width), q), scratch((K, width), q)
    t, X, U = scratch((K, width), q), scratch((K, width), q), scratch((K, width), q)
    Z, D, E = scratch((K, width), q), scratch((K, width), q), scratch((K, width), q)
    Y, work, lam = scratch((V, width), q), scratch((8, width), q), scratch((width,), np.float64)
    S, F = scratch((R, width), np.float64), scratch((R, tile), np.float64)
    P64, X64, floor = (
        scratch((tile, width), np.float64),
        scratch((K, width), np.float64),
        scratch((width,), np.float64),
    )
    bad, total = scratch((width,), np.bool_), scratch((width,), q)
    top, mass = work[6], work[7]
    for unit_ in range(first, last):
        b, h, i0 = _unit_of(unit_, blocks, H, tile)
        g, size, hidden = h * G // H, min(tile, M - i0), i0 + offset if causal else N
        columns = (size + W - 1) // W * W
        stop = max(min(i0 + size + offset, N), 0) if causal else N
        _queries(Q, q[b, :, h], i0, size, columns, K, scale * log2e)
        _queries(Y, dy[b, :, h], i0, size, columns, V, one)
        copy_rows(keys, k[b, :, g], stop, K)
        weights(P, keys, Q, top, mass, mean, stop, K, columns, hidden, tile, lanes)
        for m in range(columns):
            lam[m] = ridge if by_mass else ridge * np.exp2(-np.float64(top[m])) / mass[m]
        total[:columns] = zero
        t[:, :columns] = zero
        for j0 in range(0, stop, tile):
            n = min(tile, stop - j0)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            A[:n, :columns] = zero
            product(A, values, Y, n, V, columns, lanes)
            for j in range(n):
                for m in range(columns):
                    A[j, m] *= P[j0 + j, m]
            hide(A, n, columns, hidden - j0, zero)
            for j in range(n):
                for m in range(columns):
                    total[m] += A[j, m]
            gathered(t, keys[j0 : j0 + n].T, A, K, n, columns, hidden - j0, lanes)
        for d in range(K):
            for m in range(columns):
                t[d, m] -= total[m] * mean[d, m]
            for m in range(size):
                b_[d, m] = mean[d, m] - q[b, i0 + m, h, d]
        bad[:] = False
        if not (limit and clear(lam, keys, stop, K, size, unit) and descend(
            X, b_, P, keys, mean, lam, A, Z, D, E, work, unit, limit, stop, K, size, columns,
            hidden, tile, lanes,
        ) and descend(
            U, t, P, keys, mean, lam, A, Z, D, E, work, unit, limit, stop, K, size, columns,
            hidden, tile, lanes,
        )):  # fmt: skip
            factors(S, F, P64, floor, bad, P, keys, lam, unit, stop, K, columns, hidden, tile, wide)
            by_factors(X, b_, S, X64, K, columns)
            by_factors(U, t, S, X64, K, columns)
        at_r, at_u, bent = work[0], work[1], work[2]
        inner(at_r, mean, X, K, columns)
        inner(at_u, mean, U, K, columns)
        inner(bent, X, U, K, columns)
        for m in range(size):
            i = i0 + m
            if causal and i + offset < 0:
                continue
            lost[b, i, h] = bad[m]
            for d in range(K):
                r[b, h, i, d], u[b, h, i, d], dq[b, h, i, d] = X[d, m], U[d, m], U[d, m]
            numbers[b, h, i, 0], numbers[b, h, i, 1] = total[m], at_r[m]
            numbers[b, h, i, 2] = at_u[m]
            numbers[b, h, i, 3] = dlse[b, i, h] + (lam[m] * bent[m] if by_mass else 0.0)


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
    keys, keys_T = scratch((tile, wide), q), scratch((K, width), q)
    values, values_T = scratch((tile, V), q), scratch((V, width), q)
    Q, Y = scratch((tile, K), q), scratch((tile, V), q)
    P, A = scratch((tile, width), q), scratch((tile, width), q)
    B, E = scratch((tile, width), q), scratch((tile, width), q)
    dk_T, dv_T = scratch((K, width), q), scratch((V, width), q)
    for unit in range(first, last):
        b, g = unit // G, unit % G
        for j0 in range(0, N, tile):
            n = min(tile, N - j0)
            columns = (n + W - 1) // W * W
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            keys_T[:, :columns] = zero
            values_T[:, :columns] = zero
            for j in range(n):
                for d in range(K):
                    keys_T[d, j] = keys[j, d]
                for d in range(V):
                    values_T[d, j] = values[j, d]
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
                        shift = lse[b, i0 + m, h] * log2e
                        for j in range(columns):
                            P[m, j] = P[m, j] * (scale * log2e) - shift
                    powers(P, size, columns, lanes)
                    for m in range(size):
                        i = i0 + m
                        seen = min(max(i + offset - j0 + 1, 0), n) if causal else n
                        mean, at_r = numbers[b, h, i, 0], numbers[b, h, i, 1]
                        at_u, share = numbers[b, h, i, 2], numbers[b, h, i, 3]
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
            q, k, v, dy, dlse, dq, r, u, numbers, lost, float(scale), float(ridge), LOG2E,
            _unit(v.dtype), bool(by_mass), bool(causal), tile, _limit(K, v.dtype), first, last,
            wide, lanes,
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
