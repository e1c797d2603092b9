"""The (gated) delta rule in Triton, by chunks in WY form.

    S <- exp(g_t) S_{t-1},   S_t = S + beta_t k_t (v_t - S'k_t)',   y_t = scale S_t' q_t

In a chunk that starts from S the rows u_t = beta_t (v_t - S_t'k_t) that are written obey

    (I + M) U = diag(beta) (V - diag(e^c) K S),   M_ij = beta_i e^{c_i - c_j} k_i'k_j for j < i,

where c sums the log-decays.  T = (I + M)^-1 of all chunks is found at once: `inverse_kernel` takes
blocks of 16 rows by forward substitution (powers of M would overflow where keys repeat), and
`merge_kernel` joins them two by two.  `delta_kernel` walks the chunks with the state in registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.blocks import (
    architecture,
    between,
    bounded,
    dot,
    edges,
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
from dsf.kernels.tiles import accumulator, delta_tile

MERGE_WARPS = 4


@triton.jit
def load_numbers(ptr, start, rows, end, stride, ACC: tl.constexpr):
    """One number of each row, zero from `end` on."""
    at = ptr + tl.cast(start, tl.int64) * stride + rows * stride
    return tl.load(at, mask=start + rows < end, other=0.0).to(ACC)


@triton.jit
def few_dot(a, b, ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """a b for few rows: as `wide_dot` on tensor cores, plainly where there are none."""
    if PRECISION == "tf32":
        return wide_dot(a, b, ACC, DOT, PRECISION)
    else:
        return dot(a, b, ACC, DOT, PRECISION)


@triton.jit
def inverse_kernel(
    k_ptr, beta_ptr, g_ptr, out_ptr, L, H, K, BLOCKS,
    DECAY: tl.constexpr, BK: tl.constexpr, FINE: tl.constexpr, ACC: tl.constexpr, RAW: tl.constexpr,
):  # fmt: skip
    """(I + M)^-1 of a block of 16 rows."""
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, 16), tl.arange(0, BK)
    start = block * 16
    k = load_rows(k_ptr + (b * L * H + h) * K, start, rows, 0, L, ks, K, H * K, RAW)
    beta = load_numbers(beta_ptr + b * L * H + h, start, rows, L, H, ACC)
    M = dot(k, tl.trans(k), ACC, RAW, "ieee") * beta[:, None]
    if DECAY:
        g = bounded(load_numbers(g_ptr + b * L * H + h, start, rows, L, H, ACC), ACC)
        high, low = running(g, FINE, ACC)
        M = M * between(high, low, rows, True)
    else:
        M = tl.where(rows[:, None] > rows[None, :], M, 0.0)
    # Row r of the inverse: e_r - sum_{j < r} M_rj (row j).
    T = tl.where(rows[:, None] == rows[None, :], tl.full([16, 16], 1.0, ACC), 0.0)
    for r in range(1, 16):
        of_row = tl.sum(tl.where(rows[:, None] == r, M, 0.0), 0)
        row = tl.sum(of_row[:, None] * T, 0)
        T = tl.where(rows[:, None] == r, T - row[None, :], T)
    store_rows(out_ptr + (head * BLOCKS + block) * 256, T, 0, rows, 16, rows, 16, 16)


@triton.jit
def merge_kernel(
    k_ptr, beta_ptr, sums_ptr, blocks_ptr, T_ptr, L, H, K, CHUNKS, SIZE,
    DECAY: tl.constexpr, LEVELS: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,
    FINE: tl.constexpr, ACC: tl.constexpr, RAW: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(I + M)^-1 of a chunk from those of its blocks: two of them, A above B, and M_BA below A,
    have the inverse B^-1 M_BA A^-1 in the corner, with a minus."""
    chunk, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    start = chunk * BT
    k = load_rows(k_ptr + (b * L * H + h) * K, start, rows, 0, L, ks, K, H * K, RAW)
    beta = load_numbers(beta_ptr + b * L * H + h, start, rows, L, H, ACC)
    M = dot(k, tl.trans(k), ACC, RAW, "ieee") * beta[:, None]
    if DECAY:
        high, low, _, _ = load_sums(sums_ptr + head * CHUNKS * BT, start, rows, SIZE, FINE)
        M = M * between(high, low, rows, True)
    slot = head * CHUNKS + chunk
    own = rows[:, None] // 16 == rows[None, :] // 16
    at = blocks_ptr + slot * BT * 16 + rows[:, None] * 16 + rows[None, :] % 16
    T = tl.load(at, mask=own, other=0.0)
    for level in tl.static_range(LEVELS):
        half = 16 << level
        below = rows[:, None] // (2 * half) == rows[None, :] // (2 * half)
        below = below & (rows[:, None] // half > rows[None, :] // half)
        corner = tl.where(below, M, 0.0)
        corner = tl.dot(corner, T, input_precision=PRECISION, out_dtype=ACC)
        T -= tl.dot(T, corner, input_precision=PRECISION, out_dtype=ACC)
    store_rows(T_ptr + slot * BT * BT, T, 0, rows, BT, rows, BT, BT)


@triton.jit
def delta_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, sums_ptr, T_ptr, states_ptr, y_ptr, last_ptr,
    L, H, K, V, CHUNKS, SIZE,
    SCALE: tl.constexpr, DECAY: tl.constexpr, STORE: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Outputs and last state; STORE: the state before every chunk, for the gradients."""
    column, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    k_ptr += (b * L * H + h) * K
    v_ptr += (b * L * H + h) * V
    y_ptr += (b * L * H + h) * V
    beta_ptr += b * L * H + h
    if DECAY:
        sums_ptr += head * CHUNKS * BT
    T_ptr += head * CHUNKS * BT * BT
    last_ptr += head * K * V
    if STORE:
        states_ptr += head * CHUNKS * K * V
    S = load_rows(last_ptr, 0, ks, 0, K, vs, V, V, ACC)  # the initial state stands there
    for i in range(CHUNKS):
        t = i * BT
        if STORE:
            store_rows(states_ptr + tl.cast(i, tl.int64) * K * V, S, 0, ks, K, vs, V, V)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, RAW)
        v = load_rows(v_ptr, t, rows, 0, L, vs, V, H * V, RAW)
        beta = load_numbers(beta_ptr, t, rows, L, H, ACC)
        T = load_rows(T_ptr + tl.cast(i, tl.int64) * BT * BT, 0, rows, 0, BT, rows, BT, BT, DOT)
        seen = few_dot(k, S, ACC, DOT, PRECISION)
        if DECAY:
            high, low, all_high, all_low = load_sums(sums_ptr, t, rows, SIZE, FINE)
            inward, outward, over = edges(high, low, all_high, all_low)
            seen = seen * inward[:, None]
        u = few_dot(T, (v - seen) * beta[:, None], ACC, DOT, PRECISION)
        q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, RAW)
        A = dot(q, tl.trans(k), ACC, RAW, PRECISION)
        y = few_dot(q, S, ACC, DOT, PRECISION)
        if DECAY:
            A = A * between(high, low, rows, False)
            y = y * inward[:, None]
        else:
            A = tl.where(rows[:, None] >= rows[None, :], A, 0.0)
        y += few_dot(A, u, ACC, DOT, PRECISION)
        store_rows(y_ptr, y * SCALE, t, rows, L, vs, V, H * V)
        if DECAY:
            u = u * outward[:, None]
            S = S * over
        S += dot(tl.trans(k), u, ACC, DOT, PRECISION)
    store_rows(last_ptr, S, 0, ks, K, vs, V, V)


@triton.jit
def delta_back_kernel(
    q_ptr, k_ptr, beta_ptr, g_ptr, T_ptr, dy_ptr, grads_ptr, dw_ptr, dv_ptr, first_ptr,
    L, H, K, V, CHUNKS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Backward in time: the gradient of the state after each chunk, of U (as `dw`) and of V."""
    column, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    q_ptr += (b * L * H + h) * K
    k_ptr += (b * L * H + h) * K
    dy_ptr += (b * L * H + h) * V
    dw_ptr += (b * L * H + h) * V
    dv_ptr += (b * L * H + h) * V
    beta_ptr += b * L * H + h
    if DECAY:
        g_ptr += b * L * H + h
    T_ptr += head * CHUNKS * BT * BT
    first_ptr += head * K * V
    grads_ptr += head * CHUNKS * K * V
    G = load_rows(first_ptr, 0, ks, 0, K, vs, V, V, ACC)  # that of the last state stands there
    for j in range(CHUNKS):
        i = CHUNKS - 1 - j
        t = i * BT
        store_rows(grads_ptr + tl.cast(i, tl.int64) * K * V, G, 0, ks, K, vs, V, V)
        q = load_rows(q_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        k = load_rows(k_ptr, t, rows, 0, L, ks, K, H * K, ACC)
        dy = load_rows(dy_ptr, t, rows, 0, L, vs, V, H * V, ACC)
        beta = load_numbers(beta_ptr, t, rows, L, H, ACC)
        T = load_rows(T_ptr + tl.cast(i, tl.int64) * BT * BT, 0, rows, 0, BT, rows, BT, BT, ACC)
        A = dot(k, tl.trans(q), ACC, RAW, PRECISION)  # [j i]
        du = few_dot(k, G, ACC, DOT, PRECISION)
        if DECAY:
            g = bounded(load_numbers(g_ptr, t, rows, L, H, ACC), ACC)
            high, low = running(g, FINE, ACC)
            all_high, all_low = totals(high, low)
            inward, outward, over = edges(high, low, all_high, all_low)
            A = A * tl.trans(between(high, low, rows, False))
            du = du * outward[:, None]
            q = q * inward[:, None]
            k = k * inward[:, None]
            G = G * over
        else:
            A = tl.where(rows[:, None] <= rows[None, :], A, 0.0)
        du += few_dot(A, dy, ACC, DOT, PRECISION) * SCALE
        dw = few_dot(tl.trans(T), du, ACC, DOT, PRECISION)
        store_rows(dw_ptr, dw, t, rows, L, vs, V, H * V)
        dv = dw * beta[:, None]
        store_rows(dv_ptr, dv, t, rows, L, vs, V, H * V)
        G += dot(tl.trans(q), dy, ACC, DOT, PRECISION) * SCALE
        G -= dot(tl.trans(k), dv, ACC, DOT, PRECISION)
    store_rows(first_ptr, G, 0, ks, K, vs, V, V)


@triton.jit
def delta_grad_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, T_ptr, dy_ptr, states_ptr, grads_ptr, dw_ptr,
    dq_ptr, dk_ptr, dbeta_ptr, dg_ptr, B, L, H, K, V, CHUNKS,
    SCALE: tl.constexpr, DECAY: tl.constexpr,
    BT: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, FINE: tl.constexpr,
    ACC: tl.constexpr, RAW: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of q, k, beta and g of one chunk, the share of BV values."""
    column, i, head = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    b, h = head // H, head % H
    rows, ks = tl.arange(0, BT), tl.arange(0, BK)
    vs = column * BV + tl.arange(0, BV)
    t = i * BT
    at_k, at_v = (b * L * H + h) * K, (b * L * H + h) * V
    share = (column * B + b) * L * H + h
    k = load_rows(k_ptr + at_k, t, rows, 0, L, ks, K, H * K, ACC)
    v = load_rows(v_ptr + at_v, t, rows, 0, L, vs, V, H * V, ACC)
    dy = load_rows(dy_ptr + at_v, t, rows, 0, L, vs, V, H * V, ACC)
    dw = load_rows(dw_ptr + at_v, t, rows, 0, L, vs, V, H * V, ACC)
    beta = load_numbers(beta_ptr + b * L * H + h, t, rows, L, H, ACC)
    slot = head * CHUNKS + i
    S = load_rows(states_ptr + slot * K * V, 0, ks, 0, K, vs, V, V, ACC)
    G = load_rows(grads_ptr + slot * K * V, 0, ks, 0, K, vs, V, V, ACC)
    T = load_rows(T_ptr + slot * BT * BT, 0, rows, 0, BT, rows, BT, BT, ACC)
    seen = few_dot(k, S, ACC, DOT, PRECISION)
    over = tl.sum(tl.full([BT], 1.0 / BT, ACC), 0)
    if DECAY:
        g = bounded(load_numbers(g_ptr + b * L * H + h, t, rows, L, H, ACC), ACC)
        high, low = running(g, FINE, ACC)
        all_high, all_low = totals(high, low)
        inward, outward, over = edges(high, low, all_high, all_low)
        seen = seen * inward[:, None]
    u = few_dot(T, (v - seen) * beta[:, None], ACC, DOT, PRECISION)
    # The keys that the rows before have changed: M / beta.
    kk = dot(k, tl.trans(k), ACC, RAW, PRECISION)
    if DECAY:
        kk = kk * between(high, low, rows, True)
    else:
        kk = tl.where(rows[:, None] > rows[None, :], kk, 0.0)
    error = v - seen - few_dot(kk, u, ACC, DOT, PRECISION)
    dbeta = tl.sum(dw * error, 1)
    at = dbeta_ptr + share + tl.cast(t, tl.int64) * H + rows * H
    tl.store(at, dbeta, mask=t + rows < L)
    # Pairs (i, j) of the output and of the correction, and what joins rows to the states.
    P = dot(dy, tl.trans(u), ACC, DOT, PRECISION) * SCALE
    R = dot(dw * beta[:, None], tl.trans(u), ACC, DOT, PRECISION)
    q_in = few_dot(dy, tl.trans(S), ACC, DOT, PRECISION) * SCALE
    k_in = few_dot(dw * beta[:, None], tl.trans(S), ACC, DOT, PRECISION)
    k_out = few_dot(u, tl.trans(G), ACC, DOT, PRECISION)
    q = load_rows(q_ptr + at_k, t, rows, 0, L, ks, K, H * K, ACC)
    if DECAY:
        w = between(high, low, rows, False)
        P, R = P * w, tl.where(rows[:, None] > rows[None, :], R * w, 0.0)
        q_in, k_in = q_in * inward[:, None], k_in * inward[:, None]
        k_out = k_out * outward[:, None]
        qk = dot(q, tl.trans(k), ACC, RAW, PRECISION)
        pairs = tl.where(rows[:, None] > rows[None, :], P * qk, 0.0)
        pairs -= R * dot(k, tl.trans(k), ACC, RAW, PRECISION)
        entering = tl.sum(q * q_in, 1) - tl.sum(k * k_in, 1)
        leaving = tl.sum(k * k_out, 1)
        kept = tl.sum(tl.sum(S * G, 1), 0) * over
        # A pair counts for the decays between its rows, a row that meets the state at the start
        # for those up to it, one that meets the end for those after it.
        dg = tl.cumsum(tl.sum(pairs, 1) - tl.sum(pairs, 0) + entering, 0, reverse=True)
        dg += tl.cumsum(leaving, 0) - leaving + kept
        dg = tl.where(g <= (-1100.0 if ACC == tl.float64 else -160.0), 0.0, dg)
        at = dg_ptr + share + tl.cast(t, tl.int64) * H + rows * H
        tl.store(at, dg, mask=t + rows < L)
    else:
        P = tl.where(rows[:, None] >= rows[None, :], P, 0.0)
        R = tl.where(rows[:, None] > rows[None, :], R, 0.0)
    dq = q_in + few_dot(P, k, ACC, DOT, PRECISION)
    store_rows(dq_ptr + share * K, dq, t, rows, L, ks, K, H * K)
    dk = k_out - k_in + few_dot(tl.trans(P), q, ACC, DOT, PRECISION)
    dk -= few_dot(R, k, ACC, DOT, PRECISION) + few_dot(tl.trans(R), k, ACC, DOT, PRECISION)
    store_rows(dk_ptr + share * K, dk, t, rows, L, ks, K, H * K)


def _prepare(q, k, v, beta, log_decay, state, scale, grad):
    """Contiguous inputs, tile, sizes, T of every chunk, and the state as a buffer."""
    dtype = str(q.dtype).removeprefix("torch.")
    B, L, H, K = q.shape
    tile = delta_tile(architecture(q.device), dtype, K, v.shape[-1], grad)
    meta = options(tile, dtype, K)
    acc = getattr(torch, accumulator(dtype))
    q, k, v, beta = (x.contiguous() for x in (q, k, v, beta))
    g = beta if log_decay is None else log_decay.contiguous()
    chunks = triton.cdiv(L, tile.rows)
    last = torch.zeros(B, H, K, v.shape[-1], dtype=acc, device=q.device)
    if state is not None:
        last += state
    decay, fine = log_decay is not None, meta["FINE"]
    sums = running_sums(g, tile.rows, fine, acc) if decay else last[None]
    blocks = chunks * tile.rows // 16
    T = torch.empty(B, H, blocks, 16, 16, dtype=acc, device=q.device)
    if T.numel() and K:
        fixed = {n: meta[n] for n in ("BK", "FINE", "ACC", "RAW", "enable_fp_fusion")}
        inverse_kernel[(blocks, B * H)](
            k, beta, g, T, L, H, K, blocks, DECAY=decay, num_warps=1 + fine, **fixed
        )  # fmt: skip
        if tile.rows > 16:
            small, half = T, meta["DOT"] == meta["RAW"]
            T = torch.empty(
                B, H, chunks, tile.rows, tile.rows, dtype=q.dtype if half else acc, device=q.device
            )
            merge_kernel[(chunks, B * H)](
                k, beta, sums, small, T, L, H, K, chunks, sums[0].numel(), DECAY=decay,
                LEVELS=(tile.rows // 32).bit_length(), BT=tile.rows,
                PRECISION="ieee" if fine else "tf32", num_warps=MERGE_WARPS, **fixed,
            )  # fmt: skip
    return q, k, v, beta, g, sums, T, last, chunks, tile, meta


def forward(q, k, v, beta, log_decay=None, state=None, scale=1.0):
    """y_t = scale S_t' q_t and the last state, with S <- exp(g) S, S <- S + beta k (v - S'k)'.

    q, k [B L H K], v [B L H V], beta [B L H], log_decay None or [B L H 0], [B L H] or [B L H 1],
    state None or [B H K V].  Keys are taken as they are.  States are float32, or float64 for
    float64 inputs.
    """
    log_decay = of_heads(log_decay)
    prepared = _prepare(q, k, v, beta, log_decay, state, scale, False)
    q, k, v, beta, _, sums, T, last, chunks, tile, meta = prepared
    (B, L, H, K), V = q.shape, v.shape[-1]
    y = torch.zeros_like(v)
    if y.numel() and K:
        delta_kernel[(triton.cdiv(V, tile.columns), B * H)](
            q, k, v, beta, sums, T, last, y, last, L, H, K, V, chunks, sums[0].numel(),
            SCALE=float(scale), DECAY=log_decay is not None, STORE=False, **meta,
        )  # fmt: skip
    return y, last


def backward(q, k, v, beta, log_decay, state, scale, dy, dlast=None):
    """Gradients of q, k, v, beta, log_decay (None if it is) and of the initial state.

    The states before all chunks are found again and kept while the gradients are computed.
    """
    shapes, given = (q, k, v, beta, log_decay), log_decay
    log_decay = of_heads(log_decay)
    prepared = _prepare(q, k, v, beta, log_decay, state, scale, True)
    q, k, v, beta, g, sums, T, last, chunks, tile, meta = prepared
    (B, L, H, K), V = q.shape, v.shape[-1]
    first = torch.zeros_like(last)
    if dlast is not None:
        first += dlast
    if v.numel() == 0 or K == 0:
        return *(None if x is None else torch.zeros_like(x) for x in shapes), first
    dy = dy.contiguous()
    columns = triton.cdiv(V, tile.columns)

    def new(*shape):
        return torch.empty(shape, dtype=last.dtype, device=q.device)

    states, grads = new(B, H, chunks, K, V), new(B, H, chunks, K, V)
    dw, dv = new(B, L, H, V), torch.empty_like(v)
    fixed = {"SCALE": float(scale), "DECAY": log_decay is not None, **meta}
    delta_kernel[(columns, B * H)](
        q, k, v, beta, sums, T, states, dv, last, L, H, K, V, chunks, sums[0].numel(),
        STORE=True, **fixed,
    )  # fmt: skip
    delta_back_kernel[(columns, B * H)](
        q, k, beta, g, T, dy, grads, dw, dv, first, L, H, K, V, chunks, **fixed
    )  # fmt: skip
    dq, dk = new(columns, B, L, H, K), new(columns, B, L, H, K)
    dbeta, dg = new(columns, B, L, H), new(columns, B, L, H)
    delta_grad_kernel[(columns, chunks, B * H)](
        q, k, v, beta, g, T, dy, states, grads, dw, dq, dk, dbeta, dg,
        B, L, H, K, V, chunks, **fixed,
    )  # fmt: skip
    dq, dk, dbeta = (x.sum(0).to(y.dtype) for x, y in ((dq, q), (dk, k), (dbeta, beta)))
    if given is not None:
        dg = torch.zeros_like(given) if log_decay is None else dg.sum(0).to(g.dtype)
    return dq, dk, dv, dbeta, None if given is None else dg.reshape(given.shape), first
