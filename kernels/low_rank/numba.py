"""The delta rules in numba: one sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, vectors
from dsf.kernels.products import copy_rows, fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 32  # of a head in its turn


@compiled.forward(inputs=6)
def _steps(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array, y: Array,
    scale: Any, substeps: int, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    A sweep reads the state once: it also finds what the next step subtracts, seen = S' a.
    """
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    blocks, together = (V + width - 1) // width, min(compiled.TOGETHER, last - first)
    wide = (width + len(lanes) - 1) // len(lanes) * len(lanes)
    A, seen = scratch((together, K, wide), q), scratch((together, wide), q)
    x, row, none = scratch((1, wide), q), scratch((1, wide), q), scratch((K,), q)
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            n, h, u = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            for j in range(wide):
                seen[u, j] = 0
            for i in range(K):
                for j in range(min(width, V - start)):
                    A[u, i, j] = S[n, h, i, start + j]
                    if L:
                        seen[u, j] += a[n, 0, h, i] * A[u, i, j]
        for t in range(0, L, ROWS):
            for unit in range(begin, end):
                n, h, u = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                for s in range(t, min(t + ROWS, L)):
                    copy_rows(x, v[n, s : s + 1, h, start:], 1, size)
                    fetch(v[n, :, h, start:], s + ROWS, size)
                    for z in (w, b, k, a):
                        fetch(z[n, :, h], s + ROWS, K)
                    fetch(q[n, :, h], s // substeps + ROWS, K)
                    fetch(y[n, :, h, start:], s // substeps + ROWS, size)
                    following = a[n, s + 1, h] if s + 1 < L else none
                    vectors.low_rank(
                        A[u], w[n, s, h], b[n, s, h], k[n, s, h], q[n, s // substeps, h],
                        following, x[0], seen[u], row[0], K, wide, lanes,
                    )  # fmt: skip
                    if s % substeps == substeps - 1:
                        for j in range(wide):
                            row[0, j] *= scale
                        i = s // substeps
                        copy_rows(y[n, i : i + 1, h, start:], row, 1, size)
        for unit in range(begin, end):
            n, h, u = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            for i in range(K):
                for j in range(min(width, V - start)):
                    S[n, h, i, start + j] = A[u, i, j]


def forward(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array,
    scale: float, substeps: float,
) -> tuple[Array, Array]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads."""
    (B, L, H, _), V = k.shape, v.shape[3]
    y, S = np.empty((*q.shape[:3], V), v.dtype), np.array(S)
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(
            q, k, v, w, a, b, S, y, float(scale), int(substeps), width, first, last, lanes
        )  # fmt: skip

    compiled.shared(units, 6 * S.size * L, run)
    return y, S


@compiled.backward(inputs=8)
def _back(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array, dy: Array,
    scale: Any, substeps: int, dS: Array, dq: Array, dk: Array, dv: Array, dw: Array,
    da: Array, db: Array, C: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient are held as [V K], keys in the lanes.

    Row 0 of what is copied of a chunk is the step before it, row t + 1 its step t.
    """
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    W, heads = len(lanes), min(compiled.TOGETHER, last - first)
    wide, rows = (K + W - 1) // W * W, (V + W - 1) // W * W
    chunks = (L + C - 1) // C
    starts, inner = scratch((heads, chunks, V, wide), q), scratch((C + 1, V, wide), q)
    G, carried = scratch((heads, V, wide), q), scratch((heads, 2, rows), q)
    first_saw = scratch((heads, chunks, rows), q)
    s_w, s_k, s_a = scratch((C + 2, wide), q), scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    s_b, s_q = scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    x, d, saw = scratch((C + 2, V), q), scratch((C + 2, V), q), scratch((C + 2, rows), q)
    g_q, g_k, g_w = scratch((C + 2, wide), q), scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    g_a, g_b = scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    g_v, g_s = scratch((C + 2, rows), q), scratch((C + 2, rows), q)
    part, other = scratch((rows, W), q), scratch((rows, W), q)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            n, h, u = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    G[u, j, i] = dS[n, h, i, j]
                    if L:
                        starts[u, 0, j, i] = S[n, h, i, j]
        for e in range(2 * chunks - 1):
            # first from chunk to chunk, then back through the chunks, states computed again
            again = e >= chunks - 1
            chunk = 2 * chunks - 2 - e if again else e
            start, stop = chunk * C, min(chunk * C + C, L)
            count, before = stop - start, min(start, 1)
            for unit in range(begin, end):
                n, h, u = unit // H, unit % H, unit - begin
                lead, size, more = 1 - before, count + before, min(1, L - stop)
                copy_rows(s_w[lead:], w[n, start - before : stop, h], size, K)
                copy_rows(s_k[lead:], k[n, start - before : stop, h], size, K)
                copy_rows(s_a[lead:], a[n, start - before : stop + more, h], size + more, K)
                copy_rows(s_b[lead:], b[n, start - before : stop, h], size, K)
                copy_rows(x[lead:], v[n, start - before : stop, h], size, V)
                state = starts[u, chunk]
                if chunk == 0:
                    for j in range(V):
                        total = scale * 0
                        for i in range(K):
                            total += state[j, i] * s_a[1, i]
                        first_saw[u, 0, j] = total
                for j in range(rows):
                    saw[1, j] = first_saw[u, chunk, j]
                if not again:
                    for t in range(1, C + 1):
                        after = inner[0] if t < C else starts[u, chunk + 1]
                        gradients.low_rank_ahead(
                            state, after, s_w[t], s_b[t], s_k[t], s_a[t + 1], saw[1], x[t], d[t],
                            g_q[t], part, V, wide, lanes,
                        )  # fmt: skip
                        gradients.row_sums(part, saw[1], rows, lanes)
                        state = after
                    for j in range(rows):
                        first_saw[u, chunk + 1, j] = saw[1, j]
                    continue
                if start == 0:
                    s_k[0], s_b[0] = 0, 0
                for t in range(count + 1):
                    i = (start + t - 1) // substeps
                    if start + t and (start + t) % substeps == 0:
                        copy_rows(d[t:], dy[n, i : i + 1, h], 1, V)
                        copy_rows(s_q[t:], q[n, i : i + 1, h], 1, K)
                        for i in range(wide):
                            s_q[t, i] *= scale
                    else:
                        d[t], s_q[t] = 0, 0
                for t in range(1, count + 1):
                    gradients.low_rank_again(
                        state, inner[t], s_w[t], s_b[t], s_k[t], s_a[t + 1], saw[t], x[t], d[t],
                        g_q[t], part, V, wide, lanes,
                    )  # fmt: skip
                    gradients.row_sums(part, saw[t + 1], rows, lanes)
                    state = inner[t]
                until = count
                if stop == L:  # a step that changes nothing, before which the last one is read
                    until = count + 1
                    s_w[until], s_a[until], x[until], saw[until], g_s[until] = 1, 0, 0, 0, 0
                else:
                    for j in range(rows):
                        g_v[count, j], g_s[count, j] = carried[u, 0, j], carried[u, 1, j]
                for t in range(until, 0, -1):
                    state = inner[t - 1] if t > 1 else starts[u, chunk]
                    gradients.low_rank_back(
                        G[u], state, s_w[t], s_a[t], x[t], saw[t], g_s[t], s_q[t - 1], d[t - 1],
                        s_k[t - 1], s_b[t - 1], g_k[t], g_b[t], g_a[t], g_w[t], part, other, V,
                        wide, lanes,
                    )  # fmt: skip
                    gradients.row_sums(part, g_v[t - 1], rows, lanes)
                    gradients.row_sums(other, g_s[t - 1], rows, lanes)
                for j in range(rows):
                    carried[u, 0, j], carried[u, 1, j] = g_v[0, j], g_s[0, j]
                copy_rows(dk[n, start:stop, h], g_k[1:], count, K)
                copy_rows(dw[n, start:stop, h], g_w[1:], count, K)
                copy_rows(da[n, start:stop, h], g_a[1:], count, K)
                copy_rows(db[n, start:stop, h], g_b[1:], count, K)
                copy_rows(dv[n, start:stop, h], g_v[1:], count, V)
                for t in range(1, count + 1):
                    i = (start + t - 1) // substeps
                    if (start + t) % substeps == 0:
                        for m in range(wide):
                            g_q[t, m] *= scale
                        copy_rows(dq[n, i : i + 1, h], g_q[t:], 1, K)
        for unit in range(begin, end):
            n, h, u = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    dS[n, h, i, j] = G[u, j, i]


def backward(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array,
    scale: float, substeps: float, dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w, a, b and S, from those of y and of the last state.

    States are computed again from one kept for each chunk of steps.
    """
    B, L, H, _ = k.shape
    dk, dw, da, db = (np.empty(k.shape, k.dtype) for _ in range(4))
    dq, dv, dS = np.empty(q.shape, q.dtype), np.empty(v.shape, v.dtype), np.array(dS)
    C, lanes = gradients.chunk_length(L), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, w, a, b, S, dy, float(scale), int(substeps), dS, dq, dk, dv, dw, da, db,
            C, first, last, lanes,
        )  # fmt: skip

    compiled.shared(B * H, 24 * dS.size * L, run)
    return dq, dk, dv, dw, da, db, dS
