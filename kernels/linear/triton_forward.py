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

from functools import cached_property

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
    load_sums,
    of_heads,
    options,
    running,
    running_sums,
    store_rows,
    totals,
    wide_dot,
)
from dsf.kernels.tiles import accumulator, linear_tile, segments

PREPARE_WARPS = 4
SLOTS = 1056  # programs of `prepare_kernel`, each with a place for running sums


@triton.jit
def by_halves(
    q, k, g, sums_ptr, rows, ks, FINE: tl.constexpr, LEVELS: tl.constexpr, BK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A of some rows with its decays, q from their start, k to their end, and their decay."""
    high, low = running(g, FINE, ACC)
    place = rows[:, None] * BK + ks[None, :]
    tl.store(sums_ptr + place, high)
    size = high.shape[0] * BK
    if FINE:
        tl.store(sums_ptr + size + place, low)
    tl.debug_barrier()  # rows read the sums at boundaries, which others have written
    A = tl.where(rows[:, None] == rows[None, :], tl.sum(q * k, 1)[:, None], 0.0)
    for level in range(LEVELS):
        # Halves of 2^level rows, in blocks of twice as many.
        block = rows >> (level + 1)
        boundary = (block << (level + 1)) + (1 << level) - 1
        later = ((rows >> level) % 2 == 1)[:, None]
        place = boundary[:, None] * BK + ks[None, :]
        gap = high - tl.load(sums_ptr + place)
        if FINE:
            gap += low - tl.load(sums_ptr + size + place)
        decay = tl.exp2(tl.where(later, gap, -gap))
        queries = tl.where(later, q * decay, 0.0)
        keys = tl.where(later, 0.0, k * decay)
        P = dot(queries, tl.trans(keys), ACC, DOT, PRECISION)
        A += tl.where(block[:, None] == block[None, :], P, 0.0)
    tl.debug_barrier()  # others may overwrite the sums
    all_high, all_low = totals(high, low)
    inward, outward, over = edges(high, low, all_high, all_low)
    return A, q * inward, k * outward, over


@triton.jit
def prepare_kernel(
    q_ptr, k_ptr, g_ptr, sums_ptr, A_ptr, qd_ptr, kd_ptr, over_ptr, L, H, K, CHUNKS, TOTAL,
    FINE: tl.constexpr, LEVELS: tl.constexpr, PARTS: tl.constexpr, BT: tl.constexpr,
    BK: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One decay per channel: `by_halves` of all chunks, in one part or two."""
    PART: tl.constexpr = BT // PARTS
    rows, ks = tl.arange(0, PART), tl.arange(0, BK)
    sums_ptr += tl.program_id(0).to(tl.int64) * 2 * PART * BK
    for n in range(tl.program_id(0), TOTAL, tl.num_programs(0)):
        chunk, head = n % CHUNKS, tl.cast(n // CHUNKS, tl.int64)
        b, h = head // H, head % H
        at, start = (b * L * H + h) * K, chunk * BT
        q = load_rows(q_ptr + at, start, rows, 0, L, ks, K, H * K, ACC)
        k = load_rows(k_ptr + at, start, rows, 0, L, ks, K, H * K, ACC)
        g = load_decay(g_ptr + at, start, rows, L, ks, K, H, 2, ACC)
        A, qd, kd, over = by_halves(
            q, k, g, sums_ptr, rows, ks, FINE, LEVELS, BK, ACC, DOT, PRECISION
        )
        store_rows(qd_ptr + at, qd, start, rows, L, ks, K, H * K)
        A_slot = A_ptr + tl.cast(n, tl.int64) * BT * BT
        store_rows(A_slot, A, 0, rows, PART, rows, PART, BT)
        if PARTS == 2:
            first, first_over, behind = kd, over, start + PART
            q = load_rows(q_ptr + at, behind, rows, 0, L, ks, K, H * K, ACC)
            k = load_rows(k_ptr + at, behind, rows, 0, L, ks, K, H * K, ACC)
            g = load_decay(g_ptr + at, behind, rows, L, ks, K, H, 2, ACC)
            A, qd, kd, over = by_halves(
                q, k, g, sums_ptr, rows, ks, FINE, LEVELS, BK, ACC, DOT, PRECISION
            )
            store_rows(qd_ptr + at, qd * first_over[None, :], behind, rows, L, ks, K, H * K)
            store_rows(kd_ptr + at, kd, behind, rows, L, ks, K, H * K)
            corner = dot(qd, tl.trans(first), ACC, DOT, PRECISION)
            store_rows(A_slot + PART * BT, corner, 0, rows, PART, rows, PART, BT)
            zero = tl.zeros([PART, PART], ACC)
            store_rows(A_slot + PART, zero, 0, rows, PART, rows, PART, BT)
            store_rows(A_slot + PART * BT + PART, A, 0, rows, PART, rows, PART, BT)
            kd, over = first * over[None, :], over * first_over
        store_rows(kd_ptr + at, kd, start, rows, L, ks, K, H * K)
        tl.store(over_ptr + tl.cast(n, tl.int64) * K + ks, over, mask=ks < K)


@triton.jit
def walk_kernel(
    q_ptr, k_ptr, v_ptr, sums_ptr, A_ptr, over_ptr, first_ptr, last_ptr, decay_ptr, y_ptr,
    L, H, K, V, LENGTH, SEGMENTS, CHUNKS, SIZE, SLOTS_FIRST, SLOTS_LAST,
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
        sums_ptr += head * CHUNKS * BT
        total = tl.sum(tl.full([BT], 1.0 / BT, ACC), 0)
    start = segment * LENGTH
    for i in range(tl.cdiv(tl.minimum(LENGTH, L - start), BT)):
        t = start + i * BT
        chunk = tl.cast(t // BT, tl.int64)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, RAW)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, RAW)
        if DECAY == 1:
            high, low, all_high, all_low = load_sums(sums_ptr, t, rows, SIZE, FINE)
            inward, outward, over = edges(high, low, all_high, all_low)
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
            # Read again: a tile both multiplied and scaled would wait for its own load.
            v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, RAW) * outward[:, None]
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
        log_decay = of_heads(log_decay)
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
        rows, meta = self.tile.rows, self.options
        parts = 2 if rows > 32 else 1
        total = self.B * self.H * self.chunks
        slots = min(total, SLOTS)
        dtype = self.q.dtype if meta["DOT"] == meta["RAW"] else self.acc
        A, over = self.empty(total, rows, rows, dtype=dtype), self.empty(total, self.K)
        sums = self.empty(slots, 2, rows // parts, meta["BK"])
        q, k = torch.empty_like(self.q), torch.empty_like(self.k)
        names = ("FINE", "BT", "BK", "ACC", "DOT", "PRECISION", "enable_fp_fusion")
        prepare_kernel[(slots,)](
            self.q, self.k, self.g, sums, A, q, k, over, self.L, self.H, self.K, self.chunks, total,
            LEVELS=(rows // parts).bit_length() - 1, PARTS=parts, num_warps=PREPARE_WARPS,
            **{n: meta[n] for n in names},
        )  # fmt: skip
        return q, k, A, over

    @cached_property
    def sums(self):
        """Running sums of one decay per head; a number that is not read for other decays."""
        if self.kind != 1:
            return self.empty(1, 1)
        return running_sums(self.g, self.tile.rows, self.options["FINE"], self.acc)

    def walk(self, q, k, A, over, first, last, decay, y, slots, **how):
        walk_kernel[self.grid()](
            q, k, self.v, self.sums, A, over, first, last, decay, y,
            *self.sizes, self.chunks, self.sums[0].numel(), *slots,
            SCALE=self.scale, DECAY=self.kind, **how, **self.options,
        )  # fmt: skip


def forward(q, k, v, log_decay=None, state=None, scale=1.0):
    """y_t = scale S_t' q_t and the last state; S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t'.

    q, k [B L H K], v [B L H V], state None or [B H K V]; log_decay None or [B L H 0], one per head
    [B L H] or [B L H 1], or [B L H K].  y has the dtype of v; states are float32, or float64 for
    float64 inputs.  NaN or infinity in a row reaches, besides the rows behind it, those before it
    in its chunk of at most 64 rows.
    """
    call = Call(q, k, v, log_decay, scale, grad=False)
    y = torch.empty_like(call.v)
    if y.numel() == 0 or call.K == 0:
        return y.zero_(), call.boundaries(state, reverse=False)[:, :, 0].clone()
    q, k, A, over = call.prepare() if call.kind == 2 else (call.q, call.k, call.q, call.q)
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
