"""The delta rules in numba: one sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, vectors

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
    A, x = np.zeros((K, wide), q.dtype), np.zeros(wide, q.dtype)
    row, seen, none = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(K, q.dtype)
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
            for j in range(size):
                x[j] = v[n, t, h, start + j]
            following = a[n, t + 1, h] if t + 1 < L else none
            vectors.low_rank(
                A, w[n, t, h], b[n, t, h], k[n, t, h], q[n, t // substeps, h], following,
                x, seen, row, K, wide, lanes,
            )  # fmt: skip
            if t % substeps == substeps - 1:
                for j in range(size):
                    y[n, t // substeps, h, start + j] = scale * row[j]
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
    da: Array, db: Array, C: int, first: int, last: int,
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient G are held as [V K]."""
    L, H, K, V = k.shape[1], k.shape[2], k.shape[3], v.shape[3]
    chunks = (L + C - 1) // C
    starts, inner = np.empty((chunks, V, K), q.dtype), np.empty((C + 1, V, K), q.dtype)
    G = np.empty((V, K), q.dtype)
    wt, kt, qt = np.empty(K, q.dtype), np.empty(K, q.dtype), np.empty(K, q.dtype)
    at, bt = np.empty(K, q.dtype), np.empty(K, q.dtype)
    gq, gk, gw = np.empty(K, q.dtype), np.empty(K, q.dtype), np.empty(K, q.dtype)
    ga, gb = np.empty(K, q.dtype), np.empty(K, q.dtype)
    for unit in range(first, last):
        n, h = unit // H, unit % H
        for j in range(V):
            for i in range(K):
                G[j, i], inner[0, j, i] = dS[n, h, i, j], S[n, h, i, j]
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
                    wt[i], kt[i] = w[n, t, h, i], k[n, t, h, i]
                    at[i], bt[i] = a[n, t, h, i], b[n, t, h, i]
                for j in range(V):
                    x = v[n, t, h, j]
                    seen = x * 0
                    for i in range(K):
                        seen += at[i] * inner[s, j, i]
                    for i in range(K):
                        inner[new, j, i] = wt[i] * inner[s, j, i] + bt[i] * seen + kt[i] * x
            if not again:
                continue
            for t in range(stop - 1, chunk * C - 1, -1):
                s = t - chunk * C
                read = t % substeps == substeps - 1
                for i in range(K):
                    wt[i], kt[i] = w[n, t, h, i], k[n, t, h, i]
                    at[i], bt[i] = a[n, t, h, i], b[n, t, h, i]
                    qt[i] = q[n, t // substeps, h, i] * scale
                    gq[i] = gk[i] = gw[i] = ga[i] = gb[i] = 0
                for j in range(V):
                    x = v[n, t, h, j]
                    d = dy[n, t // substeps, h, j]
                    if read:
                        for i in range(K):
                            gq[i] += inner[s + 1, j, i] * d
                            G[j, i] += qt[i] * d
                    total, seen, back = x * 0, x * 0, x * 0
                    for i in range(K):
                        total += G[j, i] * kt[i]
                        seen += at[i] * inner[s, j, i]
                        back += G[j, i] * bt[i]
                    for i in range(K):
                        g = G[j, i]
                        gk[i] += g * x
                        gb[i] += g * seen
                        gw[i] += g * inner[s, j, i]
                        ga[i] += back * inner[s, j, i]
                        G[j, i] = wt[i] * g + at[i] * back
                    dv[n, t, h, j] = total
                for i in range(K):
                    dk[n, t, h, i], dw[n, t, h, i] = gk[i], gw[i]
                    da[n, t, h, i], db[n, t, h, i] = ga[i], gb[i]
                if read:
                    for i in range(K):
                        dq[n, t // substeps, h, i] = gq[i] * scale
        for j in range(V):
            for i in range(K):
                dS[n, h, i, j] = G[j, i]


def backward(
    q: Array, k: Array, v: Array, w: Array, a: Array, b: Array, S: Array,
    scale: float, substeps: float, dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w, a, b and S, from those of y and of the last state.

    States are computed again from one kept for each chunk of about sqrt(L) steps.
    """
    B, L, H, _ = k.shape
    dk, dw, da, db = (np.empty(k.shape, k.dtype) for _ in range(4))
    dq, dv, dS = np.empty(q.shape, q.dtype), np.empty(v.shape, v.dtype), np.array(dS)
    C = max(16, math.isqrt(L))

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, w, a, b, S, dy, float(scale), int(substeps), dS, dq, dk, dv, dw, da, db,
            C, first, last,
        )  # fmt: skip

    compiled.shared(B * H, 24 * dS.size * L, run)
    return dq, dk, dv, dw, da, db, dS
