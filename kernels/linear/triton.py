"""Linear attention in Triton, by chunks: no decay, one per head, or one per channel.

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_t',    y_t = scale S_t' q_t

A sequence is cut into segments and these into chunks.  `walk_kernel` goes through the chunks of its
segment with the state in registers.  Where it takes several segments to keep the GPU busy, it first
finds what each adds to the state, and `carry_kernel` joins them.

Inside a chunk y = (A * decays) v with A = q k'.  One decay per channel has no such product: there
`prepare_kernel` makes A by halves.  Rows in the later half of a block of 2, 4, 8, ... rows meet
those of the earlier half through the decays up to the boundary between the two, q exp(c_i - c) and
k exp(c - c_j), so that no exponent is ever positive.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.blocks import (
    architecture,
    between,
    dot,
    edges,
    load_decay,
    load_rows,
    options,
    running,
    store_rows,
    wide_dot,
)
from dsf.kernels.tiles import accumulator, linear_tile, segments

CHANNELS = 32  # that `prepare_kernel` has in registers
SLOTS = 1056  # programs of `prepare_kernel`, each with a place for the running sums of a chunk


@triton.jit
def prepare_kernel(
    q_ptr, k_ptr, g_ptr, sums_ptr, A_ptr, qd_ptr, kd_ptr, over_ptr, L, H, K, CHUNKS, TOTAL,
    FINE: tl.constexpr, LEVELS: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One decay per channel: A with its decays, q from the start of a chunk, k to its end."""
    rows = tl.arange(0, BT)
    sums_ptr += tl.program_id(0).to(tl.int64) * 2 * BT * BK
    for n in range(tl.program_id(0), TOTAL, tl.num_programs(0)):
        chunk, head = n % CHUNKS, tl.cast(n // CHUNKS, tl.int64)
        b, h = head // H, head % H
        at, start = (b * L * H + h) * K, chunk * BT
        A = tl.zeros([BT, BT], ACC)
        for first in range(0, K, BK):  # a few channels at a time
            own = tl.arange(0, BK)
            ks = first + own
            q = load_rows(q_ptr + at, start, rows, 0, L, ks, K, H * K, ACC)
            k = load_rows(k_ptr + at, start, rows, 0, L, ks, K, H * K, ACC)
            g = load_decay(g_ptr + at, start, rows, L, ks, K, H, 2, ACC)
            high, low = running(g, FINE, ACC)
            store_rows(sums_ptr, high, 0, rows, BT, own, BK, BK)
            if FINE:
                store_rows(sums_ptr + BT * BK, low, 0, rows, BT, own, BK, BK)
            tl.debug_barrier()  # rows read the sums at boundaries, which others have written
            A += tl.where(rows[:, None] == rows[None, :], tl.sum(q * k, 1)[:, None], 0.0)
            for level in range(LEVELS):
                # Halves of 2^level rows, in blocks of twice as many.
                block = rows >> (level + 1)
                boundary = (block << (level + 1)) + (1 << level) - 1
                later = ((rows >> level) % 2 == 1)[:, None]
                place = boundary[:, None] * BK + own[None, :]
                gap = high - tl.load(sums_ptr + place)
                if FINE:
                    gap += low - tl.load(sums_ptr + BT * BK + place)
                decay = tl.exp2(tl.where(later, gap, -gap))
                queries = tl.where(later, q * decay, 0.0)
                keys = tl.where(later, 0.0, k * decay)
                P = dot(queries, tl.trans(keys), ACC, DOT, PRECISION)
                A += tl.where(block[:, None] == block[None, :], P, 0.0)
            inward, outward, over = edges(g, high, low, FINE, ACC)
            store_rows(qd_ptr + at, q * inward, start, rows, L, ks, K, H * K)
            store_rows(kd_ptr + at, k * outward, start, rows, L, ks, K, H * K)
            tl.store(over_ptr + tl.cast(n, tl.int64) * K + ks, over, mask=ks < K)
            tl.debug_barrier()  # the next channels overwrite the sums
        store_rows(A_ptr + tl.cast(n, tl.int64) * BT * BT, A, 0, rows, BT, rows, BT, BT)


@triton.jit
def walk_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, A_ptr, over_ptr, first_ptr, last_ptr, decay_ptr, y_ptr,
    L, H, K, V, LENGTH, SEGMENTS, CHUNKS, SLOTS_FIRST, SLOTS_LAST,
    SCALE: tl.constexpr, DECAY: tl.constexpr, OUTPUT: tl.constexpr, FIRST: tl.constexpr,
    LAST: tl.constexpr, FINE: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One segment.  OUTPUT: y from the state at its start; else what it adds, and its decay."""
    column, segment, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    k_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    y_ptr += (b * L * H + h) * V
    if FIRST:
        first_ptr += (head * SLOTS_FIRST + segment) * K * V
        S = load_rows(first_ptr, 0, ks, 0, K, vs, V, V, ACC)
    else:
        S = tl.zeros([BK, BV], ACC)
    if DECAY == 2:
        A_ptr += head * CHUNKS * BT * BT
        over_ptr += head * CHUNKS * K
        total = tl.full([BK], 1.0, ACC)
    elif DECAY == 1:
        g_ptr += b * L * H + h
        total = tl.sum(tl.full([BT], 1.0 / BT, ACC), 0)
    start = segment * LENGTH
    for i in range(tl.cdiv(tl.minimum(LENGTH, L - start), BT)):
        t = start + i * BT
        chunk = tl.cast(t // BT, tl.int64)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, RAW)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, RAW)
        if DECAY == 1:
            g = load_decay(g_ptr, t, rows, L, ks, K, H, 1, ACC)
            high, low = running(g, FINE, ACC)
            inward, outward, over = edges(g, high, low, FINE, ACC)
        elif DECAY == 2:
            over = tl.load(over_ptr + chunk * K + ks, mask=ks < K, other=1.0)
        if OUTPUT:
            q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, RAW)
            y = wide_dot(q, S, ACC, DOT, PRECISION)
            if DECAY == 2:
                A = load_rows(A_ptr + chunk * BT * BT, 0, rows, 0, BT, rows, BT, BT, DOT)
            else:
                A = dot(q, tl.trans(k), ACC, RAW, PRECISION)
                if DECAY == 1:
                    A = A * between(high, low, rows, False)
                    y = y * inward[:, None]
                else:
                    A = tl.where(rows[:, None] >= rows[None, :], A, 0.0)
            y += wide_dot(A, v, ACC, DOT, PRECISION)
            store_rows(y_ptr, y * SCALE, t, rows, L, vs, V, H * V)
        if DECAY == 2:
            S = S * over[:, None]
        elif DECAY == 1:
            S = S * over
            v = v * outward[:, None]
        if DECAY > 0 and not OUTPUT:
            total = total * over
        S += dot(tl.trans(k), v, ACC, DOT, PRECISION)
    if LAST:
        last_ptr += (head * SLOTS_LAST + segment) * K * V
        store_rows(last_ptr, S, 0, ks, K, vs, V, V)
    if not OUTPUT and column == 0:
        if DECAY == 2:
            tl.store(decay_ptr + (head * SEGMENTS + segment) * K + ks, total, mask=ks < K)
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


class Call:
    """One call: sizes, tiles and buffers."""

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
        self.chunks = triton.cdiv(self.L, self.tile.rows)
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

    def decays(self):
        """A buffer for the decay over each segment."""
        return self.empty(self.B, self.H, self.segments, *((self.K,) * (self.kind == 2)))

    def carry(self, buffer, decay, reverse):
        carry_kernel[(triton.cdiv(self.K * self.V, 512), self.B * self.H)](
            buffer, decay, self.K, self.V, self.segments,
            DECAY=self.kind, REVERSE=reverse, BLOCK=512, ACC=self.options["ACC"],
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip

    def prepare(self):
        """A, queries, keys and decays of all chunks, for one decay per channel."""
        rows, width, meta = self.tile.rows, min(CHANNELS, self.options["BK"]), self.options
        total = self.B * self.H * self.chunks
        slots = min(total, SLOTS)
        dtype = self.q.dtype if meta["DOT"] == meta["RAW"] else self.acc
        A = self.empty(total, rows, rows, dtype=dtype)
        over, sums = self.empty(total, self.K), self.empty(slots, 2, rows, width)
        q, k = torch.empty_like(self.q), torch.empty_like(self.k)
        prepare_kernel[(slots,)](
            self.q, self.k, self.g, sums, A, q, k, over, self.L, self.H, self.K, self.chunks, total,
            BK=width, LEVELS=rows.bit_length() - 1, num_warps=4,
            **{n: meta[n] for n in ("FINE", "BT", "ACC", "DOT", "PRECISION", "enable_fp_fusion")},
        )  # fmt: skip
        return q, k, A, over

    def walk(self, q, k, A, over, first, last, decay, y, slots, **how):
        walk_kernel[self.grid()](
            q, k, self.v, self.g, A, over, first, last, decay, y, *self.sizes, self.chunks, *slots,
            SCALE=self.scale, DECAY=self.kind, **how, **self.options,
        )  # fmt: skip


def forward(q, k, v, log_decay=None, state=None, scale=1.0):
    """y_t = scale S_t' q_t and the last state; S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t'.

    q, k [B L H K], v [B L H V], log_decay None, [B L H] or [B L H K], state None or [B H K V].
    y has the dtype of v; states are float32, or float64 for float64 inputs.  NaN or infinity in a
    row reaches, besides the rows behind it, those before it in its chunk of at most 64 rows.
    """
    call = Call(q, k, v, log_decay, scale, grad=False)
    y = torch.empty_like(call.v)
    if y.numel() == 0 or call.K == 0:
        return y.zero_(), call.boundaries(state, reverse=False)[:, :, 0].clone()
    if call.kind == 2:
        q, k, A, over = call.prepare()
    else:
        q, k, A, over = call.q, call.k, call.q, call.q
    if call.segments == 1:
        last = call.empty(call.B, call.H, call.K, call.V)
        first = last if state is None else state.to(call.acc).contiguous()
        how = {"OUTPUT": True, "FIRST": state is not None, "LAST": True}
        call.walk(q, k, A, over, first, last, last, y, (1, 1), **how)
        return y, last
    states, decay, n = call.boundaries(state, reverse=False), call.decays(), call.segments + 1
    how = {"OUTPUT": False, "FIRST": False, "LAST": True}
    call.walk(q, k, A, over, states, states[:, :, 1:], decay, y, (n, n), **how)
    call.carry(states, decay, reverse=False)
    how = {"OUTPUT": True, "FIRST": True, "LAST": False}
    call.walk(q, k, A, over, states, states, decay, y, (n, n), **how)
    return y, states[:, :, -1].clone()
