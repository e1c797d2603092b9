"""The delta rule in numba: four steps for each sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, rows, vectors
from dsf.kernels.delta import gradients, sweeps
from dsf.kernels.gradients import chunk_length
from dsf.kernels.products import scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 64  # of a head in its turn: whole sweeps


@compiled.part
def _one_step(
    S: Any, w: Any, k: Any, q: Any, x: Any, beta: Any, y: Any, same: Any, none: Any, K: int,
    V: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """One token, as the formula reads: w, k, q [K], x, y [V]; y also holds what it sees.

    same and none are rows of ones and of zeros.
    """
    vectors.linear(S, w, none, k, none, y, K, V, lanes)
    for j in range(V):
        y[j] = beta * (x[j] - y[j])
    vectors.linear(S, same, k, q, y, y, K, V, lanes)


@compiled.forward(inputs=5)
def _steps(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, y: Array, scale: Any,
    width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    A sweep over the state ends one group of tokens and begins the next one; slot 2 of what is known
    of a group is one that changes nothing.
    """
    L, H, K, V, T, W = q.shape[1], q.shape[2], q.shape[3], v.shape[3], sweeps.STEPS, len(lanes)
    blocks, together = (V + width - 1) // width, min(compiled.TOGETHER, last - first)
    wide, keys = (width + W - 1) // W * W, (K + W - 1) // W * W
    A, by_key = scratch((together, K, wide), q), scratch((together, T, wide), q)
    by_query, odd = scratch((together, T, wide), q), scratch((W,), q)
    a, c, r = scratch((2, T, keys), q), scratch((2, T, keys), q), scratch((2, T, keys), q)
    seen, read = scratch((2, T, keys), q), scratch((2, T, keys), q)
    write, decay = scratch((3, T, keys), q), scratch((3, keys), q)
    gram, u = scratch((2, sweeps.GRAM), q), scratch((2, T, wide), q)
    x, row = scratch((1, T, wide), q), scratch((1, T, wide), q)
    none, same = scratch((max(keys, wide),), q), scratch((keys,), q)
    decay[2] = 1
    same[:] = 1
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            A[n] = 0  # what a head before it left beside its columns may be NaN
            for i in range(K):
                for j in range(min(width, V - start)):
                    A[n, i, j] = S[b, h, i, start + j]
        for turn in range(0, L, ROWS):
            for unit in range(begin, end):
                b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                for t in range(turn - T, min(turn + ROWS, L), T):
                    now, then = t // T % 2, 1 - t // T % 2
                    count, ahead = min(T, L - t), min(T, L - t - T)
                    if ahead > 0:
                        rows.take(a, then, w, b, t + T, h, 0, ahead, K, lanes)
                        rows.take(c, then, k, b, t + T, h, 0, ahead, K, lanes)
                        rows.take(r, then, q, b, t + T, h, 0, ahead, K, lanes)
                        for s in range(ahead):
                            gram[then, sweeps.RATES + s] = beta[b, t + T + s, h]
                        sweeps.prepare(a, c, r, seen, read, write, decay, gram, then, keys, lanes)
                    change = 2
                    if t >= turn:
                        rows.take(x, 0, v, b, t, h, start, count, size, lanes)
                        rows.fetch(k, b, t + 2 * T, h, 0, T, K, lanes)
                        rows.fetch(q, b, t + 2 * T, h, 0, T, K, lanes)
                        if w.strides[3] != 0:
                            rows.fetch(w, b, t + 2 * T, h, 0, T, K, lanes)
                        rows.fetch(v, b, t + T, h, start, T, size, lanes)
                        rows.fetch(y, b, t + T, h, start, T, size, lanes)
                        if count == T:
                            sweeps.solve(
                                x, gram, now, by_key, by_query, n, u, row, odd, wide, lanes
                            )
                            total = odd[0]
                            for j in range(1, W):
                                total += odd[j]
                            if total == 0:
                                change = now
                        if change == 2:
                            # too few tokens, or infinity and NaN, which products of keys would
                            # send elsewhere
                            for s in range(count):
                                _one_step(
                                    A[n], a[now, s], c[now, s], r[now, s], x[0, s],
                                    gram[now, sweeps.RATES + s], row[0, s], same, none, K, wide,
                                    lanes,
                                )  # fmt: skip
                        rows.give(y, b, t, h, start, row, 0, count, size, scale, lanes)
                    if change != 2 or (ahead == T and (t >= turn or t < 0)):
                        sweeps.advance(
                            A, n, decay, write, change, u, change // 2, seen, read, then, by_key,
                            by_query, K, wide, lanes,
                        )  # fmt: skip
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            for i in range(K):
                for j in range(min(width, V - start)):
                    S[b, h, i, start + j] = A[n, i, j]


def forward(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, scale: float
) -> tuple[Array, Array]:
    """See `reference.forward`; the same sums in the same order for every number of threads."""
    (B, L, H, _), V = q.shape, v.shape[3]
    y, S, w = np.empty(v.shape, v.dtype), np.array(S), np.broadcast_to(w, q.shape)
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(q, k, v, beta, w, S, y, float(scale), width, first, last, lanes)

    compiled.shared(units, 6 * S.size * L, run)
    return y, S


@compiled.backward(inputs=6)
def _back(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, dy: Array, scale: Any,
    dS: Array, dq: Array, dk: Array, dv: Array, dbeta: Array, dw: Array, C: int, first: int,
    last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1, in chunks of C tokens.

    From chunk to chunk, with z in the place of dv; then back through the chunks, where the state
    before every group is computed again from the z.
    """
    L, H, K, V, T, W = q.shape[1], q.shape[2], q.shape[3], v.shape[3], sweeps.STEPS, len(lanes)
    heads, chunks, most = min(compiled.TOGETHER, last - first), (L + C - 1) // C, C // T
    keys, wide = (K + W - 1) // W * W, (V + W - 1) // W * W
    strips = keys // W
    # kept states, and in the last row those before the groups of one chunk
    states = scratch((heads + 1, max(chunks, most), strips, wide, W), q)
    A, G = scratch((heads, keys, wide), q), scratch((heads, strips, wide, W), q)
    by_key, e, minus = scratch((heads, T, wide), q), scratch((T, wide), q), scratch((T, wide), q)
    a, c, r = scratch((most, T, keys), q), scratch((most, T, keys), q), scratch((most, T, keys), q)
    seen, read, write = (
        scratch((most + 1, T, keys), q),
        scratch((most, T, keys), q),
        scratch((most + 1, T, keys), q),
    )
    decay, gram = scratch((most + 1, keys), q), scratch((most + 1, sweeps.GRAM), q)
    x, z, d = scratch((most, T, wide), q), scratch((most, T, wide), q), scratch((most, T, wide), q)
    u, f = scratch((most + 1, T, wide), q), scratch((most, T, wide), q)
    pairs, to_decay = scratch((sweeps.GRAM,), q), scratch((keys,), q)
    to_write, to_seen, to_read = scratch((T, keys), q), scratch((T, keys), q), scratch((T, keys), q)
    g_q, g_k, g_w = (
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
    )
    decay[most] = 1
    one, zero = decay[most, 0], decay[0, 0]
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            A[n], G[n] = 0, 0
            for i in range(K):
                for j in range(V):
                    A[n, i, j] = S[b, h, i, j]
                    G[n, i // W, j, i % W] = dS[b, h, i, j]
        for turn in range(2 * chunks):
            back = turn >= chunks
            chunk = 2 * chunks - 1 - turn if back else turn
            start, stop = chunk * C, min(chunk * C + C, L)
            groups = (stop - start + T - 1) // T
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                for g in range(groups):
                    t = start + g * T
                    count = min(T, L - t)
                    if count < T:  # tokens that change nothing
                        a[g], c[g], r[g], x[g], z[g], d[g] = 1, 0, 0, 0, 0, 0
                    rows.take(a, g, w, b, t, h, 0, count, K, lanes)
                    rows.take(c, g, k, b, t, h, 0, count, K, lanes)
                    rows.take(r, g, q, b, t, h, 0, count, K, lanes)
                    for s in range(T):
                        gram[g, sweeps.RATES + s] = beta[b, t + s, h] if s < count else zero
                    sweeps.prepare(a, c, r, seen, read, write, decay, gram, g, keys, lanes)
                    if back:
                        rows.take(z, g, dv, b, t, h, 0, count, V, lanes)
                        rows.take(d, g, dy, b, t, h, 0, count, V, lanes)
                        rows.fetch(dv, b, t + 2 * T, h, 0, T, V, lanes)
                        rows.fetch(dy, b, t + 2 * T, h, 0, T, V, lanes)
                        for s in range(T):
                            for j in range(V, wide):
                                z[g, s, j] = 0
                            for j in range(wide):
                                d[g, s, j] *= scale
                                u[g, s, j] = gram[g, sweeps.RATES + s] * z[g, s, j]
                    else:
                        rows.take(x, g, v, b, t, h, 0, count, V, lanes)
                        rows.fetch(v, b, t + 2 * T, h, 0, T, V, lanes)
                    rows.fetch(k, b, t + 2 * T, h, 0, T, K, lanes)
                    rows.fetch(q, b, t + 2 * T, h, 0, T, K, lanes)
                if not back:
                    gradients.turned(A, n, states, n, chunk, keys, wide, lanes)
                    for g in range(-1, groups):
                        now = g if g >= 0 else most
                        if g >= 0:
                            t = start + g * T
                            sweeps.solve_again(x, gram, g, by_key, n, z, u, wide, lanes)
                            rows.give(dv, b, t, h, 0, z, g, min(T, L - t), V, one, lanes)
                        sweeps.advance_keys(
                            A, n, decay, write, now, u, now, seen, read, g + 1, by_key, by_key, K,
                            wide, lanes,
                        )  # fmt: skip
                    continue
                for g in range(groups - 1):
                    m, at = (heads, g) if g else (n, chunk)
                    gradients.again(states, m, at, heads, g + 1, decay, write, u, g, V, keys, lanes)
                for g in range(groups - 1, -1, -1):
                    t, m, at = start + g * T, heads if g else n, g if g else chunk
                    count = min(T, L - t)
                    gradients.gathered(G, n, write, g, e, wide, keys, lanes)
                    gradients.unsolve(d, z, u, g, gram, e, f, minus, pairs, wide, lanes)
                    gradients.back(
                        G, n, states, m, at, decay, seen, read, u, d, g, minus, to_write, to_seen,
                        to_read, to_decay, V, keys, lanes,
                    )  # fmt: skip
                    gradients.unprepare(
                        a, c, r, g, pairs, to_write, to_seen, to_read, to_decay, g_w, g_k, g_q,
                        keys, lanes,
                    )  # fmt: skip
                    rows.give(dq, b, t, h, 0, g_q, g, count, K, one, lanes)
                    rows.give(dk, b, t, h, 0, g_k, g, count, K, one, lanes)
                    rows.give(dv, b, t, h, 0, f, g, count, V, one, lanes)
                    if dw.shape[3] == K:
                        rows.give(dw, b, t, h, 0, g_w, g, count, K, one, lanes)
                    for s in range(count):
                        dbeta[b, t + s, h] = pairs[sweeps.RATES + s]
                        if dw.shape[3] != K:
                            total = g_w[g, s, 0]
                            for i in range(1, K):
                                total += g_w[g, s, i]
                            dw[b, t + s, h, 0] = total
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for i in range(K):
                for j in range(V):
                    dS[b, h, i, j] = G[n, i // W, j, i % W]


def backward(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, scale: float,
    dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, beta, w and S, from those of y and of the last state.

    States are computed again from one kept for each chunk of tokens.
    """
    B, L, H, _ = q.shape
    dq, dk, dv, dbeta, dw = (np.empty(x.shape, x.dtype) for x in (q, k, v, beta, w))
    dS, decays = np.array(dS), np.broadcast_to(w, q.shape)
    C, lanes = 2 * chunk_length(L), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, beta, decays, S, dy, float(scale), dS, dq, dk, dv, dbeta, dw, C, first, last,
            lanes,
        )  # fmt: skip

    compiled.shared(B * H, 20 * dS.size * L, run)
    return dq, dk, dv, dbeta, dw, dS
