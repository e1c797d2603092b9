"""The delta rules in numba: one sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, rows, vectors
from dsf.kernels.products import copy_rows, fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 32  # of a head in its turn


@compiled.forward(inputs=6)
def _steps(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array, y: Array, states: Array,
    scale: Any, substeps: int, C: int, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    A sweep reads the state once: it also finds what the next step subtracts, seen = S' a.
    S [B K H V]; states [B chunks*K H V] are those before every C steps, none where C is 0.
    """
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    blocks, together = (V + width - 1) // width, min(compiled.TOGETHER, last - first)
    wide = (width + len(lanes) - 1) // len(lanes) * len(lanes)
    A, seen = scratch((together, K, wide), q), scratch((together, wide), q)
    x, row, none = scratch((1, wide), q), scratch((1, wide), q), scratch((K,), q)
    one = x.dtype.type(1)
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            n, h, u = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            rows.take(A, u, S, n, 0, h, start, K, min(width, V - start), lanes)
            for j in range(wide):
                seen[u, j] = 0
            for i in range(K if L else 0):
                for j in range(wide):
                    seen[u, j] += a[n, 0, h, i] * A[u, i, j]
        for t in range(0, L, ROWS):
            for unit in range(begin, end):
                n, h, u = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                if C and t % C == 0:
                    rows.give(states, n, t // C * K, h, start, A, u, K, size, one, lanes)
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
            rows.give(S, n, 0, h, start, A, u, K, min(width, V - start), one, lanes)


def kept(q: Any, k: Any, v: Any, *_: Any) -> list[tuple[int, ...]]:
    """The shapes of what `forward` keeps: states [K V] before the chunks, the rows of a head."""
    (B, L, H, K), V = k.shape, v.shape[3]
    return [(B, -(-L // gradients.chunk_length(L)) * K, H, V)]


def forward(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array,
    scale: float, substeps: float, keep: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads.

    With `keep` also the states that `backward` begins its chunks with, see `kept`.
    """
    (B, L, H, _), V = k.shape, v.shape[3]
    y, S = np.empty((*q.shape[:3], V), v.dtype), np.array(S, order="C")
    columns = S.transpose(0, 2, 1, 3)
    states = [np.empty(shape, v.dtype) for shape in kept(q, k, v)] if keep else []
    C = gradients.chunk_length(L) if keep else 0
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(
            q, k, v, w, a, b, columns, y, states[0] if keep else columns, float(scale),
            int(substeps), C, width, first, last, lanes,
        )  # fmt: skip

    compiled.shared(units, 6 * S.size * L, run)
    return y, S, *states


@compiled.backward(inputs=8)
def _back(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, states: Array, dy: Array,
    scale: Any, substeps: int, dS: Array, dq: Array, dk: Array, dv: Array, dw: Array,
    da: Array, db: Array, C: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient are held as [V K], keys in the lanes.

    Row 0 of what is copied of a chunk is the step before it, row t + 1 its step t.
    """
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    W, heads = len(lanes), min(compiled.TOGETHER, last - first)
    wide, values = (K + W - 1) // W * W, (V + W - 1) // W * W
    inner, S = scratch((C + 1, values, wide), q), scratch((wide, values), q)
    strips = inner.reshape((C + 1, values, wide // W, W)).transpose(0, 2, 1, 3)
    G, carried = scratch((heads, V, wide), q), scratch((heads, 2, values), q)
    s_w, s_k, s_a = scratch((C + 2, wide), q), scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    s_b, s_q = scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    x, d, saw = scratch((C + 2, V), q), scratch((C + 2, V), q), scratch((C + 2, values), q)
    g_q, g_k, g_w = scratch((C + 2, wide), q), scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    g_a, g_b = scratch((C + 2, wide), q), scratch((C + 2, wide), q)
    g_v, g_s = scratch((C + 2, values), q), scratch((C + 2, values), q)
    part, other = scratch((values, W), q), scratch((values, W), q)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            n, h, u = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    G[u, j, i] = dS[n, h, i, j]
        for chunk in range((L + C - 1) // C - 1, -1, -1):
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
                rows.take(S, 0, states, n, chunk * K, h, 0, K, V, lanes)
                gradients.turned(S, strips, 0, wide, values, lanes)
                saw[1] = 0
                for i in range(K):
                    for j in range(V):
                        saw[1, j] += S[i, j] * s_a[1, i]
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
                        inner[t - 1], inner[t], s_w[t], s_b[t], s_k[t], s_a[t + 1], saw[t], x[t],
                        d[t], g_q[t], part, V, wide, lanes,
                    )  # fmt: skip
                    gradients.row_sums(part, saw[t + 1], values, lanes)
                until = count
                if stop == L:  # a step that changes nothing, before which the last one is read
                    until = count + 1
                    s_w[until], s_a[until], x[until], saw[until], g_s[until] = 1, 0, 0, 0, 0
                else:
                    for j in range(values):
                        g_v[count, j], g_s[count, j] = carried[u, 0, j], carried[u, 1, j]
                for t in range(until, 0, -1):
                    gradients.low_rank_back(
                        G[u], inner[t - 1], s_w[t], s_a[t], x[t], saw[t], g_s[t], s_q[t - 1],
                        d[t - 1], s_k[t - 1], s_b[t - 1], g_k[t], g_b[t], g_a[t], g_w[t], part,
                        other, V, wide, lanes,
                    )  # fmt: skip
                    gradients.row_sums(part, g_v[t - 1], values, lanes)
                    gradients.row_sums(other, g_s[t - 1], values, lanes)
                for j in range(values):
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
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array, states: Array,
    scale: float, substeps: float, dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w, a, b and S, from those of y and of the last state.

    States are computed again from those kept by `forward`.
    """
    B, L, H, _ = k.shape
    dk, dw, da, db = (np.empty(k.shape, k.dtype) for _ in range(4))
    dq, dv, dS = np.empty(q.shape, q.dtype), np.empty(v.shape, v.dtype), np.array(dS)
    C, lanes = gradients.chunk_length(L), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, w, a, b, states, dy, float(scale), int(substeps), dS, dq, dk, dv, dw, da, db,
            C, first, last, lanes,
        )  # fmt: skip

    compiled.shared(B * H, 20 * dS.size * L, run)
    return dq, dk, dv, dw, da, db, dS
