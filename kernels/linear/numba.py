"""Linear attention in numba: the state of a head stays in the cache, heads run in parallel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, vectors

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
    A = np.zeros((K, wide), q.dtype)
    x, row = np.zeros((vectors.STEPS, wide), q.dtype), np.zeros((vectors.STEPS, wide), q.dtype)
    for unit in range(first, last):
        b, h = unit // blocks // H, unit // blocks % H
        start = unit % blocks * width
        size = min(width, V - start)
        for i in range(K):
            for j in range(size):
                A[i, j] = S[b, h, i, start + j]
        for t in range(0, L, vectors.STEPS):
            count = min(vectors.STEPS, L - t)
            for s in range(count):
                for j in range(size):
                    x[s, j] = v[b, t + s, h, start + j]
            a, c, r = w[b, t : t + count, h], k[b, t : t + count, h], q[b, t : t + count, h]
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
                for j in range(size):
                    y[b, t + s, h, start + j] = scale * row[s, j]
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
    first: int, last: int,
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient G are held as [V K]."""
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    chunks = (L + C - 1) // C
    starts, inner = np.empty((chunks, V, K), q.dtype), np.empty((C + 1, V, K), q.dtype)
    G = np.empty((V, K), q.dtype)
    a, kt, qt = np.empty(K, q.dtype), np.empty(K, q.dtype), np.empty(K, q.dtype)
    gq, gk, gw = np.empty(K, q.dtype), np.empty(K, q.dtype), np.empty(K, q.dtype)
    for unit in range(first, last):
        b, h = unit // H, unit % H
        for j in range(V):
            for i in range(K):
                G[j, i], inner[0, j, i] = dS[b, h, i, j], S[b, h, i, j]
        for c in range(2 * chunks):
            # first from chunk to chunk, then back through the chunks, states computed again
            again = c >= chunks
            chunk = 2 * chunks - 1 - c if again else c
            stop = min(chunk * C + C, L)
            for j in range(V):
                for i in range(K):
                    if again:
                        inner[0, j, i] = starts[chunk, j, i]
                    else:
                        starts[chunk, j, i] = inner[0, j, i]
            for t in range(chunk * C, stop):
                s = t - chunk * C
                new = s + 1 if again else 0
                s = s if again else 0
                for i in range(K):
                    a[i], kt[i] = w[b, t, h, i], k[b, t, h, i]
                for j in range(V):
                    x = v[b, t, h, j]
                    for i in range(K):
                        inner[new, j, i] = a[i] * inner[s, j, i] + kt[i] * x
            if not again:
                continue
            for t in range(stop - 1, chunk * C - 1, -1):
                s = t - chunk * C
                read = s if before else s + 1
                for i in range(K):
                    a[i], kt[i], qt[i] = w[b, t, h, i], k[b, t, h, i], q[b, t, h, i] * scale
                    gq[i] = gk[i] = gw[i] = 0
                for j in range(V):
                    x, d = v[b, t, h, j], dy[b, t, h, j]
                    total = x * 0
                    for i in range(K):
                        g = G[j, i] if before else G[j, i] + qt[i] * d
                        gq[i] += inner[read, j, i] * d
                        gk[i] += g * x
                        gw[i] += g * inner[s, j, i]
                        total += g * kt[i]
                        G[j, i] = a[i] * g + qt[i] * d if before else a[i] * g
                    dv[b, t, h, j] = total
                for i in range(K):
                    dq[b, t, h, i], dk[b, t, h, i], dw[b, t, h, i] = gq[i] * scale, gk[i], gw[i]
        for j in range(V):
            for i in range(K):
                dS[b, h, i, j] = G[j, i]


def backward(
    q: Array, k: Array, v: Array, w: Array, S: Array, scale: float, before: bool,
    dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w and S, from those of y and of the last state.

    States are computed again from one kept for each chunk of about sqrt(L) steps.
    """
    B, L, H, _ = q.shape
    dq, dk, dw = (np.empty(q.shape, q.dtype) for _ in range(3))
    dv, dS = np.empty(v.shape, v.dtype), np.array(dS)
    C = max(16, math.isqrt(L))

    def run(first: int, last: int) -> None:
        _back(q, k, v, w, S, float(scale), bool(before), dy, dS, dq, dk, dv, dw, C, first, last)

    compiled.shared(B * H, 14 * dS.size * L, run)
    return dq, dk, dv, dw, dS
