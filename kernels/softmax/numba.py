"""Softmax attention in numba, streamed over blocks of keys with an online maximum and sum.

No sum runs across a vector: logits have their queries in the lanes forward and their keys backward,
outputs their channels.  Blocks of queries and keys start at the same positions: a sum of forget
gates between two blocks is then made of whole blocks, always added up and never subtracted, and a
gate of -inf works.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from dsf.kernels import compiled, vectors
from dsf.kernels.exponential import LOG2E, powers
from dsf.kernels.products import copy_rows, product, scratch
from dsf.kernels.rows import give, take
from dsf.kernels.softmax.sweeps import gather, online, scores, turned

Array = np.ndarray
BLOCK = 64  # keys, and queries, that the gradients take at once
TILE = 256  # bytes of the logits of a key on the queries that are taken at once; as many keys
FEW = 8  # tiles of a product: rows that come next are asked for in so many parts
TOGETHER = 16  # blocks of queries that share a copy of a block of keys


@numba.njit(inline="always")
def _first_key(position: int, window: int) -> int:
    return max(0, position + 1 - window) if window else 0


@compiled.part
def _forgotten(forget: Array, start: int, stop: int, after: Array, before: Array) -> float:
    """Of the gates start .. stop-1: the sums after each, and up to each; returns the whole sum."""
    total = 0.0
    for j in range(stop - 1, start - 1, -1):
        after[j - start] = total
        total += forget[j]
    total = 0.0
    for j in range(start, stop):
        total += forget[j]
        before[j - start] = total
    return total


@compiled.part
def _finite(values: Array, n: int, V: int) -> bool:
    """Whether values[0, :n, :V] has neither NaN nor infinity."""
    odd = 0
    for j in range(n):
        for d in range(V):
            odd += values[0, j, d] - values[0, j, d] != 0
    return odd == 0


@compiled.forward(inputs=6)
def _forward(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, sink: Array, y: Array, lse: Array,
    scale: Any, log2e: Any, causal: bool, window: int, together: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a few blocks of queries of one head, in the lanes."""
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset = len(lanes), N - M
    wide, deep = (V + W - 1) // W * W, (K + W - 1) // W * W
    tile = TILE // q.itemsize
    low = offset // tile
    blocks = (N - 1) // tile - low + 1
    groups = (blocks + together - 1) // together
    zero, one, lowest = q.dtype.type(0), q.dtype.type(1), q.dtype.type(-np.inf)
    Q, P = scratch((together, deep, tile), q), scratch((tile, tile), q)
    queries, Y = scratch((1, tile, deep), q), scratch((together, tile, wide), q)
    keys, values = scratch((1, tile, K), q), scratch((1, tile, wide), q)
    out = Y.reshape((together * tile, 1, wide))
    top, total = scratch((together, tile), q), scratch((together, tile), q)
    shrink = scratch((1, tile), q)
    after, before = scratch((tile,), np.float64), scratch((together, tile), np.float64)
    unused, between = scratch((tile,), np.float64), scratch((together,), np.float64)
    gated, sunk, biased = forget.shape[1] > 0, sink.shape[1] > 0, bias.shape[3] > 0
    for unit in range(first, last):
        b, h, group = unit // groups // H, unit // groups % H, unit % groups
        group = group // 2 if group % 2 == 0 else groups - 1 - group // 2  # long, short in turn
        g = h * G // H
        c0 = low + group * together
        c1 = min(c0 + together, low + blocks)
        for c in range(c0, c1):
            e = c - c0
            p0, p1 = max(c * tile, offset), min(c * tile + tile, N)
            size = p1 - p0
            take(queries, 0, q, b, p0 - offset, h, 0, size, K, lanes)
            turned(Q, e, queries, tile, deep, scale * log2e, lanes)
            for m in range(tile):
                top[e, m], total[e, m] = lowest, zero
                if sunk:
                    top[e, m], total[e, m] = sink[b, h] * log2e, one
                    if top[e, m] == lowest:
                        total[e, m] = zero
            Y[e] = zero
            between[e] = 0.0
            if gated:
                _forgotten(forget[b, :, h], max(c * tile, 0), max(p1, 0), unused, before[e])
        stop = min(c1 * tile, N) if causal else N
        start = min(_first_key(max(c0 * tile, offset), window), max(stop, 0))
        for block in range((stop - 1) // tile, start // tile - 1, -1):
            j0 = block * tile
            n = min(tile, stop - j0)
            take(keys, 0, k, b, j0, g, 0, n, K, lanes)
            take(values, 0, v, b, j0, g, 0, n, V, lanes)
            whole = 0.0
            if gated:
                whole = _forgotten(forget[b, :, h], j0, j0 + n, after, unused)
            c2 = max(c0, block) if causal else c0
            share = (tile + c1 - c2 - 1) // (c1 - c2)  # of the keys that come next
            each = (share + FEW - 1) // FEW
            for c in range(c2, c1):
                ahead = max(j0 - share * (c - c2 + 1), 0)
                p0, p1 = max(c * tile, offset), min(c * tile + tile, N)
                if block < _first_key(p0, window) // tile:
                    continue
                e, size = c - c0, p1 - p0
                # Where some keys are hidden, half of the queries at once: the first see fewer.
                part = (causal and j0 + n - 1 > p0) or _first_key(p1 - 1, window) > j0
                step = tile // 2 if part else tile
                for m0 in range(0, size, step):
                    m1 = min(m0 + step, size)
                    rows = min(n, p0 + m1 - j0) if causal else n
                    ends = (m1 + W - 1) // W * W
                    scores(P, keys, Q, e, rows, K, m0, ends, k, b, ahead, g, each, lanes)
                    if biased:
                        for m in range(m0, m1):
                            for j in range(rows):
                                P[j, m] += bias[b, h, p0 - offset + m, j0 + j] * log2e
                    if gated and block == c:
                        for m in range(m0, m1):
                            since = 0.0
                            for j in range(p0 + m, j0 - 1, -1):
                                P[j - j0, m] += zero + since * log2e
                                since += forget[b, j, h]
                    elif gated:
                        for j in range(rows):
                            for m in range(m0, m1):
                                since = after[j] + between[e] + before[e, p0 - c * tile + m]
                                P[j, m] += zero + since * log2e
                    if part:
                        for j in range(rows):
                            if causal:
                                for m in range(m0, min(m1, j0 + j - p0)):
                                    P[j, m] = lowest
                            if window:
                                for m in range(max(m0, j0 + j + window - p0), m1):
                                    P[j, m] = lowest
                    online(P, top, total, shrink, e, rows, m0, ends, lanes)
                    if part and not _finite(values, n, V):
                        # a value that is not finite must not reach a query that does not see it
                        for m in range(m0, m1):
                            at = p0 + m
                            for d in range(V):
                                Y[e, m, d] *= shrink[0, m]
                            until = min(rows, at - j0 + 1) if causal else rows
                            for j in range(max(_first_key(at, window) - j0, 0), until):
                                for d in range(V):
                                    Y[e, m, d] += P[j, m] * values[0, j, d]
                    else:
                        gather(
                            Y, e, P, values, shrink, m0, m1, rows, wide, v, b, ahead, g, each, lanes
                        )
                if gated and block != c:
                    between[e] += whole
        for c in range(c0, c1):
            e, p0 = c - c0, max(c * tile, offset)
            for m in range(min(c * tile + tile, N) - p0):
                i = p0 - offset + m
                sums = total[e, m]
                if sums == zero:
                    Y[e, m], sums, top[e, m] = zero, one, lowest
                lse[b, i, h] = (top[e, m] + np.log2(sums)) / log2e
                give(y, b, i, h, 0, out, e * tile + m, 1, V, one / sums, lanes)


def forward(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, sink: Array,
    scale: float, causal: float, window: float,
) -> tuple[Array, Array]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads."""
    (B, M, H, K), N = q.shape, k.shape[1]
    y, lse = np.empty((B, M, H, v.shape[3]), v.dtype), np.empty((B, M, H), v.dtype)
    if M == 0 or N == 0:
        y[...], lse[...] = 0, sink[:, None] if sink.shape[1] else -np.inf
        return y, lse
    tile, lanes = TILE // v.dtype.itemsize, vectors.lanes(v.dtype)
    blocks = (N - 1) // tile - (N - M) // tile + 1
    together = min(max(B * H * blocks // 16, 1), TOGETHER)
    units = B * H * math.ceil(blocks / together)

    def run(first: int, last: int) -> None:
        _forward(
            q, k, v, bias, forget, sink, y, lse, float(scale), LOG2E, bool(causal), int(window),
            together, first, last, lanes,
        )  # fmt: skip

    compiled.shared(units, B * H * M * N * (K + v.shape[3]), run)
    return y, lse


@compiled.backward(inputs=8)
def _back(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, lse: Array, mean: Array, dy: Array,
    dq: Array, dk: Array, dv: Array, dbias: Array, from_row: Array, from_column: Array,
    scale: Any, log2e: Any, causal: bool, window: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a head of keys, which lie in the lanes.

    dq [B H M wide] is added up; `from_row`, `from_column` are the sums of dS over keys, queries.
    """
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset, wide = len(lanes), N - M, dq.shape[3]
    low, blocks, each = offset // BLOCK, (N + BLOCK - 1) // BLOCK, BLOCK // FEW
    zero, lowest = q.dtype.type(0), q.dtype.type(-np.inf)
    keys, keys_T = scratch((BLOCK, wide), q), scratch((1, K, BLOCK), q)
    values, values_T = scratch((BLOCK, V), q), scratch((1, V, BLOCK), q)
    Q, Y = scratch((1, BLOCK, K), q), scratch((1, BLOCK, V), q)
    P, D = scratch((BLOCK, BLOCK), q), scratch((BLOCK, BLOCK), q)
    dk_T, dv_T = scratch((K, BLOCK), q), scratch((V, BLOCK), q)
    after, before, unused = (
        scratch((BLOCK,), np.float64),
        scratch((BLOCK,), np.float64),
        scratch((BLOCK,), np.float64),
    )
    gated, biased = forget.shape[1] > 0, bias.shape[3] > 0
    for unit in range(first, last):
        b, g = unit // G, unit % G
        for block in range(blocks):
            j0 = block * BLOCK
            n = min(BLOCK, N - j0)
            columns = (n + W - 1) // W * W
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            keys_T[0, :, :columns] = zero
            values_T[0, :, :columns] = zero
            for j in range(n):
                for d in range(K):
                    keys_T[0, d, j] = keys[j, d]
                for d in range(V):
                    values_T[0, d, j] = values[j, d]
            dk_T[:, :columns] = zero
            dv_T[:, :columns] = zero
            stop = min(N, j0 + n - 1 + window) if window else N
            for h in range(g * (H // G), (g + 1) * (H // G)):
                between = 0.0
                if gated:
                    _forgotten(forget[b, :, h], j0, j0 + n, after, unused)
                for c in range(block if causal else low, (stop - 1) // BLOCK + 1):
                    p0, p1 = max(c * BLOCK, offset), min(c * BLOCK + BLOCK, N)
                    size, i0 = p1 - p0, p0 - offset
                    if gated:
                        whole = _forgotten(
                            forget[b, :, h], max(c * BLOCK, 0), max(p1, 0), unused, before
                        )
                    if size > 0:
                        take(Q, 0, q, b, i0, h, 0, size, K, lanes)
                        take(Y, 0, dy, b, i0, h, 0, size, V, lanes)
                        ahead = max(min(i0 + size, M - BLOCK), 0)
                        scores(P, Q, keys_T, 0, size, K, 0, columns, q, b, ahead, h, each, lanes)
                        scores(D, Y, values_T, 0, size, V, 0, columns, dy, b, ahead, h, each, lanes)
                        part = columns > n or (causal and j0 + n - 1 > p0)
                        part = part or _first_key(p1 - 1, window) > j0
                        for m in range(size):
                            at, i = p0 + m, i0 + m
                            for j in range(columns):
                                P[m, j] *= scale
                            if biased:
                                for j in range(n):
                                    P[m, j] += bias[b, h, i, j0 + j]
                            if gated and c == block:
                                since = 0.0
                                for j in range(at, j0 - 1, -1):
                                    P[m, j - j0] += zero + since
                                    since += forget[b, j, h]
                            elif gated:
                                since = between + before[at - c * BLOCK]
                                for j in range(n):
                                    P[m, j] += zero + (after[j] + since)
                            if part:
                                for j in range(n):
                                    if (causal and j0 + j > at) or j0 + j < _first_key(at, window):
                                        P[m, j], D[m, j] = lowest, zero
                                for j in range(n, columns):
                                    P[m, j], D[m, j] = lowest, zero
                            from_all = lse[b, i, h] * log2e
                            if from_all == lowest:
                                from_all = zero
                            for j in range(columns):
                                P[m, j] = P[m, j] * log2e - from_all
                        powers(P, size, columns, lanes)
                        for m in range(size):
                            i, minus = i0 + m, mean[b, i0 + m, h]
                            for j in range(columns):
                                D[m, j] = P[m, j] * (D[m, j] - minus)
                            if biased:
                                for j in range(n):
                                    dbias[b, h, i, j0 + j] = D[m, j]
                            if gated:
                                for j in range(n):
                                    from_row[b, h, i] += D[m, j]
                                    from_column[b, h, j0 + j] += D[m, j]
                            for j in range(columns):
                                D[m, j] *= scale
                        product(dv_T, Y[0].T, P, V, size, columns, lanes)
                        product(dk_T, Q[0].T, D, K, size, columns, lanes)
                        product(dq[b, h, i0 : i0 + size], D, keys, size, n, wide, lanes)
                    if gated and c != block:
                        between += whole
            for j in range(n):
                for d in range(K):
                    dk[b, j0 + j, g, d] = dk_T[d, j]
                for d in range(V):
                    dv[b, j0 + j, g, d] = dv_T[d, j]


def backward(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, sink: Array, y: Array, lse: Array,
    scale: float, causal: float, window: float, dy: Array, dlse: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of the six inputs from what `forward` gave and the gradients of that.

    With p the weights and dS = p (dp - mean), mean_i = y_i'dy_i - dlse_i; a gate l takes part in
    every weight of a query i >= l on a key j < l.
    """
    (B, M, H, K), (N, G) = q.shape, k.shape[1:3]
    lanes = vectors.lanes(v.dtype)
    wide = math.ceil(K / len(lanes)) * len(lanes)
    mean = (y * dy).sum(-1) - dlse
    dq, dbias = np.zeros((B, H, M, wide), q.dtype), np.zeros(bias.shape, q.dtype)
    dk, dv = np.zeros(k.shape, q.dtype), np.zeros(v.shape, q.dtype)
    from_row, from_column = np.zeros((B, H, M)), np.zeros((B, H, N))

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, bias, forget, lse, mean, dy, dq, dk, dv, dbias, from_row, from_column,
            float(scale), LOG2E, bool(causal), int(window), first, last, lanes,
        )  # fmt: skip

    if M and N:
        compiled.shared(B * G, 3 * B * H * M * N * (K + v.shape[3]), run)
    dforget, dsink = np.zeros(forget.shape, q.dtype), np.zeros(sink.shape, q.dtype)
    if forget.shape[1]:
        change = -from_column
        shared = min(M, N)
        change[:, :, N - shared :] += from_row[:, :, M - shared :]
        sums = np.cumsum(change[:, :, ::-1], axis=2)[:, :, ::-1]
        dforget[...] = np.moveaxis(sums, 1, 2)
    if sink.shape[1]:
        with np.errstate(invalid="ignore"):
            p = np.exp(sink[:, None] - lse)
        dsink[...] = -np.where(lse == -np.inf, 0, p * mean).sum(1)
    return np.ascontiguousarray(np.moveaxis(dq[..., :K], 1, 2)), dk, dv, dbias, dforget, dsink
