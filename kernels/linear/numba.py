"""Linear attention in numba: the state of a head stays in the cache, heads run in parallel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, gradients, rows, vectors
from dsf.kernels.linear import sweeps, unfold
from dsf.kernels.products import fetch, scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 32  # of the inputs that are copied at once


@compiled.forward(inputs=4)
def _steps(
    q: Array, k: Array, v: Array, w: Array, S: Array, y: Array, states: Array, scale: Any,
    before: bool, C: int, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    S [B K H V]; states [B chunks*K H V] are those before every C tokens, none where C is 0.
    """
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    W, T, blocks = len(lanes), sweeps.STEPS, (V + width - 1) // width
    wide, long = (width + W - 1) // W * W, (K + W - 1) // W * W
    together = min(compiled.TOGETHER, last - first)
    A, P, table = scratch((together, K, wide), q), scratch((long,), q), scratch((sweeps.TABLE,), q)
    a, c, r = scratch((ROWS, long), q), scratch((ROWS, long), q), scratch((ROWS, long), q)
    x, row = scratch((ROWS, wide), q), scratch((ROWS, wide), q)
    one = P.dtype.type(1)
    to_k, to_q = scratch((T, long), q), scratch((T, long), q)
    whole = K == long and k.strides[3] == k.itemsize and q.strides[3] == q.itemsize
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            rows.take(A, n, S, b, 0, h, start, K, min(width, V - start), lanes)
        for t in range(0, L, ROWS):
            count = min(ROWS, L - t)
            for unit in range(begin, end):
                b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                if C and t % C == 0:
                    rows.give(states, b, t // C * K, h, start, A, n, K, size, one, lanes)
                keys, queries = k[b, t : t + count, h], q[b, t : t + count, h]
                values, out = v[b, t : t + count, h, start:], y[b, t : t + count, h, start:]
                rows.take(a, 0, w, b, t, h, 0, count, K, lanes)
                if not whole:
                    rows.take(c, 0, k, b, t, h, 0, count, K, lanes)
                    rows.take(r, 0, q, b, t, h, 0, count, K, lanes)
                    keys, queries = c, r
                if size < wide or v.strides[3] != v.itemsize:
                    rows.take(x, 0, v, b, t, h, start, count, size, lanes)
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
                    rows.give(y, b, t, h, start, row, 0, count, size, one, lanes)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            rows.give(S, b, 0, h, start, A, n, K, min(width, V - start), one, lanes)


def spacing(L: int) -> int:
    """Tokens between kept states: of those in a chunk every fourth one is held."""
    return 2 * gradients.chunk_length(L)


def kept(q: Any, k: Any, v: Any, *_: Any) -> list[tuple[int, ...]]:
    """The shapes of what `forward` keeps: states [K V] before the chunks, the rows of a head."""
    (B, L, H, K), V = q.shape, v.shape[3]
    return [(B, -(-L // spacing(L)) * K, H, V)]


def forward(
    q: Array, k: Array, v: Array, w: Array, S: Array, scale: float, before: bool,
    keep: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads.

    With `keep` also the states that `backward` begins its chunks with, see `kept`.
    """
    (B, L, H, _), V = q.shape, v.shape[3]
    y, S = np.empty(v.shape, v.dtype), np.array(S, order="C")
    w, columns = np.broadcast_to(w, q.shape), S.transpose(0, 2, 1, 3)
    states = [np.empty(shape, v.dtype) for shape in kept(q, k, v)] if keep else []
    C = spacing(L) if keep else 0
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(
            q, k, v, w, columns, y, states[0] if keep else columns, float(scale), bool(before), C,
            width, first, last, lanes,
        )  # fmt: skip

    compiled.shared(units, 4 * S.size * L, run)
    return y, S, *states


@compiled.backward(inputs=6)
def _back(
    q: Array, k: Array, v: Array, w: Array, states: Array, dy: Array, scale: Any, before: bool,
    dS: Array, dq: Array, dk: Array, dv: Array, dw: Array, C: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1.  The state and its gradient are held as [V K], keys in the lanes."""
    L, H, K, V = q.shape[1], q.shape[2], q.shape[3], v.shape[3]
    W, T, heads = len(lanes), sweeps.STEPS, min(compiled.TOGETHER, last - first)
    wide, values = (K + W - 1) // W * W, (V + W - 1) // W * W
    inner, S = scratch((C // T + 1, values, wide), q), scratch((wide, values), q)
    strips = inner.reshape((C // T + 1, values, wide // W, W)).transpose(0, 2, 1, 3)
    G, part = scratch((heads, V, wide), q), scratch((values, T, W), q)
    a, c, r = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    gq, gk, gw = scratch((C, wide), q), scratch((C, wide), q), scratch((C, wide), q)
    to_k, to_q, P = scratch((C, wide), q), scratch((C, wide), q), scratch((C // T, wide), q)
    x, d, gv = scratch((C, values), q), scratch((C, values), q), scratch((C, values), q)
    both, scores = scratch((wide,), q), scratch((sweeps.TABLE,), q)
    one = P.dtype.type(1)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    G[n, j, i] = dS[b, h, i, j]
        for chunk in range((L + C - 1) // C - 1, -1, -1):
            start = chunk * C
            count = min(C, L - start)
            groups = (count + T - 1) // T
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                rows.take(a, 0, w, b, start, h, 0, count, K, lanes)
                rows.take(c, 0, k, b, start, h, 0, count, K, lanes)
                rows.take(r, 0, q, b, start, h, 0, count, K, lanes)
                rows.take(x, 0, v, b, start, h, 0, count, V, lanes)
                rows.take(d, 0, dy, b, start, h, 0, count, V, lanes)
                for t in range(count, groups * T):  # steps that change nothing
                    a[t], c[t], r[t], x[t], d[t] = 1, 0, 0, 0, 0
                for t in range(count):
                    for j in range(values):
                        d[t, j] *= scale
                rows.take(S, 0, states, b, chunk * K, h, 0, K, V, lanes)
                gradients.turned(S, strips, 0, wide, values, lanes)
                for m in range(groups):
                    if before:
                        unfold.fade_before(a, c, r, m * T, P, m, to_k, to_q, wide, lanes)
                    else:
                        unfold.fade(a, c, r, m * T, P, m, to_k, to_q, wide, lanes)
                    unfold.ahead(inner, m, P, to_k, x, d, gq, m * T, V, wide, lanes)
                for m in range(groups - 1, -1, -1):
                    s = m * T
                    unfold.back(
                        G, n, inner, P, m, to_q, to_k, x, d, gk, both, part, s, V, wide, lanes
                    )  # fmt: skip
                    if before:
                        unfold.unfold_before(
                            a, c, r, x, d, gq, gk, both, part, gw, gv, scores, s, wide, values,
                            lanes,
                        )  # fmt: skip
                    else:
                        unfold.unfold(
                            a, c, r, x, d, gq, gk, both, part, gw, gv, scores, s, wide, values,
                            lanes,
                        )  # fmt: skip
                rows.give(dq, b, start, h, 0, gq, 0, count, K, one, lanes)
                rows.give(dk, b, start, h, 0, gk, 0, count, K, one, lanes)
                rows.give(dv, b, start, h, 0, gv, 0, count, V, one, lanes)
                if dw.shape[3] == K:
                    rows.give(dw, b, start, h, 0, gw, 0, count, K, one, lanes)
                else:  # one decay for all keys
                    for t in range(count):
                        total = one * 0
                        for i in range(K):
                            total += gw[t, i]
                        dw[b, start + t, h, 0] = total
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for j in range(V):
                for i in range(K):
                    dS[b, h, i, j] = G[n, j, i]


def backward(
    q: Array, k: Array, v: Array, w: Array, S: Array, states: Array, scale: float, before: bool,
    dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, w and S, from those of y and of the last state.

    States are computed again from those kept by `forward`.
    """
    B, L, H, _ = q.shape
    dq, dk, dv, dw = (np.empty(x.shape, x.dtype) for x in (q, k, v, w))
    dS, decays, lanes = np.array(dS), np.broadcast_to(w, q.shape), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, decays, states, dy, float(scale), bool(before), dS, dq, dk, dv, dw, spacing(L),
            first, last, lanes,
        )  # fmt: skip

    compiled.shared(B * H, 12 * dS.size * L, run)
    return dq, dk, dv, dw, dS
