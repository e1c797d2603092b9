"""Softmax attention in numba, streamed over blocks of keys with an online maximum and sum.

Queries (forward) or keys (backward) lie in the lanes of the vectors, so that no sum runs across a
vector.  Blocks of queries and keys start at the same positions: a sum of forget gates between two
blocks is then made of whole blocks, always added up and never subtracted, and a gate of -inf works.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from dsf.kernels import compiled, vectors
from dsf.kernels.exponential import LOG2E, powers
from dsf.kernels.products import copy_rows, fetch, product, scratch
from dsf.kernels.softmax.sweeps import online

Array = np.ndarray
BLOCK = 64  # queries, and keys, that are taken at once
TOGETHER = 4  # blocks of queries that share a copy of a block of keys


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


@compiled.forward(inputs=6)
def _forward(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, sink: Array, y: Array, lse: Array,
    scale: Any, log2e: Any, causal: bool, window: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a few blocks of queries of one head, in the lanes."""
    (_, M, H, K), N, G, V = q.shape, k.shape[1], k.shape[2], v.shape[3]
    W, offset = len(lanes), N - M
    low = offset // BLOCK
    blocks = (N - 1) // BLOCK - low + 1
    groups = (blocks + TOGETHER - 1) // TOGETHER
    zero, lowest = q.dtype.type(0), q.dtype.type(-np.inf)
    Q, P = scratch((TOGETHER, K, BLOCK), q), scratch((BLOCK, BLOCK), q)
    Y = scratch((TOGETHER, V, BLOCK), q)
    keys, values = scratch((BLOCK, K), q), scratch((BLOCK, V), q)
    top, total = scratch((TOGETHER, 1, BLOCK), q), scratch((TOGETHER, 1, BLOCK), q)
    shrink = scratch((1, BLOCK), q)
    after, before = scratch((BLOCK,), np.float64), scratch((TOGETHER, BLOCK), np.float64)
    unused, between = scratch((BLOCK,), np.float64), scratch((TOGETHER,), np.float64)
    gated, sunk, biased = forget.shape[1] > 0, sink.shape[1] > 0, bias.shape[3] > 0
    for unit in range(first, last):
        b, h, group = unit // groups // H, unit // groups % H, unit % groups
        group = group // 2 if group % 2 == 0 else groups - 1 - group // 2  # long, short in turn
        g = h * G // H
        c0 = low + group * TOGETHER
        c1 = min(c0 + TOGETHER, low + blocks)
        for c in range(c0, c1):
            e = c - c0
            p0, p1 = max(c * BLOCK, offset), min(c * BLOCK + BLOCK, N)
            size = p1 - p0
            for d in range(K):
                for m in range(size):
                    Q[e, d, m] = q[b, p0 - offset + m, h, d] * (scale * log2e)
                for m in range(size, BLOCK):
                    Q[e, d, m] = zero
            for m in range(BLOCK):
                top[e, 0, m], total[e, 0, m] = lowest, zero
                if sunk:
                    top[e, 0, m], total[e, 0, m] = sink[b, h] * log2e, zero + 1
                    if top[e, 0, m] == lowest:
                        total[e, 0, m] = zero
            Y[e] = zero
            between[e] = 0.0
            if gated:
                _forgotten(forget[b, :, h], max(c * BLOCK, 0), max(p1, 0), unused, before[e])
        stop = min(c1 * BLOCK, N) if causal else N
        start = min(_first_key(max(c0 * BLOCK, offset), window), max(stop, 0))
        for block in range((stop - 1) // BLOCK, start // BLOCK - 1, -1):
            j0 = block * BLOCK
            n = min(BLOCK, stop - j0)
            copy_rows(keys, k[b, j0 : j0 + n, g], n, K)
            copy_rows(values, v[b, j0 : j0 + n, g], n, V)
            finite = np.isfinite(values[:n].sum())
            for j in range(max(j0 - BLOCK, 0), j0):
                fetch(k[b, :, g], j, K)
                fetch(v[b, :, g], j, V)
            whole = 0.0
            if gated:
                whole = _forgotten(forget[b, :, h], j0, j0 + n, after, unused)
            for c in range(max(c0, block) if causal else c0, c1):
                p0, p1 = max(c * BLOCK, offset), min(c * BLOCK + BLOCK, N)
                if block < _first_key(p0, window) // BLOCK:
                    continue
                e, size = c - c0, p1 - p0
                columns = (size + W - 1) // W * W
                P[:n, :columns] = zero
                product(P, keys, Q[e], n, K, columns, lanes)
                if biased:
                    for m in range(size):
                        for j in range(n):
                            P[j, m] += bias[b, h, p0 - offset + m, j0 + j] * log2e
                if gated and block == c:
                    for m in range(size):
                        since = 0.0
                        for j in range(p0 + m, j0 - 1, -1):
                            P[j - j0, m] += zero + since * log2e
                            since += forget[b, j, h]
                elif gated:
                    for j in range(n):
                        for m in range(size):
                            since = after[j] + between[e] + before[e, p0 - c * BLOCK + m]
                            P[j, m] += zero + since * log2e
                    between[e] += whole
                part = (causal and j0 + n - 1 > p0) or _first_key(p1 - 1, window) > j0
                if part:
                    for m in range(size):
                        at = p0 + m
                        for j in range(n):
                            if (causal and j0 + j > at) or j0 + j < _first_key(at, window):
                                P[j, m] = lowest
                online(P, top[e], total[e], shrink, n, columns, lanes)
                for d in range(V):
                    for m in range(columns):
                        Y[e, d, m] *= shrink[0, m]
                if part and not finite:
                    # a value that is not finite must not reach a query that does not see it
                    for m in range(size):
                        at = p0 + m
                        for j in range(n):
                            if (not causal or j0 + j <= at) and j0 + j >= _first_key(at, window):
                                for d in range(V):
                                    Y[e, d, m] += P[j, m] * values[j, d]
                else:
                    product(Y[e], values.T, P, V, n, columns, lanes)
        for c in range(c0, c1):
            e, p0 = c - c0, max(c * BLOCK, offset)
            for m in range(min(c * BLOCK + BLOCK, N) - p0):
                i = p0 - offset + m
                sums = total[e, 0, m]
                lse[b, i, h] = lowest if sums == zero else (top[e, 0, m] + np.log2(sums)) / log2e
                for d in range(V):
                    y[b, i, h, d] = zero if sums == zero else Y[e, d, m] / sums


def forward(
    q: Array, k: Array, v: Array, bias: Array, forget: Array, sink: Array,
    scale: float, causal: float, window: float,
) -> tuple[Array, Array]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads."""
    (B, M, H, K), N = q.shape, k.shape[1]
    y, lse = np.zeros((B, M, H, v.shape[3]), v.dtype), np.full((B, M, H), -np.inf, v.dtype)
    if M == 0 or N == 0:
        if sink.shape[1]:
            lse[...] = sink[:, None]
        return y, lse
    blocks, lanes = (N - 1) // BLOCK - (N - M) // BLOCK + 1, vectors.lanes(v.dtype)
    units = B * H * math.ceil(blocks / TOGETHER)

    def run(first: int, last: int) -> None:
        _forward(
            q, k, v, bias, forget, sink, y, lse, float(scale), LOG2E, bool(causal), int(window),
            first, last, lanes,
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
    low, blocks = offset // BLOCK, (N + BLOCK - 1) // BLOCK
    zero, lowest = q.dtype.type(0), q.dtype.type(-np.inf)
    keys, keys_T = scratch((BLOCK, wide), q), scratch((K, BLOCK), q)
    values, values_T = scratch((BLOCK, V), q), scratch((V, BLOCK), q)
    Q, Y = scratch((BLOCK, K), q), scratch((BLOCK, V), q)
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
            keys_T[:, :columns] = zero
            values_T[:, :columns] = zero
            for j in range(n):
                for d in range(K):
                    keys_T[d, j] = keys[j, d]
                for d in range(V):
                    values_T[d, j] = values[j, d]
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
                        copy_rows(Q, q[b, i0 : i0 + size, h], size, K)
                        copy_rows(Y, dy[b, i0 : i0 + size, h], size, V)
                        P[:size, :columns] = zero
                        D[:size, :columns] = zero
                        product(P, Q, keys_T, size, K, columns, lanes)
                        product(D, Y, values_T, size, V, columns, lanes)
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
                        product(dv_T, Y.T, P, V, size, columns, lanes)
                        product(dk_T, Q.T, D, K, size, columns, lanes)
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
