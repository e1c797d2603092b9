"""Gradients of linear attention in Triton: see `triton_forward` beside this.

With dS the gradient at a state, dg_t - dg_{t+1} = q_t dq_t - k_t dk_t, and at the end of a segment
dg = <S, dS>.  The pair (t, t) cancels there and is left out.  One decay per channel walks the
diagonals of a chunk.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.blocks import (
    between,
    bounded,
    dot,
    edges,
    load_decay,
    load_rows,
    running,
    spread,
    store_rows,
    totals,
    wide_dot,
)
from dsf.kernels.linear.triton_forward import Call


@triton.jit
def states_kernel(
    k_ptr, v_ptr, g_ptr, out_ptr, decay_ptr, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr, REVERSE: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
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
            high, low = running(g, FINE, ACC)
            all_high, all_low = totals(high, low)
            inward, outward, over = edges(high, low, all_high, all_low)
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
def dq_kernel(
    k_ptr, v_ptr, g_ptr, dy_ptr, states_ptr, dq_ptr, B, L, H, K, V, LENGTH, SEGMENTS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
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
            high, low = running(g, FINE, ACC)
            all_high, all_low = totals(high, low)
            inward, outward, over = edges(high, low, all_high, all_low)
            dq = dq * spread(inward, DECAY)
            if DECAY == 1:
                P = P * between(high, low, rows, True)
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
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
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
            high, low = running(g, FINE, ACC)
            all_high, all_low = totals(high, low)
            inward, outward, over = edges(high, low, all_high, all_low)
            dk = dk * spread(outward, DECAY)
            if DECAY == 1:
                P = P * tl.trans(between(high, low, rows, True))
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
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
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
            high, low = running(g, FINE, ACC)
            all_high, all_low = totals(high, low)
            inward, outward, over = edges(high, low, all_high, all_low)
            q = q * spread(inward, DECAY)
            if DECAY == 1:
                A = A * tl.trans(between(high, low, rows, False))
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


def _join(call, keys, values, buffer, reverse):
    """Fills a buffer: the state at every boundary, or the gradient there."""
    decay = call.decays()
    states_kernel[call.grid()](
        keys, values, call.g, buffer, decay, *call.sizes,
        SCALE=call.scale, DECAY=call.kind, REVERSE=reverse, **call.options,
    )  # fmt: skip
    call.carry(buffer, decay, reverse)


def backward(q, k, v, log_decay, state, scale, dy, dlast=None):
    """Gradients of q, k, v, log_decay (None if it is) and of the initial state.

    Nothing is kept from the forward pass: states are found again at boundaries of segments.
    """
    call = Call(q, k, v, log_decay, scale, grad=True)
    states = call.boundaries(state, reverse=False)
    grads = call.boundaries(dlast, reverse=True)
    dy = dy.contiguous()
    dv = torch.empty_like(call.v)
    shares = (call.columns, *call.k.shape)
    dq, dk = call.empty(*shares), call.empty(*shares)
    if call.v.numel() == 0 or call.K == 0:
        zero = [None if x is None else torch.zeros_like(x) for x in (q, k, v, log_decay)]
        return (*zero, grads[:, :, -1].clone())
    _join(call, call.k, call.v, states, reverse=False)
    _join(call, call.q, dy, grads, reverse=True)
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
    dg = torch.empty_like(call.g) if call.kind else None
    finish_kernel[(call.segments, call.B * call.H)](
        call.q, call.k, call.v, call.g, dy, states, grads, dq, dk,
        all_dq, all_dk, all_dq if dg is None else dg,
        call.B, *call.sizes, call.columns, SCALE=call.scale, DECAY=call.kind,
        BT=16, BK=call.options["BK"], BV=16, ACC=call.options["ACC"],
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    if log_decay is not None:
        dg = torch.zeros_like(log_decay) if dg is None else dg.reshape(log_decay.shape)
    return all_dq, all_dk, dv, dg, grads[:, :, 0].clone()
