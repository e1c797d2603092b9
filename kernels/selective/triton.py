"""The selective scan S6 in Triton.

    h_t = exp(delta_t A) h_{t-1} + x_t B_t',    y_t = C_t h_t + D u_t

with x_t = delta_t u_t, or (TIMES false) x_t = u_t as it is given.
One program holds the states [N, channels] of a block of channels and walks a segment of time.  A
and all states lie in memory as [N D], so that a thread holds several states of several channels
and the sum over states crosses few threads.  Segments are joined as in linear attention: what each
adds from zero, a scan over segments, the outputs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.tiles import accumulator, power_of_two, scan_tile, segments
from dsf.kernels.triton_blocks import LOG2E

STEPS = 4  # loaded at once
WORK = 1 << 28  # bytes for the states that a gradient keeps


@triton.jit
def load_column(ptr, at, mask, ACC: tl.constexpr):
    return tl.load(ptr + at, mask=mask, other=0.0).to(ACC)


@triton.jit
def channels_of(block, BD: tl.constexpr, OWN: tl.constexpr):
    """The channels of a program, told to lie OWN by OWN: so many go to one thread."""
    return tl.max_contiguous(block * BD + tl.arange(0, BD), OWN)


@triton.jit
def written(u, delta, TIMES: tl.constexpr):
    """x: what B carries into the state."""
    if TIMES:
        return delta * u
    else:
        return u


@triton.jit
def load_step(source, row, last, OUTPUT: tl.constexpr, ACC: tl.constexpr):
    """u, delta, B, C of a row; past the last one delta is 0, so that nothing happens."""
    u_ptr, delta_ptr, B_ptr, C_ptr, ds, ns, D, N, in_n = source
    in_d = ds < tl.where(row <= last, D, 0)
    u = load_column(u_ptr, row * D + ds, in_d, ACC)
    delta = load_column(delta_ptr, row * D + ds, in_d, ACC)
    row = tl.minimum(row, last)
    b = load_column(B_ptr, row * N + ns, in_n, ACC)
    c = load_column(C_ptr, row * N + ns, in_n, ACC) if OUTPUT else b
    return u, delta, b, c


@triton.jit
def load_steps(source, row, last, OUTPUT: tl.constexpr, ACC: tl.constexpr):
    """Four rows at once."""
    return (
        load_step(source, row, last, OUTPUT, ACC),
        load_step(source, row + 1, last, OUTPUT, ACC),
        load_step(source, row + 2, last, OUTPUT, ACC),
        load_step(source, row + 3, last, OUTPUT, ACC),
    )


@triton.jit
def walk_kernel(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, states_ptr, total_ptr, y_ptr,
    L, D, N, LENGTH, SEGMENTS,
    TIMES: tl.constexpr, SKIP: tl.constexpr, OUTPUT: tl.constexpr, LAST: tl.constexpr,
    OWN: tl.constexpr, FULL: tl.constexpr,
    BD: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One segment.  OUTPUT: from the state at its start; else what it adds, and all its delta.

    Four steps are loaded while the four before are computed: no load waits for a store.
    """
    block, segment, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    ds, ns = channels_of(block, BD, OWN), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < (BN if FULL else N)
    tile = ns[:, None] * D + ds[None, :]
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
    source = u_ptr, delta_ptr, B_ptr, C_ptr, ds, ns, D, N, in_n
    row = b * L + segment * LENGTH
    last = b * L + tl.minimum(segment * LENGTH + LENGTH, L) - 1
    now = load_steps(source, row, last, OUTPUT, ACC)
    for _ in range(0, tl.minimum(LENGTH, L - segment * LENGTH), 4):
        coming = load_steps(source, row + 4, last, OUTPUT, ACC)
        for s in tl.static_range(4):
            u, delta, b_t, c_t = now[s]
            x = written(u, delta, TIMES)
            h = tl.exp2(A * delta[None, :]) * h + b_t[:, None] * x[None, :]
            if OUTPUT:
                y = tl.sum(h * c_t[:, None], 0)
                if SKIP:
                    y += skip * u
                there = ds < tl.where(row + s <= last, D, 0)
                tl.store(y_ptr + (row + s) * D + ds, y.to(y_ptr.dtype.element_ty), mask=there)
            else:
                total += delta
        now = coming
        row += 4
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
        total = tl.load(total_ptr + (b * SEGMENTS + segment) * D + at % D, inside, other=0.0)
        h = tl.exp2(A * total) * h + tl.load(states_ptr + slot * size, mask=inside, other=0.0)
        tl.store(states_ptr + slot * size, h, mask=inside)


@triton.jit
def reverse_kernel(
    delta_ptr, A_ptr, C_ptr, dy_ptr, grads_ptr, L, D, N, LENGTH, SEGMENTS,
    STEPS: tl.constexpr, OWN: tl.constexpr, FULL: tl.constexpr,
    BD: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """What a segment adds to the gradient of the state at its start."""
    block, segment, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    ds, ns = channels_of(block, BD, OWN), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < (BN if FULL else N)
    tile = ns[:, None] * D + ds[None, :]
    inside = in_n[:, None] & in_d[None, :]
    A = tl.load(A_ptr + tile, mask=inside, other=0.0).to(ACC) * LOG2E
    start = segment * LENGTH
    length = tl.minimum(LENGTH, L - start)
    dh = tl.zeros([BN, BD], ACC)
    for i in range(0, length, STEPS):
        base = b * L + start + length - 1 - i
        for s in tl.static_range(STEPS):
            mask_d = ds < tl.where(length - 1 - i - s >= 0, D, 0)
            row = tl.maximum(base - s, b * L)
            delta = load_column(delta_ptr, (base - s) * D + ds, mask_d, ACC)
            dy = load_column(dy_ptr, (base - s) * D + ds, mask_d, ACC)
            c_t = load_column(C_ptr, row * N + ns, in_n, ACC)
            dh = tl.exp2(A * delta[None, :]) * (dh + c_t[:, None] * dy[None, :])
    tl.store(grads_ptr + (b * (SEGMENTS + 1) + segment) * D * N + tile, dh, mask=inside)


@triton.jit
def gradient_kernel(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, dy_ptr, states_ptr, grads_ptr, work_ptr,
    du_ptr, ddelta_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr, BATCH, L, D, N, LENGTH, SEGMENTS, FIRST,
    TIMES: tl.constexpr, SKIP: tl.constexpr, OWN: tl.constexpr, FULL: tl.constexpr,
    BD: tl.constexpr, BN: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment: forward for the states, kept in `work`, then backward."""
    block, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    segment = FIRST + tl.program_id(1)
    ds, ns = channels_of(block, BD, OWN), tl.arange(0, BN)
    in_d, in_n = ds < D, ns < (BN if FULL else N)
    tile = ns[:, None] * D + ds[None, :]
    inside = in_n[:, None] & in_d[None, :]
    A_natural = tl.load(A_ptr + tile, mask=inside, other=0.0).to(ACC)
    A = A_natural * LOG2E
    slot = (b * (SEGMENTS + 1) + segment) * D * N
    size = tl.cast(D, tl.int64) * N
    work_ptr += (b * tl.num_programs(1) + tl.program_id(1)) * LENGTH * size
    h = tl.load(states_ptr + slot + tile, mask=inside, other=0.0)
    start = segment * LENGTH
    length = tl.minimum(LENGTH, L - start)
    for i in range(length):
        base = b * L + start + i
        u = load_column(u_ptr, base * D + ds, in_d, ACC)
        delta = load_column(delta_ptr, base * D + ds, in_d, ACC)
        b_t = load_column(B_ptr, base * N + ns, in_n, ACC)
        tl.store(work_ptr + i * size + tile, h, mask=inside)  # the state before step i
        x = written(u, delta, TIMES)
        h = tl.exp2(A * delta[None, :]) * h + b_t[:, None] * x[None, :]
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
        before = tl.load(work_ptr + i * size + tile, mask=inside, other=0.0)
        a = tl.exp2(A * delta[None, :])
        x = written(u, delta, TIMES)
        h = a * before + b_t[:, None] * x[None, :]
        row = (block * BATCH * L + base) * N + ns
        tl.store(dC_ptr + row, tl.sum(h * dy[None, :], 1), mask=in_n)
        dh += c_t[:, None] * dy[None, :]
        tl.store(dB_ptr + row, tl.sum(dh * x[None, :], 1), mask=in_n)
        into = tl.sum(dh * b_t[:, None], 0)
        dlog = dh * a * before  # the gradient at delta A
        dA += dlog * delta[None, :]
        ddelta = tl.sum(dlog * A_natural, 0)
        du = into
        if TIMES:
            ddelta += into * u
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

    def __init__(self, u, delta, A, B, C, D, times, most):
        self.u, self.delta = u.contiguous(), delta.contiguous()
        self.A = A.mT.contiguous()
        self.times, self.skip = bool(times), D is not None and bool(D.numel())
        self.D = D.contiguous() if self.skip else self.u
        (self.batch, self.L, self.channels), self.N = u.shape, A.shape[-1]
        dtype = str(u.dtype).removeprefix("torch.")
        self.acc = getattr(torch, accumulator(dtype))
        self.B, self.C = (x.contiguous().to(self.acc) for x in (B, C))  # small, and read often
        columns, own, warps, wanted = scan_tile(dtype, self.N, self.batch, self.channels)
        self.blocks = triton.cdiv(self.channels, columns)
        programs = self.blocks * self.batch * warps
        self.segments, self.length = segments(self.L, STEPS, programs, most, wanted=wanted)
        self.grid = (self.blocks, self.segments, self.batch)
        self.sizes = (self.L, self.channels, self.N, self.length, self.segments)
        self.options = {
            "BD": columns,
            "OWN": own,
            "BN": power_of_two(self.N, 1),
            "FULL": self.N == power_of_two(self.N, 1),
            "ACC": getattr(tl, accumulator(dtype)),
            "enable_fp_fusion": True,
            "num_warps": warps,
        }
        self.empty_call = self.u.numel() == 0 or self.N == 0

    def new(self, *shape):
        return torch.empty(shape, dtype=self.acc, device=self.u.device)

    def boundaries(self, edge, place):
        """States [N D] at all boundaries, of which one is given."""
        states = self.new(self.batch, self.segments + 1, self.N, self.channels)
        states[:, place] = 0 if edge is None else edge.mT
        return states

    def join(self, states, total, reverse):
        join_kernel[(triton.cdiv(self.channels * self.N, 256), self.batch)](
            self.A, states, total, self.channels, self.N, self.segments,
            REVERSE=reverse, BLOCK=256, ACC=self.options["ACC"], num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip

    def walk(self, states, total, y, output):
        walk_kernel[self.grid](
            self.u, self.delta, self.A, self.B, self.C, self.D, states, total, y, *self.sizes,
            TIMES=self.times, SKIP=self.skip, OUTPUT=output, LAST=self.segments == 1,
            **self.options,
        )  # fmt: skip


def forward(u, delta, A, B, C, D=None, state=None, times=1.0):
    """y_t = C_t h_t + D u_t and the last state; h_t = exp(delta_t A) h_{t-1} + x_t B_t'.

    u, delta [B L D], A [D N], B, C [B L N], D None, [0] or [D], state None or [B D N]; A is not
    positive and delta not negative; x = delta u, or u where `times` is 0.  States are
    float32, or float64 for float64 inputs.
    """
    call = _Call(u, delta, A, B, C, D, times, None)
    states = call.boundaries(state, 0)
    y = torch.empty_like(call.u)
    if call.empty_call:
        y.copy_(call.u * call.D if call.skip else torch.zeros_like(y))
        return y, states[:, 0].mT.contiguous()
    total = call.new(call.batch, call.segments, call.channels)
    if call.segments > 1:
        call.walk(states, total, y, output=False)
        call.join(states, total, reverse=False)
    call.walk(states, total, y, output=True)
    return y, states[:, -1].mT.contiguous()


def backward(u, delta, A, B, C, D, state, times, dy, dlast=None):
    """Gradients of u, delta, A, B, C, D (None if it is) and of the initial state."""
    call = _Call(u, delta, A, B, C, D, times, 128)
    no_skip = None if D is None else torch.zeros_like(D)
    dy = dy.contiguous()
    states, grads = call.boundaries(state, 0), call.boundaries(dlast, -1)
    du, ddelta = torch.zeros_like(call.u), torch.zeros_like(call.delta)
    if call.empty_call:
        if call.skip:
            du = (call.D * dy).to(u.dtype)
        zero = [torch.zeros_like(x) for x in (A, B, C)]
        dD = (dy * call.u).sum((0, 1)).to(D.dtype) if call.skip else no_skip
        return du, ddelta, *zero, dD, grads[:, -1].mT.contiguous()
    total = call.new(call.batch, call.segments, call.channels)
    call.walk(states, total, du, output=False)
    call.join(states, total, reverse=False)
    reverse_kernel[call.grid](
        call.delta, call.A, call.C, dy, grads, *call.sizes, STEPS=STEPS, **call.options
    )  # fmt: skip
    call.join(grads, total, reverse=True)
    # All states of a few segments at a time: memory that does not grow with the length.
    one = call.batch * call.length * call.channels * call.N * states.element_size()
    group = max(1, min(call.segments, WORK // one))
    work = call.new(call.batch, group, call.length, call.N, call.channels)
    dA = call.new(call.batch, call.segments, call.N, call.channels)
    dB, dC = (call.new(call.blocks, call.batch, call.L, call.N) for _ in range(2))
    dD = call.new(call.batch, call.segments, call.channels)
    for first in range(0, call.segments, group):
        grid = (call.blocks, min(group, call.segments - first), call.batch)
        gradient_kernel[grid](
            call.u, call.delta, call.A, call.B, call.C, call.D, dy, states, grads, work,
            du, ddelta, dA, dB, dC, dD, call.batch, *call.sizes, first, TIMES=call.times,
            SKIP=call.skip, **call.options,
        )  # fmt: skip
    dA = dA.sum((0, 1)).mT.to(A.dtype)
    dB, dC = dB.sum(0).to(B.dtype), dC.sum(0).to(C.dtype)
    dD = dD.sum((0, 1)).to(D.dtype) if call.skip else no_skip
    return du, ddelta, dA, dB, dC, dD, grads[:, 0].mT
