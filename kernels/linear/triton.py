"""Linear attention in Triton, by chunks: no decay, one per head, or one per channel.

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t',    y_t = scale S_t' q_t

A sequence is cut into segments and these into chunks.  `states_kernel` finds what each segment adds
to the state, `carry_kernel` joins the segments, and the others walk the chunks of their segment
with the state in registers.  Exponents are sums of log-decays between two times and never positive.

Accuracy: differences of running sums lose digits in proportion to the sums, so a running sum is
kept as an exact multiple of a power of two and a small remainder.  One decay per channel walks the
diagonals of a chunk instead, and adds the logarithms between two times directly.

Gradients of log-decays: with dS the gradient at a state, dg_t - dg_{t+1} = q_t dq_t - k_t dk_t, and
at the end of a segment dg = <S, dS>.  The pair (t, t) cancels there and is left out.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dsf.kernels.tiles import accumulator, linear_tile, power_of_two, segments

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def load_rows(ptr, start, rows, first, end, columns, N, stride, ACC: tl.constexpr):
    """Rows start + rows of a matrix as [T N], zero outside first <= row < end."""
    inside = (start + rows >= first) & (start + rows < end)
    mask = inside[:, None] & (columns[None, :] < N)
    ptr += tl.cast(start, tl.int64) * stride
    return tl.load(ptr + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(ACC)


@triton.jit
def store_rows(ptr, value, start, rows, end, columns, N, stride):
    mask = (start + rows < end)[:, None] & (columns[None, :] < N)
    ptr += tl.cast(start, tl.int64) * stride
    value = value.to(ptr.dtype.element_ty)
    tl.store(ptr + rows[:, None] * stride + columns[None, :], value, mask=mask)


@triton.jit
def bounded(g, ACC: tl.constexpr):
    """Base-2 logarithms, cut where 2^g is zero in this dtype: -inf becomes a finite number."""
    g = g.to(ACC) * LOG2E
    if ACC == tl.float64:
        return tl.where(g < -1100.0, -1100.0, g)
    else:
        return tl.where(g < -160.0, -160.0, g)


@triton.jit
def coarse(g, ACC: tl.constexpr):
    """g rounded to a multiple of 2^-10 (2^-36): sums of up to 64 such numbers are exact."""
    if ACC == tl.float64:
        return (g + 98304.0) - 98304.0
    else:
        return (g + 12288.0) - 12288.0


@triton.jit
def dot(a, b, ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(DOT), b.to(DOT), input_precision=PRECISION, out_dtype=ACC)


@triton.jit
def wide_dot(a, b, ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """a b for few rows and many columns, as (b' a')': Triton lays warps along rows, and would
    otherwise give every warp the whole of a tile of 16 rows.  Not so in float64."""
    if ACC == tl.float64:
        return dot(a, b, ACC, DOT, PRECISION)
    else:
        return tl.trans(dot(tl.trans(b), tl.trans(a), ACC, DOT, PRECISION))


@triton.jit
def load_decay(g_ptr, start, rows, end, columns, K, H, DECAY: tl.constexpr, ACC: tl.constexpr):
    """Log-decays of rows: [T] for one per head, [T K] for one per channel."""
    if DECAY == 2:
        return bounded(load_rows(g_ptr, start, rows, 0, end, columns, K, H * K, ACC), ACC)
    else:
        at = g_ptr + tl.cast(start, tl.int64) * H + rows * H
        return bounded(tl.load(at, mask=start + rows < end, other=0.0), ACC)


@triton.jit
def spread(w, DECAY: tl.constexpr):
    """Weights of rows as a factor of a [T K] tile."""
    if DECAY == 2:
        return w
    else:
        return w[:, None]


@triton.jit
def edges(g, ACC: tl.constexpr):
    """Decays of a chunk: from its start to each row, from each row to its end, and over all."""
    high = coarse(g, ACC)
    low = g - high
    sum_high, sum_low = tl.cumsum(high, 0), tl.cumsum(low, 0)
    all_high, all_low = tl.sum(high, 0), tl.sum(low, 0)
    left_high = tl.expand_dims(all_high, 0) - sum_high
    left_low = tl.expand_dims(all_low, 0) - sum_low
    return tl.exp2(sum_high + sum_low), tl.exp2(left_high + left_low), tl.exp2(all_high + all_low)


@triton.jit
def between(g, rows, STRICT: tl.constexpr, ACC: tl.constexpr):
    """[T T] decays from column to row, zero above the diagonal; STRICT: and on it."""
    high = coarse(g, ACC)
    sum_high, sum_low = tl.cumsum(high, 0), tl.cumsum(g - high, 0)
    gap = (sum_high[:, None] - sum_high[None, :]) + (sum_low[:, None] - sum_low[None, :])
    if STRICT:
        keep = rows[:, None] > rows[None, :]
    else:
        keep = rows[:, None] >= rows[None, :]
    return tl.where(keep, tl.exp2(tl.where(keep, gap, 0.0)), 0.0)


@triton.jit
def states_kernel(
    k_ptr, v_ptr, g_ptr, out_ptr, decay_ptr, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr, REVERSE: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What a segment adds to the state at its end; REVERSE: to the gradient at its start."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    k_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    if DECAY == 2:
        g_ptr += (b * L * H + h) * K
        total = tl.full([BK], 1.0, ACC)
    elif DECAY == 1:
        g_ptr += b * L * H + h
        total = tl.sum(tl.full([BT], 1.0 / BT, ACC), 0)
    S = tl.zeros([BK, BV], ACC)
    start = segment * LENGTH
    chunks = tl.cdiv(tl.minimum(LENGTH, L - start), BT)
    for i in range(chunks):
        if REVERSE:
            t = start + (chunks - 1 - i) * BT
        else:
            t = start + i * BT
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        if DECAY > 0:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, DECAY, ACC)
            inward, outward, over = edges(g, ACC)
            if REVERSE:
                k = k * spread(inward, DECAY)
            else:
                k = k * spread(outward, DECAY)
            total = total * over
            if DECAY == 2:
                S = S * over[:, None]
            else:
                S = S * over
        S += dot(tl.trans(k), v, ACC, DOT, PRECISION)
    slot = head * (SEGMENTS + 1) + segment
    if REVERSE:
        S = S * SCALE
    else:
        slot += 1
    store_rows(out_ptr + slot * K * V, S, 0, ks, K, vs, V, V)
    if column == 0:
        if DECAY == 2:
            at = decay_ptr + (head * SEGMENTS + segment) * K + ks
            tl.store(at, total, mask=ks < K)
        elif DECAY == 1:
            tl.store(decay_ptr + head * SEGMENTS + segment, total)


@triton.jit
def carry_kernel(
    states_ptr, decay_ptr, K, V, SEGMENTS,
    DECAY: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Joins the segments in place: each slot becomes the state (the gradient) at its boundary."""
    head = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < K * V
    states_ptr += head * (SEGMENTS + 1) * K * V + at
    if REVERSE:
        S = tl.load(states_ptr + tl.cast(SEGMENTS, tl.int64) * K * V, mask=inside, other=0.0)
    else:
        S = tl.load(states_ptr, mask=inside, other=0.0)
    for i in range(SEGMENTS):
        if REVERSE:
            segment = SEGMENTS - 1 - i
            slot = tl.cast(segment, tl.int64)
        else:
            segment = i
            slot = tl.cast(segment + 1, tl.int64)
        if DECAY == 2:
            d = tl.load(decay_ptr + (head * SEGMENTS + segment) * K + at // V, inside, other=0.0)
            S = S * d
        elif DECAY == 1:
            S = S * tl.load(decay_ptr + head * SEGMENTS + segment)
        S += tl.load(states_ptr + slot * K * V, mask=inside, other=0.0)
        tl.store(states_ptr + slot * K * V, S, mask=inside)


@triton.jit
def output_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, states_ptr, y_ptr, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr, LAST: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Outputs of one segment from the state at its start; LAST: writes the state at its end."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    k_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    y_ptr += (b * L * H + h) * V
    if DECAY == 2:
        g_ptr += (b * L * H + h) * K
    elif DECAY == 1:
        g_ptr += b * L * H + h
    states_ptr += (head * (SEGMENTS + 1) + segment) * K * V
    S = load_rows(states_ptr, 0, ks, 0, K, vs, V, V, ACC)
    start = segment * LENGTH
    for i in range(tl.cdiv(tl.minimum(LENGTH, L - start), BT)):
        t = start + i * BT
        q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        if DECAY == 2:
            A = tl.zeros([BT, BT], ACC)
            log_w = tl.zeros([BT, BK], ACC)
            for d in range(tl.minimum(BT, L - t)):  # the d-th diagonal below the main one
                kd = load_rows(k_ptr, t, rows - d, t, L, ks, K, H * K, ACC)
                diagonal = rows[:, None] - d == rows[None, :]
                A += tl.where(diagonal, tl.sum(q * kd * tl.exp2(log_w), 1)[:, None], 0.0)
                gd = load_rows(g_ptr, t, rows - d, t, L, ks, K, H * K, ACC)
                log_w += bounded(gd, ACC)
        else:
            A = dot(q, tl.trans(k), ACC, RAW, PRECISION)
            if DECAY == 0:
                A = tl.where(rows[:, None] >= rows[None, :], A, 0.0)
        if DECAY > 0:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, DECAY, ACC)
            inward, outward, over = edges(g, ACC)
            k = k * spread(outward, DECAY)
            if DECAY == 1:
                A = A * between(g, rows, False, ACC)
                y = wide_dot(q, S, ACC, DOT, PRECISION) * inward[:, None]
                S = S * over
            else:
                y = wide_dot(q * inward, S, ACC, DOT, PRECISION)
                S = S * over[:, None]
        else:
            y = wide_dot(q, S, ACC, DOT, PRECISION)
        y += wide_dot(A, v, ACC, DOT, PRECISION)
        store_rows(y_ptr, y * SCALE, t, rows, L, vs, V, H * V)
        S += dot(tl.trans(k), v, ACC, DOT, PRECISION)
    if LAST:
        store_rows(states_ptr + tl.cast(K, tl.int64) * V, S, 0, ks, K, vs, V, V)


@triton.jit
def dq_kernel(
    k_ptr, v_ptr, g_ptr, dy_ptr, states_ptr, dq_ptr, B, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the queries, the share of BV values; with decays the pair (t, t) is left out."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    k_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    dy_ptr += (b * L * H + h) * V
    dq_ptr += ((column * B + b) * L * H + h) * K
    if DECAY == 2:
        g_ptr += (b * L * H + h) * K
    elif DECAY == 1:
        g_ptr += b * L * H + h
    states_ptr += (head * (SEGMENTS + 1) + segment) * K * V
    S = load_rows(states_ptr, 0, ks, 0, K, vs, V, V, ACC)
    start = segment * LENGTH
    for i in range(tl.cdiv(tl.minimum(LENGTH, L - start), BT)):
        t = start + i * BT
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        dy = load_rows(dy_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        dq = wide_dot(dy, tl.trans(S), ACC, DOT, PRECISION)
        P = dot(dy, tl.trans(v), ACC, RAW, PRECISION)
        if DECAY == 0:
            P = tl.where(rows[:, None] >= rows[None, :], P, 0.0)
            dq += wide_dot(P, k, ACC, DOT, PRECISION)
        else:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, DECAY, ACC)
            inward, outward, over = edges(g, ACC)
            dq = dq * spread(inward, DECAY)
            if DECAY == 1:
                P = P * between(g, rows, True, ACC)
                dq += wide_dot(P, k, ACC, DOT, PRECISION)
                S = S * over
            else:
                log_w = bounded(load_rows(g_ptr, t, rows, 0, L, ks, K, H * K, ACC), ACC)
                for d in range(1, tl.minimum(BT, L - t)):
                    kd = load_rows(k_ptr, t, rows - d, t, L, ks, K, H * K, ACC)
                    p = tl.sum(tl.where(rows[:, None] - d == rows[None, :], P, 0.0), 1)
                    dq += p[:, None] * kd * tl.exp2(log_w)
                    gd = load_rows(g_ptr, t, rows - d, t, L, ks, K, H * K, ACC)
                    log_w += bounded(gd, ACC)
                S = S * over[:, None]
            k = k * spread(outward, DECAY)
        store_rows(dq_ptr, dq * SCALE, t, rows, L, ks, K, H * K)
        S += dot(tl.trans(k), v, ACC, DOT, PRECISION)


@triton.jit
def dk_kernel(
    q_ptr, v_ptr, g_ptr, dy_ptr, grads_ptr, dk_ptr, B, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the keys, the share of BV values; with decays the pair (t, t) is left out."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    dy_ptr += (b * L * H + h) * V
    dk_ptr += ((column * B + b) * L * H + h) * K
    if DECAY == 2:
        g_ptr += (b * L * H + h) * K
    elif DECAY == 1:
        g_ptr += b * L * H + h
    slot = (head * (SEGMENTS + 1) + segment + 1) * K * V
    G = load_rows(grads_ptr + slot, 0, ks, 0, K, vs, V, V, ACC)
    start = segment * LENGTH
    chunks = tl.cdiv(tl.minimum(LENGTH, L - start), BT)
    for i in range(chunks):
        t = start + (chunks - 1 - i) * BT
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        dy = load_rows(dy_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        P = dot(v, tl.trans(dy), ACC, RAW, PRECISION) * SCALE  # [j i]: transposed to that of dq
        dk = wide_dot(v, tl.trans(G), ACC, DOT, PRECISION)
        q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        if DECAY == 0:
            P = tl.where(rows[:, None] <= rows[None, :], P, 0.0)
            dk += wide_dot(P, q, ACC, DOT, PRECISION)
        else:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, DECAY, ACC)
            inward, outward, over = edges(g, ACC)
            dk = dk * spread(outward, DECAY)
            if DECAY == 1:
                P = P * tl.trans(between(g, rows, True, ACC))
                dk += wide_dot(P, q, ACC, DOT, PRECISION)
                G = G * over
            else:
                inner = tl.zeros([BT, BK], ACC)
                log_w = tl.zeros([BT, BK], ACC)
                stop = tl.minimum(L, t + BT)
                for d in range(1, tl.minimum(BT, L - t)):  # the d-th diagonal above the main one
                    gd = load_rows(g_ptr, t, rows + d, 0, stop, ks, K, H * K, ACC)
                    log_w += bounded(gd, ACC)
                    qd = load_rows(q_ptr, t, rows + d, 0, stop, ks, K, H * K, ACC)
                    diagonal = rows[:, None] + d == rows[None, :]
                    p = tl.sum(tl.where(diagonal, P, 0.0), 1)
                    inner += p[:, None] * qd * tl.exp2(log_w)
                dk += inner
                G = G * over[:, None]
            q = q * spread(inward, DECAY)
        store_rows(dk_ptr, dk, t, rows, L, ks, K, H * K)
        G += dot(tl.trans(q), dy, ACC, DOT, PRECISION) * SCALE


@triton.jit
def finish_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, dy_ptr, states_ptr, grads_ptr, dq_ptr, dk_ptr,
    dq_out, dk_out, dg_out, B, L, H, K, V, LENGTH, SEGMENTS, COLUMNS,
    SCALE: tl.constexpr, DECAY: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sums the shares of dq and dk, adds the pairs (t, t), and finds the gradient of the decays."""
    segment, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    rows, ks, vs = tl.arange(0, BT), tl.arange(0, BK), tl.arange(0, BV)
    at = (b * L * H + h) * K
    step = tl.cast(B, tl.int64) * L * H * K
    start = segment * LENGTH
    if DECAY > 0:
        slot = (head * (SEGMENTS + 1) + segment + 1) * K * V
        later = tl.zeros([BK], ACC)  # what dg has gathered from the rows behind
        for j in range(0, V, BV):
            S = load_rows(states_ptr + slot, 0, ks, 0, K, j + vs, V, V, ACC)
            later += tl.sum(S * load_rows(grads_ptr + slot, 0, ks, 0, K, j + vs, V, V, ACC), 1)
    chunks = tl.cdiv(tl.minimum(LENGTH, L - start), BT)
    for i in range(chunks):
        t = start + (chunks - 1 - i) * BT
        dq, dk = tl.zeros([BT, BK], ACC), tl.zeros([BT, BK], ACC)
        for j in range(COLUMNS):
            dq += load_rows(dq_ptr + at + j * step, t, rows, 0, L, ks, K, H * K, ACC)
            dk += load_rows(dk_ptr + at + j * step, t, rows, 0, L, ks, K, H * K, ACC)
        if DECAY > 0:
            own = tl.zeros([BT], ACC)
            for j in range(0, V, BV):
                of_head = (b * L * H + h) * V
                v = load_rows(v_ptr + of_head, t, rows, 0, L, j + vs, V, H * V, ACC)
                own += tl.sum(
                    v * load_rows(dy_ptr + of_head, t, rows, 0, L, j + vs, V, H * V, ACC), 1
                )
            own = own[:, None] * SCALE
            q = load_rows(q_ptr + at, t, rows, 0, L, ks, K, H * K, ACC)
            k = load_rows(k_ptr + at, t, rows, 0, L, ks, K, H * K, ACC)
            share = q * dq - k * dk
            dq += own * k
            dk += own * q
            dg = tl.cumsum(share, 0, reverse=True) + later[None, :]
            later += tl.sum(share, 0)
            floor = -1100.0 if ACC == tl.float64 else -160.0
            if DECAY == 2:
                g = load_decay(g_ptr + at, t, rows, L, ks, K, H, 2, ACC)
                store_rows(dg_out + at, tl.where(g <= floor, 0.0, dg), t, rows, L, ks, K, H * K)
            else:
                g = load_decay(g_ptr + b * L * H + h, t, rows, L, ks, K, H, 1, ACC)
                dg = tl.where(g <= floor, 0.0, tl.sum(dg, 1)).to(dg_out.dtype.element_ty)
                to = dg_out + b * L * H + h + tl.cast(t, tl.int64) * H + rows * H
                tl.store(to, dg, mask=t + rows < L)
        store_rows(dq_out + at, dq, t, rows, L, ks, K, H * K)
        store_rows(dk_out + at, dk, t, rows, L, ks, K, H * K)


@triton.jit
def dv_kernel(
    q_ptr, k_ptr, g_ptr, dy_ptr, grads_ptr, dv_ptr, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of values: the output kernel backward in time."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    k_ptr += (b * L * H + h) * K
    dy_ptr += (b * L * H + h) * V
    dv_ptr += (b * L * H + h) * V
    if DECAY == 2:
        g_ptr += (b * L * H + h) * K
    elif DECAY == 1:
        g_ptr += b * L * H + h
    slot = (head * (SEGMENTS + 1) + segment + 1) * K * V
    G = load_rows(grads_ptr + slot, 0, ks, 0, K, vs, V, V, ACC)
    start = segment * LENGTH
    chunks = tl.cdiv(tl.minimum(LENGTH, L - start), BT)
    for i in range(chunks):
        t = start + (chunks - 1 - i) * BT
        q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        dy = load_rows(dy_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        if DECAY == 2:
            A = tl.zeros([BT, BT], ACC)
            log_w = tl.zeros([BT, BK], ACC)
            stop = tl.minimum(L, t + BT)
            for d in range(tl.minimum(BT, L - t)):  # the d-th diagonal above the main one
                qd = load_rows(q_ptr, t, rows + d, 0, stop, ks, K, H * K, ACC)
                diagonal = rows[:, None] + d == rows[None, :]
                A += tl.where(diagonal, tl.sum(k * qd * tl.exp2(log_w), 1)[:, None], 0.0)
                gd = load_rows(g_ptr, t, rows + d + 1, 0, stop, ks, K, H * K, ACC)
                log_w += bounded(gd, ACC)
        else:
            A = dot(k, tl.trans(q), ACC, RAW, PRECISION)
            if DECAY == 0:
                A = tl.where(rows[:, None] <= rows[None, :], A, 0.0)
        if DECAY > 0:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, DECAY, ACC)
            inward, outward, over = edges(g, ACC)
            q = q * spread(inward, DECAY)
            if DECAY == 1:
                A = A * tl.trans(between(g, rows, False, ACC))
                dv = wide_dot(k, G, ACC, DOT, PRECISION) * outward[:, None]
                G = G * over
            else:
                dv = wide_dot(k * outward, G, ACC, DOT, PRECISION)
                G = G * over[:, None]
        else:
            dv = wide_dot(k, G, ACC, DOT, PRECISION)
        dv += wide_dot(A, dy, ACC, DOT, PRECISION) * SCALE
        store_rows(dv_ptr, dv, t, rows, L, vs, V, H * V)
        G += dot(tl.trans(q), dy, ACC, DOT, PRECISION) * SCALE


def architecture(device: torch.device) -> int:
    """80 for sm_80, 90 for sm_90; 0 on a CPU, where Triton's interpreter runs the kernels."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def options(tile: Any, dtype: str, K: int) -> dict[str, Any]:
    """What all kernels take: widths, dtypes, warps."""
    return {
        "BT": tile.rows,
        "BK": power_of_two(K),
        "BV": tile.columns,
        "ACC": getattr(tl, accumulator(dtype)),
        "RAW": getattr(tl, dtype),  # products of two inputs: exact in their own dtype
        "DOT": getattr(tl, tile.dot),
        "PRECISION": tile.precision,
        "enable_fp_fusion": True,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


class _Call:
    """One call: sizes, tiles and the buffers of states at the boundaries of segments."""

    def __init__(self, q, k, v, log_decay, scale, grad):
        self.B, self.L, self.H, self.K = q.shape
        self.V = v.shape[-1]
        self.dtype = str(q.dtype).removeprefix("torch.")
        self.kind = 0 if log_decay is None else log_decay.ndim - 2
        self.q, self.k, self.v = q.contiguous(), k.contiguous(), v.contiguous()
        self.g = self.q if log_decay is None else log_decay.contiguous()
        self.scale = float(scale)
        self.tile = linear_tile(
            architecture(q.device), self.dtype, self.K, self.V, self.kind == 2, grad
        )
        self.options = options(self.tile, self.dtype, self.K)
        self.columns = -(-self.V // self.tile.columns)
        programs = self.B * self.H * self.columns
        most = 256 if grad else None
        self.segments, self.length = segments(self.L, self.tile.rows, programs, most)
        self.acc = getattr(torch, accumulator(self.dtype))
        self.sizes = (self.L, self.H, self.K, self.V, self.length, self.segments)

    def empty(self, *shape, dtype=None):
        return torch.empty(shape, dtype=dtype or self.acc, device=self.q.device)

    def grid(self):
        return (self.columns, self.segments, self.B * self.H)

    def boundaries(self, edge, reverse):
        """A buffer [B H segments + 1, K, V] with `edge` in its first (last) slot."""
        buffer = self.empty(self.B, self.H, self.segments + 1, self.K, self.V)
        buffer[:, :, -1 if reverse else 0] = 0 if edge is None else edge
        return buffer

    def join(self, keys, values, buffer, reverse):
        """Fills a buffer: the state at every boundary, or the gradient there."""
        wide = (self.K,) if self.kind == 2 else ()
        decay = self.empty(self.B, self.H, self.segments, *wide)
        states_kernel[self.grid()](
            keys, values, self.g, buffer, decay, *self.sizes,
            SCALE=self.scale, DECAY=self.kind, REVERSE=reverse, **self.options,
        )  # fmt: skip
        carry_kernel[(triton.cdiv(self.K * self.V, 512), self.B * self.H)](
            buffer, decay, self.K, self.V, self.segments,
            DECAY=self.kind, REVERSE=reverse, BLOCK=512, ACC=self.options["ACC"],
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip


def forward(q, k, v, log_decay=None, state=None, scale=1.0):
    """y_t = scale S_t' q_t and the last state; S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t'.

    q, k [B L H K], v [B L H V], log_decay None, [B L H] or [B L H K], state None or [B H K V].
    y has the dtype of v; states are float32, or float64 for float64 inputs.  NaN or infinity in a
    row reaches, besides the rows behind it, those before it in its chunk of at most 64 rows.
    """
    call = _Call(q, k, v, log_decay, scale, grad=False)
    states = call.boundaries(state, reverse=False)
    y = torch.empty_like(call.v)
    if y.numel() == 0 or call.K == 0:
        return y.zero_(), states[:, :, 0].clone()
    if call.segments > 1:
        call.join(call.k, call.v, states, reverse=False)
    output_kernel[call.grid()](
        call.q, call.k, call.v, call.g, states, y, *call.sizes,
        SCALE=call.scale, DECAY=call.kind, LAST=call.segments == 1, **call.options,
    )  # fmt: skip
    return y, states[:, :, -1].clone() if call.segments > 1 else states[:, :, 1]


def backward(q, k, v, log_decay, state, scale, dy, dlast=None):
    """Gradients of q, k, v, log_decay (None if there is none) and of the initial state.

    Nothing is kept from the forward pass: states are found again at boundaries of segments.
    """
    call = _Call(q, k, v, log_decay, scale, grad=True)
    states = call.boundaries(state, reverse=False)
    grads = call.boundaries(dlast, reverse=True)
    dy = dy.contiguous()
    dv = torch.empty_like(call.v)
    shares = (call.columns, *call.k.shape)
    dq, dk = call.empty(*shares), call.empty(*shares)
    if call.v.numel() == 0 or call.K == 0:
        zero = [torch.zeros_like(x) for x in (q, k, v)]
        last = None if log_decay is None else torch.zeros_like(log_decay)
        return (*zero, last, grads[:, :, -1].clone())
    call.join(call.k, call.v, states, reverse=False)
    call.join(call.q, dy, grads, reverse=True)
    dq_kernel[call.grid()](
        call.k, call.v, call.g, dy, states, dq, call.B, *call.sizes,
        SCALE=call.scale, DECAY=call.kind, **call.options,
    )  # fmt: skip
    dk_kernel[call.grid()](
        call.q, call.v, call.g, dy, grads, dk, call.B, *call.sizes,
        SCALE=call.scale, DECAY=call.kind, **call.options,
    )  # fmt: skip
    dv_kernel[call.grid()](
        call.q, call.k, call.g, dy, grads, dv, *call.sizes,
        SCALE=call.scale, DECAY=call.kind, **call.options,
    )  # fmt: skip
    all_dq, all_dk = torch.empty_like(call.q), torch.empty_like(call.k)
    dg = None if log_decay is None else torch.empty_like(call.g)
    finish_kernel[(call.segments, call.B * call.H)](
        call.q, call.k, call.v, call.g, dy, states, grads, dq, dk,
        all_dq, all_dk, all_dq if dg is None else dg,
        call.B, *call.sizes, call.columns, SCALE=call.scale, DECAY=call.kind,
        BT=16, BK=call.options["BK"], BV=16, ACC=call.options["ACC"],
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return all_dq, all_dk, dv, dg, grads[:, :, 0].clone()
