"""Linear attention in numba: the state of a head stays in the cache, heads run in parallel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, vectors
from dsf.kernels.products import AHEAD, copy_rows, fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least


@compiled.forward(inputs=4)
def _steps(
    q: Array, k: Array, v: Array, w: Array, S: Array, y: Array, scale: Any, before: bool,
    width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head."""
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    blocks = (V + width - 1) // width
    wide = (width + len(lanes) - 1) // len(lanes) * len(lanes)
    A, held = scratch((K, wide), q), scratch((3 * vectors.STEPS, K), q)
    a, c, r = (
        held[: vectors.STEPS],
        held[vectors.STEPS : 2 * vectors.STEPS],
        held[2 * vectors.STEPS :],
    )
    x, row = scratch((vectors.STEPS, wide), q), scratch((vectors.STEPS, wide), q)
    for unit in range(first, last):
        b, h = unit // blocks // H, unit // blocks % H
        start = unit % blocks * width
        size = min(width, V - start)
        for i in range(K):
            for j in range(size):
                A[i, j] = S[b, h, i, start + j]
        for t in range(0, L, vectors.STEPS):
            count = min(vectors.STEPS, L - t)
            copy_rows(x, v[b, t : t + count, h, start:], count, size)
            copy_rows(a, w[b, t : t + count, h], count, K)
            copy_rows(c, k[b, t : t + count, h], count, K)
            copy_rows(r, q[b, t : t + count, h], count, K)
            for s in range(count):
                fetch(v[b, :, h, start:], t + s + AHEAD, size)
                fetch(w[b, :, h], t + s + AHEAD, K)
                fetch(k[b, :, h], t + s + AHEAD, K)
                fetch(q[b, :, h], t + s + AHEAD, K)
                fetch(y[b, :, h, start:], t + s + AHEAD, size)
            if count == vectors.STEPS:
                if before:
                    vectors.linear_steps_before(A, a, c, r, x, row, K, wide, lanes)
                else:
                    vectors.linear_steps(A, a, c, r, x, row, K, wide, lanes)
            else:
                for s in range(count):
                    if before:
                        vectors.linear_before(
                            A, a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes
                        )
                    else:
                        vectors.linear(A, a[s:], c[s:], r[s:], x[s:], row[s:], K, wide, lanes)
            for s in range(count):
                for j in range(wide):
                    row[s, j] *= scale
            copy_rows(y[b, t : t + count, h, start:], row, count, size)
        for i in range(K):
            for j in range(size):
                S[b, h, i, start + j] = A[i, j]


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
    W, T = len(lanes), gradients.STEPS
    wide, rows = (K + W - 1) // W * W, (V + W - 1) // W * W
    chunks = (L + C - 1) // C
    starts, inner = scratch((chunks, V, wide), q), scratch((C, V, wide), q)
    A, G = scratch((V, wide), q), scratch((V, wide), q)
    a, c = scratch((T, wide), q), scratch((T, wide), q)
    r, gq = scratch((T, wide), q), scratch((T, wide), q)
    gk, gw = scratch((T, wide), q), scratch((T, wide), q)
    x, d = scratch((T, V), q), scratch((T, V), q)
    part, gv = scratch((T, rows, W), q), scratch((T, rows), q)
    for unit in range(first, last):
        b, h = unit // H, unit % H
        for j in range(V):
            for i in range(K):
                G[j, i], A[j, i] = dS[b, h, i, j], S[b, h, i, j]
        for e in range(2 * chunks):
            # first from chunk to chunk, then back through the chunks, states computed again
            again = e >= chunks
            chunk = 2 * chunks - 1 - e if again else e
            start, stop = chunk * C, min(chunk * C + C, L)
            if again:
                A[...] = starts[chunk]
            else:
                starts[chunk] = A
            for back in range(2 if again else 1):
                for n in range((stop - start + T - 1) // T):
                    t0 = start + T * ((stop - start - 1) // T - n if back else n)
                    count = min(T, stop - t0)
                    if count < T:  # steps that change nothing
                        a[...], c[...], r[...], x[...], d[...] = 1, 0, 0, 0, 0
                    for t in range(t0, t0 + count):
                        later = max(t - AHEAD, 0) if back else t + AHEAD
                        for z in (w, k):
                            fetch(z[b, :, h], later, K)
                        fetch(v[b, :, h], later, V)
                        if again:
                            fetch(dy[b, :, h], later, V)
                            fetch(q[b, :, h], later, K)
                    copy_rows(a, w[b, t0 : t0 + count, h], count, K)
                    copy_rows(c, k[b, t0 : t0 + count, h], count, K)
                    copy_rows(x, v[b, t0 : t0 + count, h], count, V)
                    if not again:
                        gradients.ahead(A, a, c, x, d, inner, gq, V, wide, lanes)
                        continue
                    copy_rows(d, dy[b, t0 : t0 + count, h], count, V)
                    held = inner[t0 - start : t0 - start + T]
                    if not back:
                        if before:
                            gradients.again_before(A, a, c, x, d, held, gq, V, wide, lanes)
                        else:
                            gradients.again(A, a, c, x, d, held, gq, V, wide, lanes)
                        for t in range(count):
                            for i in range(K):
                                dq[b, t0 + t, h, i] = gq[t, i] * scale
                        continue
                    copy_rows(r, q[b, t0 : t0 + count, h], count, K)
                    for t in range(count):
                        for i in range(K):
                            r[t, i] *= scale
                    if before:
                        gradients.back_before(G, held, a, r, c, x, d, gk, gw, part, V, wide, lanes)
                    else:
                        gradients.back(G, held, a, r, c, x, d, gk, gw, part, V, wide, lanes)
                    for t in range(count):
                        gradients.row_sums(part[t], gv[t], rows, lanes)
                        for j in range(V):
                            dv[b, t0 + t, h, j] = gv[t, j]
                        for i in range(K):
                            dk[b, t0 + t, h, i], dw[b, t0 + t, h, i] = gk[t, i], gw[t, i]
        for j in range(V):
            for i in range(K):
                dS[b, h, i, j] = G[j, i]


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
    C, lanes = gradients.chunk_length(L), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, w, S, float(scale), bool(before), dy, dS, dq, dk, dv, dw, C, first, last, lanes
        )

    compiled.shared(B * H, 14 * dS.size * L, run)
    return dq, dk, dv, dw, dS
