"""Linear attention in numba: the state of a head stays in the cache, heads run in parallel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, vectors
from dsf.kernels.products import copy_rows, fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 32  # of the inputs that are copied at once


@compiled.forward(inputs=4)
def _steps(
    q: Array, k: Array, v: Array, w: Array, S: Array, y: Array, scale: Any, before: bool,
    width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head."""
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    blocks, T = (V + width - 1) // width, vectors.STEPS
    wide = (width + len(lanes) - 1) // len(lanes) * len(lanes)
    together = min(compiled.TOGETHER, last - first)
    A = scratch((together, K, wide), q)
    a, c, r = scratch((ROWS, K), q), scratch((ROWS, K), q), scratch((ROWS, K), q)
    x, row = scratch((ROWS, wide), q), scratch((ROWS, wide), q)
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            for i in range(K):
                for j in range(min(width, V - start)):
                    A[n, i, j] = S[b, h, i, start + j]
        for t in range(0, L, ROWS):
            count = min(ROWS, L - t)
            whole = count - count % T
            for unit in range(begin, end):
                b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                copy_rows(x, v[b, t : t + count, h, start:], count, size)
                copy_rows(a, w[b, t : t + count, h], count, K)
                copy_rows(c, k[b, t : t + count, h], count, K)
                copy_rows(r, q[b, t : t + count, h], count, K)
                for s in range(t + ROWS, min(t + 2 * ROWS, L)):
                    fetch(v[b, :, h, start:], s, size)
                    fetch(w[b, :, h], s, K)
                    fetch(k[b, :, h], s, K)
                    fetch(q[b, :, h], s, K)
                    fetch(y[b, :, h, start:], s, size)
                for s in range(0, whole, T):
                    if before:
                        vectors.linear_steps_before(
                            A[n], a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes
                        )
                    else:
                        vectors.linear_steps(
                            A[n], a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes
                        )
                for s in range(whole, count):
                    if before:
                        vectors.linear_before(
                            A[n], a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes
                        )
                    else:
                        vectors.linear(A[n], a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes)
                for s in range(count):
                    for j in range(wide):
                        row[s, j] *= scale
                copy_rows(y[b, t : t + count, h, start:], row, count, size)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            for i in range(K):
                for j in range(min(width, V - start)):
                    S[b, h, i, start + j] = A[n, i, j]


def forward(
    q: Array, k: Array, v: Array, w: Array, S: Array, scale: float, before: bool
) -> tuple[Array, Array]:
    """See `reference.forward`; the same sums in the same order for every number of threads."""
    (B, L, H, _), V = q.shape, v.shape[3]
    y, S = np.empty(v.shape, v.dtype), np.array(S)
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(q, k, v, w, S, y, float(scale), bool(before), width, first, last, lanes)

    compiled.shared(units, 4 * S.size * L, run)
    return y, S


@compiled.backward(inputs=5)
def _back(
    q: Array, k: Array, v: Array, w: Array, S: Array, scale: Any, before: bool,
    dy: Array, dS: Array, dq: Array, dk: Array, dv: Array, dw: Array, C: int,
    first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient are held as [V K], keys in the lanes."""
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    W, T, heads = len(lanes), gradients.STEPS, min(compiled.TOGETHER, last - first)
    wide, rows = (K + W - 1) // W * W, (V + W - 1) // W * W
    chunks = (L + C - 1) // C
    starts, inner = scratch((heads, chunks, V, wide), q), scratch((C // T, V, wide), q)
    G, part = scratch((heads, V, wide), q), scratch((rows, T, W), q)
    a, c, r = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    gq, gk, gw = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    x, d, gv = scratch((C, V), q), scratch((C, V), q), scratch((C, rows), q)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    G[n, j, i] = dS[b, h, i, j]
                    if L:
                        starts[n, 0, j, i] = S[b, h, i, j]
        for chunk in range(chunks - 1):
            start, stop = chunk * C, chunk * C + C
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                copy_rows(a, w[b, start:stop, h], C, K)
                copy_rows(c, k[b, start:stop, h], C, K)
                copy_rows(x, v[b, start:stop, h], C, V)
                state = starts[n, chunk]
                for t in range(0, C, 2 * T):
                    after = inner[0] if t + 2 * T < C else starts[n, chunk + 1]
                    gradients.far_ahead(state, after, a[t:], c[t:], x[t:], V, wide, lanes)
                    state = after
        for chunk in range(chunks - 1, -1, -1):
            start, stop = chunk * C, min(chunk * C + C, L)
            count, steps = stop - start, (stop - start + T - 1) // T * T
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                copy_rows(a, w[b, start:stop, h], count, K)
                copy_rows(c, k[b, start:stop, h], count, K)
                copy_rows(x, v[b, start:stop, h], count, V)
                copy_rows(r, q[b, start:stop, h], count, K)
                copy_rows(d, dy[b, start:stop, h], count, V)
                for t in range(count, steps):  # steps that change nothing
                    a[t], c[t], r[t], x[t], d[t] = 1, 0, 0, 0, 0
                for t in range(count):
                    for i in range(wide):
                        r[t, i] *= scale
                state = starts[n, chunk]
                for t in range(0, steps - T, T):
                    after = inner[t // T + 1]
                    gradients.ahead(state, after, a[t:], c[t:], x[t:], V, wide, lanes)
                    state = after
                for t in range(steps - T, -1, -T):
                    state = inner[t // T] if t else starts[n, chunk]
                    if before:
                        gradients.back_before(
                            G[n], state, a[t:], r[t:], c[t:], x[t:], d[t:], gq[t:], gk[t:], gw[t:],
                            part, V, wide, lanes,
                        )  # fmt: skip
                    else:
                        gradients.back(
                            G[n], state, a[t:], r[t:], c[t:], x[t:], d[t:], gq[t:], gk[t:], gw[t:],
                            part, V, wide, lanes,
                        )  # fmt: skip
                    for s in range(T):
                        gradients.row_sums(part[:, s], gv[t + s], rows, lanes)
                for t in range(count):
                    for i in range(wide):
                        gq[t, i] *= scale
                copy_rows(dq[b, start:stop, h], gq, count, K)
                copy_rows(dk[b, start:stop, h], gk, count, K)
                copy_rows(dw[b, start:stop, h], gw, count, K)
                copy_rows(dv[b, start:stop, h], gv, count, V)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    dS[b, h, i, j] = G[n, j, i]


def backward(
    q: Array, k: Array, v: Array, w: Array, S: Array, scale: float, before: bool,
    dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w and S, from those of y and of the last state.

    States are computed again from one kept for each chunk of steps.
    """
    B, L, H, _ = q.shape
    dq, dk, dw = (np.empty(q.shape, q.dtype) for _ in range(3))
    dv, dS = np.empty(v.shape, v.dtype), np.array(dS)
    # of the states in a chunk every second one is held, so it may be twice as long
    C, lanes = 2 * gradients.chunk_length(L), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, w, S, float(scale), bool(before), dy, dS, dq, dk, dv, dw, C, first, last, lanes
        )

    compiled.shared(B * H, 14 * dS.size * L, run)
    return dq, dk, dv, dw, dS
