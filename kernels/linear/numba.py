"""Linear attention in numba: the state of a head stays in the cache, heads run in parallel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, vectors
from dsf.kernels.linear import sweeps, unfold
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
    W, T, blocks = len(lanes), sweeps.STEPS, (V + width - 1) // width
    wide, long = (width + W - 1) // W * W, (K + W - 1) // W * W
    together = min(compiled.TOGETHER, last - first)
    A, P, table = scratch((together, K, wide), q), scratch((long,), q), scratch((sweeps.TABLE,), q)
    a, c, r = scratch((ROWS, long), q), scratch((ROWS, long), q), scratch((ROWS, long), q)
    x, row = scratch((ROWS, wide), q), scratch((ROWS, wide), q)
    to_k, to_q = scratch((T, long), q), scratch((T, long), q)
    whole = K == long and k.strides[3] == k.itemsize and q.strides[3] == q.itemsize
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
            for unit in range(begin, end):
                b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                keys, queries = k[b, t : t + count, h], q[b, t : t + count, h]
                values, out = v[b, t : t + count, h, start:], y[b, t : t + count, h, start:]
                copy_rows(a, w[b, t : t + count, h], count, K)
                if not whole:
                    copy_rows(c, keys, count, K)
                    copy_rows(r, queries, count, K)
                    keys, queries = c, r
                if size < wide or v.strides[3] != v.itemsize:
                    copy_rows(x, values, count, size)
                    x[:, size:] = 0  # of another unit, which must not be refused for it
                    values, out = x, row
                for s in range(t + ROWS, min(t + 2 * ROWS, L)):
                    fetch(v[b, :, h, start:], s, size)
                    fetch(k[b, :, h], s, K)
                    fetch(q[b, :, h], s, K)
                    fetch(y[b, :, h, start:], s, size)
                for s in range(0, count, T):
                    table[sweeps.GUARD] = 1
                    if s + T <= count:
                        if before:
                            sweeps.fold_before(
                                a, keys, queries, values, s, scale, P, to_k, to_q, table, long,
                                wide, lanes,
                            )  # fmt: skip
                        else:
                            sweeps.fold(
                                a, keys, queries, values, s, scale, P, to_k, to_q, table, long,
                                wide, lanes,
                            )  # fmt: skip
                    if table[sweeps.GUARD] == 0:
                        sweeps.steps(A, n, P, to_k, to_q, values, out, s, table, K, wide, lanes)
                        continue
                    for i in range(s, min(s + T, count)):
                        if before:
                            vectors.linear_before(
                                A[n], a[i], keys[i], queries[i], values[i], out[i], K, wide, lanes
                            )  # fmt: skip
                        else:
                            vectors.linear(
                                A[n], a[i], keys[i], queries[i], values[i], out[i], K, wide, lanes
                            )  # fmt: skip
                        for j in range(wide):
                            out[i, j] *= scale
                if size < wide or v.strides[3] != v.itemsize:
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
    W, T, heads = len(lanes), sweeps.STEPS, min(compiled.TOGETHER, last - first)
    wide, rows = (K + W - 1) // W * W, (V + W - 1) // W * W
    chunks = (L + C - 1) // C
    starts, inner = scratch((heads, chunks, V, wide), q), scratch((C // T + 1, V, wide), q)
    G, part = scratch((heads, V, wide), q), scratch((rows, T, W), q)
    a, c, r = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    gq, gk, gw = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    to_k, to_q, P = scratch((C, wide), q), scratch((C, wide), q), scratch((C // T, wide), q)
    x, d, gv = scratch((C, rows), q), scratch((C, rows), q), scratch((C, rows), q)
    both, scores = scratch((wide,), q), scratch((sweeps.TABLE,), q)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    G[n, j, i] = dS[b, h, i, j]
                    if L:
                        starts[n, 0, j, i] = S[b, h, i, j]
        for e in range(2 * chunks - 1):
            # first from chunk to chunk, then back through the chunks, states computed again
            again = e >= chunks - 1
            chunk = 2 * chunks - 2 - e if again else e
            start, stop = chunk * C, min(chunk * C + C, L)
            count, groups = stop - start, (stop - start + T - 1) // T
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                copy_rows(a, w[b, start:stop, h], count, K)
                copy_rows(c, k[b, start:stop, h], count, K)
                copy_rows(x, v[b, start:stop, h], count, V)
                state = starts[n, chunk]
                if not again:
                    for m in range(groups):
                        unfold.fade(a, c, c, m * T, P, m, to_k, to_q, wide, lanes)
                        after, to = (inner, 0) if m + 1 < groups else (starts[n], chunk + 1)
                        unfold.ahead(state, after, to, P, m, to_k, x, x, gq, m * T, V, wide, lanes)
                        state = inner[0]
                    continue
                copy_rows(r, q[b, start:stop, h], count, K)
                copy_rows(d, dy[b, start:stop, h], count, V)
                for t in range(count, groups * T):  # steps that change nothing
                    a[t], c[t], r[t], x[t], d[t] = 1, 0, 0, 0, 0
                for t in range(count):
                    for i in range(wide):
                        r[t, i] *= scale
                for j in range(V):
                    for i in range(wide):
                        inner[0, j, i] = state[j, i]
                # what comes next is fetched meanwhile: the same rows of another head, or other rows
                ahead, to = (unit + 1, start) if unit + 1 < end else (begin, max(start - C, 0))
                nb, nh, until = ahead // H, ahead % H, min(to + C, L)
                next_k, next_q = k[nb, to:until, nh], q[nb, to:until, nh]
                next_v, next_d = v[nb, to:until, nh], dy[nb, to:until, nh]
                next_w = w[nb, to:until, nh]
                for m in range(groups):
                    s = m * T
                    for i in range(s, s + T):
                        fetch(next_k, i, K)
                        fetch(next_q, i, K)
                        fetch(next_v, i, V)
                        fetch(next_d, i, V)
                        if w.strides[3]:
                            fetch(next_w, i, K)
                    if before:
                        unfold.fade_before(a, c, r, s, P, m, to_k, to_q, wide, lanes)
                    else:
                        unfold.fade(a, c, r, s, P, m, to_k, to_q, wide, lanes)
                    unfold.read_ahead(
                        inner[m], inner, m + 1, P, m, to_k, x, d, gq, s, V, wide, lanes
                    )
                to_dq, to_dk = dq[b, start:stop, h], dk[b, start:stop, h]
                to_dw, to_dv = dw[b, start:stop, h], dv[b, start:stop, h]
                for m in range(groups - 1, -1, -1):
                    s = m * T
                    for i in range(s, s + T):
                        fetch(to_dq, i, K)
                        fetch(to_dk, i, K)
                        fetch(to_dw, i, K)
                        fetch(to_dv, i, V)
                    unfold.back(
                        G, n, inner[m], P, m, to_q, to_k, x, d, gk, both, part, s, V, wide, lanes
                    )
                    if before:
                        unfold.unfold_before(
                            a, c, r, x, d, gq, gk, both, part, gw, gv, scores, s, wide, rows, lanes
                        )
                    else:
                        unfold.unfold(
                            a, c, r, x, d, gq, gk, both, part, gw, gv, scores, s, wide, rows, lanes
                        )
                for t in range(count):
                    for i in range(wide):
                        gq[t, i] *= scale
                copy_rows(to_dq, gq, count, K)
                copy_rows(to_dk, gk, count, K)
                copy_rows(to_dw, gw, count, K)
                copy_rows(to_dv, gv, count, V)
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
