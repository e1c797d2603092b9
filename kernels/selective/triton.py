"""The selective scan S6 in Triton.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = C_t h_t + D u_t

One program holds the states [N, channels] of a block of channels and walks a segment of time; the
states of one channel lie in one thread, so that the sum over states stays there.  Segments are
joined as in linear attention: what each adds from zero, a scan over segments, the outputs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.blocks import LOG2E
from dsf.kernels.tiles import accumulator, power_of_two, scan_tile, segments

WORK = 1 << 28  # bytes for the states that a gradient keeps


@triton.jit
def load_column(ptr, at, mask, ACC: tl.constexpr):
    return tl.load(ptr + at, mask=mask, other=0.0).to(ACC)


@triton.jit
def walk_kernel(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, states_ptr, total_ptr, y_ptr,
    L, D, N, LENGTH, SEGMENTS,
    SKIP: tl.constexpr, OUTPUT: tl.constexpr, LAST: tl.constexpr,
    STEPS: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One segment.  OUTPUT: from the state at its start; else what it adds, and all its delta."""
    block, segment, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    ds, ns = block * BD + tl.arange(0, BD), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < N
    tile = ns[:, None] + ds[None, :] * N
    inside = in_n[:, None] & in_d[None, :]
    A = tl.load(A_ptr + tile, mask=inside, other=0.0).to(ACC) * LOG2E
    slot = (b * (SEGMENTS + 1) + segment) * D * N
    total = tl.zeros([BD], ACC)
    if OUTPUT:
        h = tl.load(states_ptr + slot + tile, mask=inside, other=0.0)
        if SKIP:
            skip = load_column(D_ptr, ds, in_d, ACC)
    else:
        h = tl.zeros([BN, BD], ACC)
    start = segment * LENGTH
    for i in range(0, tl.minimum(LENGTH, L - start), STEPS):
        base = b * L + start + i
        for s in tl.static_range(STEPS):  # unrolled: loads of later steps do not wait for h
            here = start + i + s < L
            mask_d, mask_n = ds < tl.where(here, D, 0), ns < tl.where(here, N, 0)
            u = load_column(u_ptr, (base + s) * D + ds, mask_d, ACC)
            delta = load_column(delta_ptr, (base + s) * D + ds, mask_d, ACC)
            b_t = load_column(B_ptr, (base + s) * N + ns, mask_n, ACC)
            h = tl.exp2(A * delta[None, :]) * h + b_t[:, None] * (delta * u)[None, :]
            if OUTPUT:
                c_t = load_column(C_ptr, (base + s) * N + ns, mask_n, ACC)
                y = tl.sum(h * c_t[:, None], 0)
                if SKIP:
                    y += skip * u
                y = y.to(y_ptr.dtype.element_ty)
                tl.store(y_ptr + (base + s) * D + ds, y, mask=mask_d)
            else:
                total += delta
    if OUTPUT:
        if LAST:
            tl.store(states_ptr + slot + tl.cast(D, tl.int64) * N + tile, h, mask=inside)
    else:
        tl.store(states_ptr + slot + tl.cast(D, tl.int64) * N + tile, h, mask=inside)
        tl.store(total_ptr + (b * SEGMENTS + segment) * D + ds, total, mask=in_d)


@triton.jit
def join_kernel(
    A_ptr, states_ptr, total_ptr, D, N, SEGMENTS,
    REVERSE: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The state (REVERSE: its gradient) at every boundary of segments, in place."""
    b = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < D * N
    A = tl.load(A_ptr + at, mask=inside, other=0.0).to(ACC) * LOG2E
    states_ptr += b * (SEGMENTS + 1) * D * N + at
    size = tl.cast(D, tl.int64) * N
    if REVERSE:
        h = tl.load(states_ptr + SEGMENTS * size, mask=inside, other=0.0)
    else:
        h = tl.load(states_ptr, mask=inside, other=0.0)
    for i in range(SEGMENTS):
        if REVERSE:
            segment = SEGMENTS - 1 - i
            slot = segment
        else:
            segment = i
            slot = segment + 1
        total = tl.load(total_ptr + (b * SEGMENTS + segment) * D + at // N, inside, other=0.0)
        h = tl.exp2(A * total) * h + tl.load(states_ptr + slot * size, mask=inside, other=0.0)
        tl.store(states_ptr + slot * size, h, mask=inside)


@triton.jit
def reverse_kernel(
    delta_ptr, A_ptr, C_ptr, dy_ptr, grads_ptr, L, D, N, LENGTH, SEGMENTS,
    STEPS: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What a segment adds to the gradient of the state at its start."""
    block, segment, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    ds, ns = block * BD + tl.arange(0, BD), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < N
    tile = ns[:, None] + ds[None, :] * N
    inside = in_n[:, None] & in_d[None, :]
    A = tl.load(A_ptr + tile, mask=inside, other=0.0).to(ACC) * LOG2E
    start = segment * LENGTH
    length = tl.minimum(LENGTH, L - start)
    dh = tl.zeros([BN, BD], ACC)
    for i in range(0, length, STEPS):
        base = b * L + start + length - 1 - i
        for s in tl.static_range(STEPS):
            here = length - 1 - i - s >= 0
            mask_d, mask_n = ds < tl.where(here, D, 0), ns < tl.where(here, N, 0)
            delta = load_column(delta_ptr, (base - s) * D + ds, mask_d, ACC)
            dy = load_column(dy_ptr, (base - s) * D + ds, mask_d, ACC)
            c_t = load_column(C_ptr, (base - s) * N + ns, mask_n, ACC)
            dh = tl.exp2(A * delta[None, :]) * (dh + c_t[:, None] * dy[None, :])
    tl.store(grads_ptr + (b * (SEGMENTS + 1) + segment) * D * N + tile, dh, mask=inside)


@triton.jit
def gradient_kernel(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, dy_ptr, states_ptr, grads_ptr, work_ptr,
    du_ptr, ddelta_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr, BATCH, L, D, N, LENGTH, SEGMENTS, FIRST,
    SKIP: tl.constexpr, STEPS: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment: forward for the states, kept in `work`, then backward."""
    block, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    segment = FIRST + tl.program_id(1)
    ds, ns = block * BD + tl.arange(0, BD), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < N
    tile = ns[:, None] + ds[None, :] * N
    inside = in_n[:, None] & in_d[None, :]
    A_natural = tl.load(A_ptr + tile, mask=inside, other=0.0).to(ACC)
    A = A_natural * LOG2E
    slot = (b * (SEGMENTS + 1) + segment) * D * N
    size = tl.cast(D, tl.int64) * N
    work_ptr += (b * tl.num_programs(1) + tl.program_id(1)) * LENGTH * size
    kept = ns[:, None] * D + ds[None, :]
    h = tl.load(states_ptr + slot + tile, mask=inside, other=0.0)
    start = segment * LENGTH
    length = tl.minimum(LENGTH, L - start)
    for i in range(length):
        base = b * L + start + i
        u = load_column(u_ptr, base * D + ds, in_d, ACC)
        delta = load_column(delta_ptr, base * D + ds, in_d, ACC)
        b_t = load_column(B_ptr, base * N + ns, in_n, ACC)
        tl.store(work_ptr + i * size + kept, h, mask=inside)  # the state before step i
        h = tl.exp2(A * delta[None, :]) * h + b_t[:, None] * (delta * u)[None, :]
    dh = tl.load(grads_ptr + slot + size + tile, mask=inside, other=0.0)
    dA = tl.zeros([BN, BD], ACC)
    dD = tl.zeros([BD], ACC)
    if SKIP:
        skip = load_column(D_ptr, ds, in_d, ACC)
    for j in range(length):
        i = length - 1 - j
        base = b * L + start + i
        u = load_column(u_ptr, base * D + ds, in_d, ACC)
        delta = load_column(delta_ptr, base * D + ds, in_d, ACC)
        dy = load_column(dy_ptr, base * D + ds, in_d, ACC)
        b_t = load_column(B_ptr, base * N + ns, in_n, ACC)
        c_t = load_column(C_ptr, base * N + ns, in_n, ACC)
        before = tl.load(work_ptr + i * size + kept, mask=inside, other=0.0)
        a = tl.exp2(A * delta[None, :])
        h = a * before + b_t[:, None] * (delta * u)[None, :]
        row = (block * BATCH * L + base) * N + ns
        tl.store(dC_ptr + row, tl.sum(h * dy[None, :], 1), mask=in_n)
        dh += c_t[:, None] * dy[None, :]
        tl.store(dB_ptr + row, tl.sum(dh * (delta * u)[None, :], 1), mask=in_n)
        into = tl.sum(dh * b_t[:, None], 0)
        dlog = dh * a * before  # the gradient at delta A
        dA += dlog * delta[None, :]
        ddelta = tl.sum(dlog * A_natural, 0) + into * u
        du = into * delta
        if SKIP:
            du += skip * dy
            dD += u * dy
        tl.store(du_ptr + base * D + ds, du.to(du_ptr.dtype.element_ty), mask=in_d)
        ddelta = ddelta.to(ddelta_ptr.dtype.element_ty)
        tl.store(ddelta_ptr + base * D + ds, ddelta, mask=in_d)
        dh = a * dh
    tl.store(dA_ptr + (b * SEGMENTS + segment) * size + tile, dA, mask=inside)
    if SKIP:
        tl.store(dD_ptr + (b * SEGMENTS + segment) * D + ds, dD, mask=in_d)


class _Call:
    """One call: contiguous inputs, sizes, and the buffer of states at boundaries of segments."""

    def __init__(self, u, delta, A, B, C, D, most):
        self.u, self.delta, self.A, self.B, self.C = (
            x.contiguous() for x in (u, delta, A, B, C)
        )  # fmt: skip
        self.D = self.u if D is None else D.contiguous()
        self.skip = D is not None
        (self.batch, self.L, self.channels), self.N = u.shape, A.shape[-1]
        dtype = str(u.dtype).removeprefix("torch.")
        self.acc = getattr(torch, accumulator(dtype))
        columns, warps, steps = scan_tile(dtype, self.N)
        self.blocks = triton.cdiv(self.channels, columns)
        programs = self.blocks * self.batch * warps
        self.segments, self.length = segments(self.L, steps, programs, most, wanted=1056)
        self.grid = (self.blocks, self.segments, self.batch)
        self.sizes = (self.L, self.channels, self.N, self.length, self.segments)
        self.options = {
            "BD": columns,
            "BN": power_of_two(self.N, 1),
            "ACC": getattr(tl, accumulator(dtype)),
            "STEPS": steps,
            "enable_fp_fusion": True,
            "num_warps": warps,
        }
        self.empty_call = self.u.numel() == 0 or self.N == 0

    def new(self, *shape):
        return torch.empty(shape, dtype=self.acc, device=self.u.device)

    def boundaries(self, edge, place):
        states = self.new(self.batch, self.segments + 1, self.channels, self.N)
        states[:, place] = 0 if edge is None else edge
        return states

    def join(self, states, total, reverse):
        join_kernel[(triton.cdiv(self.channels * self.N, 256), self.batch)](
            self.A, states, total, self.channels, self.N, self.segments,
            REVERSE=reverse, BLOCK=256, ACC=self.options["ACC"], num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip

    def walk(self, states, total, y, output):
        walk_kernel[self.grid](
            self.u, self.delta, self.A, self.B, self.C, self.D, states, total, y, *self.sizes,
            SKIP=self.skip, OUTPUT=output, LAST=self.segments == 1, **self.options,
        )  # fmt: skip


def forward(u, delta, A, B, C, D=None, state=None):
    """y_t = C_t h_t + D u_t and the last state; h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t.

    u, delta [B L D], A [D N], B, C [B L N], D None or [D], state None or [B D N]; A is not
    positive and delta not negative.  States are float32, or float64 for float64 inputs.
    """
    call = _Call(u, delta, A, B, C, D, None)
    states = call.boundaries(state, 0)
    y = torch.empty_like(call.u)
    if call.empty_call:
        y.copy_(call.u * call.D if call.skip else torch.zeros_like(y))
        return y, states[:, 0].clone()
    total = call.new(call.batch, call.segments, call.channels)
    if call.segments > 1:
        call.walk(states, total, y, output=False)
        call.join(states, total, reverse=False)
    call.walk(states, total, y, output=True)
    return y, states[:, -1].clone()


def backward(u, delta, A, B, C, D, state, dy, dlast=None):
    """Gradients of u, delta, A, B, C, D (None if there is none) and of the initial state."""
    call = _Call(u, delta, A, B, C, D, 128)
    dy = dy.contiguous()
    states, grads = call.boundaries(state, 0), call.boundaries(dlast, -1)
    du, ddelta = torch.zeros_like(call.u), torch.zeros_like(call.delta)
    if call.empty_call:
        if call.skip:
            du = (call.D * dy).to(u.dtype)
        zero = [torch.zeros_like(x) for x in (A, B, C)]
        dD = (dy * call.u).sum((0, 1)).to(D.dtype) if call.skip else None
        return du, ddelta, *zero, dD, grads[:, -1].clone()
    total = call.new(call.batch, call.segments, call.channels)
    call.walk(states, total, du, output=False)
    call.join(states, total, reverse=False)
    reverse_kernel[call.grid](
        call.delta, call.A, call.C, dy, grads, *call.sizes, **call.options
    )  # fmt: skip
    call.join(grads, total, reverse=True)
    # All states of a few segments at a time: memory that does not grow with the length.
    one = call.batch * call.length * call.channels * call.N * states.element_size()
    group = max(1, min(call.segments, WORK // one))
    work = call.new(call.batch, group, call.length, call.channels, call.N)
    dA = call.new(call.batch, call.segments, call.channels, call.N)
    dB, dC = (call.new(call.blocks, call.batch, call.L, call.N) for _ in range(2))
    dD = call.new(call.batch, call.segments, call.channels)
    for first in range(0, call.segments, group):
        grid = (call.blocks, min(group, call.segments - first), call.batch)
        gradient_kernel[grid](
            call.u, call.delta, call.A, call.B, call.C, call.D, dy, states, grads, work,
            du, ddelta, dA, dB, dC, dD, call.batch, *call.sizes, first, SKIP=call.skip,
            **call.options,
        )  # fmt: skip
    dA = dA.sum((0, 1)).to(A.dtype)
    dB, dC = dB.sum(0).to(B.dtype), dC.sum(0).to(C.dtype)
    return du, ddelta, dA, dB, dC, dD.sum((0, 1)).to(D.dtype) if call.skip else None, grads[:, 0]
