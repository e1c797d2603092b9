"""The delta rule in numba: four steps for each sweep over a state that stays in the cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, rows, vectors
from dsf.kernels import gradients as common
from dsf.kernels.delta import gradients, sweeps
from dsf.kernels.products import scratch

Array = np.ndarray
COLUMNS = 64  # of the state that one thread takes at least
ROWS = 64  # of a head in its turn: whole sweeps


@compiled.part
def _one_step(
    S: Any, w: Any, k: Any, q: Any, x: Any, beta: Any, z: Any, y: Any, same: Any, none: Any, K: int,
    V: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """One token, as the formula reads: w, k, q [K], x, z, y [V]; y also holds what it sees.

    same and none are rows of ones and of zeros.
    """
    vectors.linear(S, w, none, k, none, y, K, V, lanes)
    for j in range(V):
        z[j] = x[j] - y[j]
        y[j] = beta * z[j]
    vectors.linear(S, same, k, q, y, y, K, V, lanes)


@compiled.forward(inputs=5)
def _steps(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, y: Array, states: Array,
    differences: Array, scale: Any, C: int, width: int, first: int, last: int,
    lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each `width` columns of the state of one head.

    A sweep over the state ends one group of tokens and begins the next one; slot 2 of what is known
    of a group is one that changes nothing.  S [B K H V]; states [B chunks*K H V] are those before
    every C tokens and differences [B L H V] the z of all, where C is not 0.
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
    x, row, z = scratch((1, T, wide), q), scratch((1, T, wide), q), scratch((1, T, wide), q)
    none, same = scratch((max(keys, wide),), q), scratch((keys,), q)
    decay[2] = 1
    same[:] = 1
    one = x.dtype.type(1)
    for begin in range(first, last, together):
        end = min(begin + together, last)
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            A[n] = 0  # what a head before it left beside its columns may be NaN
            rows.take(A, n, S, b, 0, h, start, K, min(width, V - start), lanes)
        for turn in range(0, L, ROWS):
            for unit in range(begin, end):
                b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
                start = unit % blocks * width
                size = min(width, V - start)
                if C and turn % C == 0:
                    rows.give(states, b, turn // C * K, h, start, A, n, K, size, one, lanes)
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
                                x, gram, now, by_key, by_query, n, z, u, row, odd, wide, lanes
                            )  # fmt: skip
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
                                    gram[now, sweeps.RATES + s], z[0, s], row[0, s], same, none,
                                    K, wide, lanes,
                                )  # fmt: skip
                        rows.give(y, b, t, h, start, row, 0, count, size, scale, lanes)
                        if C:
                            rows.give(differences, b, t, h, start, z, 0, count, size, one, lanes)
                    if change != 2 or (ahead == T and (t >= turn or t < 0)):
                        sweeps.advance(
                            A, n, decay, write, change, u, change // 2, seen, read, then, by_key,
                            by_query, K, wide, lanes,
                        )  # fmt: skip
        for unit in range(begin, end):
            b, h, n = unit // blocks // H, unit // blocks % H, unit - begin
            start = unit % blocks * width
            rows.give(S, b, 0, h, start, A, n, K, min(width, V - start), one, lanes)


def spacing(L: int) -> int:
    """Tokens between kept states: of those in a chunk every fourth one is held."""
    return 2 * common.chunk_length(L)


def kept(q: Any, k: Any, v: Any, *_: Any) -> list[tuple[int, ...]]:
    """The shapes of what `forward` keeps: states [K V] before the chunks, the rows of a head; z."""
    (B, L, H, K), V = q.shape, v.shape[3]
    return [(B, -(-L // spacing(L)) * K, H, V), (B, L, H, V)]


def forward(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, scale: float,
    keep: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """See `reference.forward`; the same sums in the same order for every number of threads.

    With `keep` also the states that `backward` begins its chunks with and all z, see `kept`.
    """
    (B, L, H, _), V = q.shape, v.shape[3]
    y, S, w = np.empty(v.shape, v.dtype), np.array(S, order="C"), np.broadcast_to(w, q.shape)
    columns = S.transpose(0, 2, 1, 3)
    found = [np.empty(shape, v.dtype) for shape in kept(q, k, v)] if keep else []
    C = spacing(L) if keep else 0
    width = max(1, V if B * H > 1 else min(V, max(COLUMNS, math.ceil(V / 4))))
    units, lanes = B * H * math.ceil(V / width), vectors.lanes(v.dtype)

    def run(first: int, last: int) -> None:
        _steps(
            q, k, v, beta, w, columns, y, *(found or (columns, columns)), float(scale), C, width,
            first, last, lanes,
        )  # fmt: skip

    compiled.shared(units, 6 * S.size * L, run)
    return y, S, *found


@compiled.backward(inputs=8)
def _back(
    q: Array, k: Array, v: Array, beta: Array, w: Array, states: Array, differences: Array,
    dy: Array, scale: Any, dS: Array, dq: Array, dk: Array, dv: Array, dbeta: Array, dw: Array,
    C: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Heads first .. last-1, back through chunks of C tokens.

    The state before every group is computed again from a kept one and the z.
    """
    L, H, K, V, T, W = q.shape[1], q.shape[2], q.shape[3], v.shape[3], sweeps.STEPS, len(lanes)
    heads, most = min(compiled.TOGETHER, last - first), C // T
    keys, wide = (K + W - 1) // W * W, (V + W - 1) // W * W
    strips = keys // W
    A, inner = scratch((keys, wide), q), scratch((most, strips, wide, W), q)
    G = scratch((heads, strips, wide, W), q)
    e, minus = scratch((T, wide), q), scratch((T, wide), q)
    a, c, r = scratch((most, T, keys), q), scratch((most, T, keys), q), scratch((most, T, keys), q)
    seen, read, write = (
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
    )
    decay, gram = scratch((most, keys), q), scratch((most, sweeps.GRAM), q)
    z, d = scratch((most, T, wide), q), scratch((most, T, wide), q)
    u, f = scratch((most, T, wide), q), scratch((most, T, wide), q)
    pairs, to_decay = scratch((sweeps.GRAM,), q), scratch((keys,), q)
    to_write, to_seen, to_read = scratch((T, keys), q), scratch((T, keys), q), scratch((T, keys), q)
    g_q, g_k, g_w = (
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
        scratch((most, T, keys), q),
    )
    one, zero = z.dtype.type(1), z.dtype.type(0)
    for begin in range(first, last, heads):
        end = min(begin + heads, last)
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            G[n] = 0
            for i in range(K):
                for j in range(V):
                    G[n, i // W, j, i % W] = dS[b, h, i, j]
        for chunk in range((L + C - 1) // C - 1, -1, -1):
            start, stop = chunk * C, min(chunk * C + C, L)
            groups = (stop - start + T - 1) // T
            for unit in range(begin, end):
                b, h, n = unit // H, unit % H, unit - begin
                rows.take(A, 0, states, b, chunk * K, h, 0, K, V, lanes)
                common.turned(A, inner, 0, keys, wide, lanes)
                for g in range(groups):
                    t = start + g * T
                    count = min(T, L - t)
                    if count < T:  # tokens that change nothing
                        a[g], c[g], r[g], z[g], d[g] = 1, 0, 0, 0, 0
                    rows.take(a, g, w, b, t, h, 0, count, K, lanes)
                    rows.take(c, g, k, b, t, h, 0, count, K, lanes)
                    rows.take(r, g, q, b, t, h, 0, count, K, lanes)
                    rows.take(z, g, differences, b, t, h, 0, count, V, lanes)
                    rows.take(d, g, dy, b, t, h, 0, count, V, lanes)
                    for s in range(T):
                        rate = beta[b, t + s, h] if s < count else zero
                        gram[g, sweeps.RATES + s] = rate
                        for j in range(wide):
                            d[g, s, j] *= scale
                            u[g, s, j] = rate * z[g, s, j]
                    sweeps.prepare(a, c, r, seen, read, write, decay, gram, g, keys, lanes)
                    if g + 1 < groups:
                        gradients.again(inner, g, decay, write, u, V, keys, lanes)
                for g in range(groups - 1, -1, -1):
                    t = start + g * T
                    count = min(T, L - t)
                    gradients.gathered(G, n, write, g, e, wide, keys, lanes)
                    gradients.unsolve(d, z, u, g, gram, e, f, minus, pairs, wide, lanes)
                    gradients.back(
                        G, n, inner, decay, seen, read, u, d, g, minus, to_write, to_seen, to_read,
                        to_decay, V, keys, lanes,
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
                            total = zero
                            for i in range(K):
                                total += g_w[g, s, i]
                            dw[b, t + s, h, 0] = total
        for unit in range(begin, end):
            b, h, n = unit // H, unit % H, unit - begin
            for i in range(K):
                for j in range(V):
                    dS[b, h, i, j] = G[n, i // W, j, i % W]


def backward(
    q: Array, k: Array, v: Array, beta: Array, w: Array, S: Array, states: Array,
    differences: Array, scale: float, dy: Array, dS: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of q, k, v, beta, w and S, from those of y and of the last state.

    States are computed again from what `forward` kept.
    """
    B, L, H, _ = q.shape
    dq, dk, dv, dbeta, dw = (np.empty(x.shape, x.dtype) for x in (q, k, v, beta, w))
    dS, decays, lanes = np.array(dS), np.broadcast_to(w, q.shape), vectors.lanes(q.dtype)

    def run(first: int, last: int) -> None:
        _back(
            q, k, v, beta, decays, states, differences, dy, float(scale), dS, dq, dk, dv, dbeta,
            dw, spacing(L), first, last, lanes,
        )  # fmt: skip

    compiled.shared(B * H, 16 * dS.size * L, run)
    return dq, dk, dv, dbeta, dw, dS
