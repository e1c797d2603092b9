"""The delta rules in numba: one sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, vectors
from dsf.kernels.products import AHEAD, copy_rows, fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least


@compiled.forward(inputs=6)
def _steps(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array, y: Array,
    scale: Any, substeps: int, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    A sweep reads the state once: it also finds what the next step subtracts, seen = S' a.
    """
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    blocks = (V + width - 1) // width
    wide = (width + len(lanes) - 1) // len(lanes) * len(lanes)
    A, x = scratch((K, wide), q), scratch((1, wide), q)
    row, seen, none = scratch((1, wide), q), scratch((wide,), q), scratch((K,), q)
    for unit in range(first, last):
        n, h = unit // blocks // H, unit // blocks % H
        start = unit % blocks * width
        size = min(width, V - start)
        for j in range(size):
            seen[j] = 0
        for i in range(K):
            for j in range(size):
                A[i, j] = S[n, h, i, start + j]
                if L:
                    seen[j] += a[n, 0, h, i] * A[i, j]
        for t in range(L):
            copy_rows(x, v[n, t : t + 1, h, start:], 1, size)
            fetch(v[n, :, h, start:], t + AHEAD, size)
            for z in (w, b, k, a):
                fetch(z[n, :, h], t + AHEAD, K)
            fetch(q[n, :, h], t // substeps + AHEAD, K)
            fetch(y[n, :, h, start:], t // substeps + AHEAD, size)
            following = a[n, t + 1, h] if t + 1 < L else none
            vectors.low_rank(
                A, w[n, t, h], b[n, t, h], k[n, t, h], q[n, t // substeps, h], following,
                x[0], seen, row[0], K, wide, lanes,
            )  # fmt: skip
            if t % substeps == substeps - 1:
                for j in range(wide):
                    row[0, j] *= scale
                i = t // substeps
                copy_rows(y[n, i : i + 1, h, start:], row, 1, size)
        for i in range(K):
            for j in range(size):
                S[n, h, i, start + j] = A[i, j]


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
    """Heads first .. last-1.  The state and its gradient are held as [V K], keys in the lanes."""
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    W = len(lanes)
    wide, rows = (K + W - 1) // W * W, (V + W - 1) // W * W
    chunks = (L + C - 1) // C
    starts, inner = scratch((chunks, V, wide), q), scratch((C + 1, V, wide), q)
    G, saw = scratch((V, wide), q), scratch((C + 1, rows), q)
    # rows of one token: w, k, a (of this step), b, a of the next step, q
    t_w, t_k, t_a = scratch((1, wide), q), scratch((1, wide), q), scratch((1, wide), q)
    t_b, t_n, t_q = scratch((1, wide), q), scratch((1, wide), q), scratch((1, wide), q)
    x, d, none = scratch((1, V), q), scratch((1, V), q), scratch((1, V), q)
    g_q, g_k, g_w = scratch((wide,), q), scratch((wide,), q), scratch((wide,), q)
    g_a, g_b = scratch((wide,), q), scratch((wide,), q)
    part, other = scratch((rows, W), q), scratch((rows, W), q)
    g_v, g_s = scratch((rows,), q), scratch((rows,), q)
    for unit in range(first, last):
        n, h = unit // H, unit % H
        for j in range(V):
            for i in range(K):
                G[j, i], inner[0, j, i] = dS[n, h, i, j], S[n, h, i, j]
        for e in range(2 * chunks):
            # first from chunk to chunk, then back through the chunks, states computed again
            again = e >= chunks
            chunk = 2 * chunks - 1 - e if again else e
            start, stop = chunk * C, min(chunk * C + C, L)
            if again:
                inner[0] = starts[chunk]
            else:
                starts[chunk] = inner[0]
            copy_rows(t_n, a[n, start : start + 1, h], 1, K)
            for j in range(V):
                total = scale * 0
                for i in range(K):
                    total += inner[0, j, i] * t_n[0, i]
                saw[0, j] = total
            for t in range(start, stop):
                s = t - start if again else 0
                for z in (w, k, a, b):
                    fetch(z[n, :, h], t + AHEAD, K)
                fetch(v[n, :, h], t + AHEAD, V)
                copy_rows(t_w, w[n, t : t + 1, h], 1, K)
                copy_rows(t_k, k[n, t : t + 1, h], 1, K)
                copy_rows(t_b, b[n, t : t + 1, h], 1, K)
                copy_rows(x, v[n, t : t + 1, h], 1, V)
                if t + 1 < stop:
                    copy_rows(t_n, a[n, t + 1 : t + 2, h], 1, K)
                if again:
                    read = t % substeps == substeps - 1
                    if read:
                        copy_rows(d, dy[n, t // substeps : t // substeps + 1, h], 1, V)
                    gradients.low_rank_again(
                        inner[s], inner[s + 1], t_w[0], t_b[0], t_k[0], t_n[0], saw[s], x[0], d[0],
                        g_q, part, V, wide, lanes,
                    )  # fmt: skip
                    if read:
                        for i in range(K):
                            dq[n, t // substeps, h, i] = g_q[i] * scale
                else:
                    gradients.low_rank_ahead(
                        inner[0], inner[0], t_w[0], t_b[0], t_k[0], t_n[0], saw[0], x[0], d[0],
                        g_q, part, V, wide, lanes,
                    )  # fmt: skip
                gradients.row_sums(part, saw[s + 1 if again else 0], rows, lanes)
            if not again:
                continue
            for t in range(stop - 1, start - 1, -1):
                s = t - start
                for z in (w, k, a, b):
                    fetch(z[n, :, h], max(t - AHEAD, 0), K)
                fetch(v[n, :, h], max(t - AHEAD, 0), V)
                fetch(dy[n, :, h], max(t - AHEAD, 0) // substeps, V)
                read = t % substeps == substeps - 1
                copy_rows(t_w, w[n, t : t + 1, h], 1, K)
                copy_rows(t_k, k[n, t : t + 1, h], 1, K)
                copy_rows(t_a, a[n, t : t + 1, h], 1, K)
                copy_rows(t_b, b[n, t : t + 1, h], 1, K)
                copy_rows(x, v[n, t : t + 1, h], 1, V)
                if read:
                    copy_rows(d, dy[n, t // substeps : t // substeps + 1, h], 1, V)
                    copy_rows(t_q, q[n, t // substeps : t // substeps + 1, h], 1, K)
                    for i in range(K):
                        t_q[0, i] *= scale
                else:
                    t_q[0] = 0
                gradients.low_rank_read(
                    G, t_q[0], d[0] if read else none[0], t_k[0], t_b[0], part, other, V, wide,
                    lanes,
                )  # fmt: skip
                gradients.row_sums(part, g_v, rows, lanes)
                gradients.row_sums(other, g_s, rows, lanes)
                gradients.low_rank_back(
                    G, inner[s], t_w[0], t_a[0], x[0], saw[s], g_s, g_k, g_b, g_a, g_w, V, wide,
                    lanes,
                )  # fmt: skip
                for j in range(V):
                    dv[n, t, h, j] = g_v[j]
                for i in range(K):
                    dk[n, t, h, i], dw[n, t, h, i] = g_k[i], g_w[i]
                    da[n, t, h, i], db[n, t, h, i] = g_a[i], g_b[i]
        for j in range(V):
            for i in range(K):
                dS[n, h, i, j] = G[j, i]


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
