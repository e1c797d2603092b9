"""Softmax attention in Triton, streamed over keys with an online maximum and sum.

    y_i = sum_j p_ij v_j,    p_ij = exp(scale q_i'k_j) / sum_j exp(scale q_i'k_j)

With fewer queries than keys the queries are the last ones; key heads divide query heads.  The
backward pass recomputes p from the logarithm of the row sums.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dsf.kernels.blocks import LOG2E, architecture, dot, load_rows, store_rows
from dsf.kernels.tiles import accumulator, power_of_two, softmax_tile


@triton.jit
def logits(q, k, at_q, at_k, M, N, SCALE: tl.constexpr, CAUSAL: tl.constexpr,
           ACC: tl.constexpr, DOT: tl.constexpr):  # fmt: skip
    """Base-2 logits [BM BN] of rows at_q and columns at_k, -inf where a query does not look."""
    s = dot(q, tl.trans(k), ACC, DOT, "ieee") * (SCALE * LOG2E)
    seen = at_k[None, :] < N
    if CAUSAL:
        seen = seen & (at_k[None, :] <= at_q[:, None] + (N - M))
    return tl.where(seen, s, float("-inf"))


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, y_ptr, lse_ptr, M, N, H, GROUP, K, V,
    SCALE: tl.constexpr, CAUSAL: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    G = H // GROUP
    rows, columns = tl.arange(0, BM), tl.arange(0, BN)
    ks, vs = tl.arange(0, BK), tl.arange(0, BV)
    q_ptr += (b * M * H + h) * K
    y_ptr += (b * M * H + h) * V
    k_ptr += (b * N * G + h // GROUP) * K
    v_ptr += (b * N * G + h // GROUP) * V
    first = block * BM
    q = load_rows(q_ptr, first, rows, 0, M, ks, K, H * K, ACC)
    top = tl.full([BM], float("-inf"), ACC)
    total = tl.zeros([BM], ACC)
    y = tl.zeros([BM, BV], ACC)
    end = N
    if CAUSAL:
        end = tl.minimum(N, first + BM + (N - M))
    for j in range(0, end, BN):
        k = load_rows(k_ptr, j, columns, 0, N, ks, K, G * K, ACC)
        s = logits(q, k, first + rows, j + columns, M, N, SCALE, CAUSAL, ACC, DOT)
        now = tl.maximum(top, tl.max(s, 1))
        base = tl.where(now == float("-inf"), 0.0, now)
        p = tl.exp2(s - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(p, 1)
        v = load_rows(v_ptr, j, columns, 0, N, vs, V, G * V, ACC)
        y = y * shrink[:, None] + dot(p, v, ACC, DOT, "ieee")
        top = now
    total = tl.where(total == 0.0, 1.0, total)  # no key with a finite logit: 0
    store_rows(y_ptr, y / total[:, None], first, rows, M, vs, V, H * V)
    tl.store(lse_ptr + head * M + first + rows, top + tl.log2(total), mask=first + rows < M)


@triton.jit
def dq_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, lse_ptr, sum_ptr, dq_ptr, M, N, H, GROUP, K, V,
    SCALE: tl.constexpr, CAUSAL: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = head // H, head % H
    G = H // GROUP
    rows, columns = tl.arange(0, BM), tl.arange(0, BN)
    ks, vs = tl.arange(0, BK), tl.arange(0, BV)
    q_ptr += (b * M * H + h) * K
    dq_ptr += (b * M * H + h) * K
    dy_ptr += (b * M * H + h) * V
    k_ptr += (b * N * G + h // GROUP) * K
    v_ptr += (b * N * G + h // GROUP) * V
    first = block * BM
    q = load_rows(q_ptr, first, rows, 0, M, ks, K, H * K, ACC)
    dy = load_rows(dy_ptr, first, rows, 0, M, vs, V, H * V, ACC)
    lse = tl.load(lse_ptr + head * M + first + rows, mask=first + rows < M, other=0.0)
    mean = tl.load(sum_ptr + head * M + first + rows, mask=first + rows < M, other=0.0)
    dq = tl.zeros([BM, BK], ACC)
    end = N
    if CAUSAL:
        end = tl.minimum(N, first + BM + (N - M))
    for j in range(0, end, BN):
        k = load_rows(k_ptr, j, columns, 0, N, ks, K, G * K, ACC)
        v = load_rows(v_ptr, j, columns, 0, N, vs, V, G * V, ACC)
        s = logits(q, k, first + rows, j + columns, M, N, SCALE, CAUSAL, ACC, DOT)
        p = tl.exp2(s - lse[:, None])
        ds = p * (dot(dy, tl.trans(v), ACC, DOT, "ieee") - mean[:, None])
        dq += dot(ds, k, ACC, DOT, "ieee")
    store_rows(dq_ptr, dq * SCALE, first, rows, M, ks, K, H * K)


@triton.jit
def dkv_kernel(
    q_ptr, k_ptr, v_ptr, dy_ptr, lse_ptr, sum_ptr, dk_ptr, dv_ptr, M, N, H, GROUP, K, V,
    SCALE: tl.constexpr, CAUSAL: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    G = H // GROUP
    b, g = head // G, head % G
    rows, columns = tl.arange(0, BM), tl.arange(0, BN)
    ks, vs = tl.arange(0, BK), tl.arange(0, BV)
    k_ptr += (b * N * G + g) * K
    dk_ptr += (b * N * G + g) * K
    v_ptr += (b * N * G + g) * V
    dv_ptr += (b * N * G + g) * V
    first = block * BN
    k = load_rows(k_ptr, first, columns, 0, N, ks, K, G * K, ACC)
    v = load_rows(v_ptr, first, columns, 0, N, vs, V, G * V, ACC)
    dk, dv = tl.zeros([BN, BK], ACC), tl.zeros([BN, BV], ACC)
    begin = 0
    if CAUSAL:
        begin = tl.maximum(0, first - (N - M)) // BM * BM
    for e in range(GROUP):
        h = g * GROUP + e
        at_q, at_y = q_ptr + (b * M * H + h) * K, dy_ptr + (b * M * H + h) * V
        at_row = (b * H + h) * M
        for i in range(begin, M, BM):
            q = load_rows(at_q, i, rows, 0, M, ks, K, H * K, ACC)
            dy = load_rows(at_y, i, rows, 0, M, vs, V, H * V, ACC)
            lse = tl.load(lse_ptr + at_row + i + rows, mask=i + rows < M, other=float("inf"))
            mean = tl.load(sum_ptr + at_row + i + rows, mask=i + rows < M, other=0.0)
            s = logits(q, k, i + rows, first + columns, M, N, SCALE, CAUSAL, ACC, DOT)
            p = tl.exp2(s - lse[:, None])
            dv += dot(tl.trans(p), dy, ACC, DOT, "ieee")
            ds = p * (dot(dy, tl.trans(v), ACC, DOT, "ieee") - mean[:, None])
            dk += dot(tl.trans(ds), q, ACC, DOT, "ieee")
    store_rows(dk_ptr, dk * SCALE, first, columns, N, ks, K, G * K)
    store_rows(dv_ptr, dv, first, columns, N, vs, V, G * V)


def options(tile, dtype: str, K: int, V: int):
    """What all three kernels take: a tile's rows are queries, its columns keys."""
    return {
        "BM": tile.rows,
        "BN": tile.columns,
        "BK": power_of_two(K),
        "BV": power_of_two(V),
        "ACC": getattr(tl, accumulator(dtype)),
        "DOT": getattr(tl, dtype),
        "enable_fp_fusion": True,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def _sizes(q, k, v):
    (B, M, H, K), (N, G), V = q.shape, k.shape[1:3], v.shape[-1]
    return B, M, H, K, N, G, V


def refused(arrays, numbers):
    """Why these kernels cannot take this call; "" if they can."""
    (_, M, _, _), N = arrays[0].shape, arrays[1].shape[1]
    if arrays[3].shape[-1] or arrays[4].shape[1] or arrays[5].shape[1] or numbers[2]:
        return "the Triton kernels have no bias, window, forget gate or sink"
    return "causal queries are more than the keys" if numbers[1] and M > N else ""


def forward(q, k, v, bias, forget, sink, scale, causal, window):
    """y [B M H V], and the base-2 logarithms [B M H] of the row sums, for the backward pass.

    q [B M H K], k [B N G K], v [B N G V], G divides H; causal: M is at most N.  The others are
    empty: see `refused`.
    """
    B, M, H, K, N, G, V = _sizes(q, k, v)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    dtype = str(q.dtype).removeprefix("torch.")
    y = torch.empty(B, M, H, V, dtype=v.dtype, device=v.device)
    lse = torch.empty(B, H, M, dtype=getattr(torch, accumulator(dtype)), device=q.device)
    if y.numel() == 0 or N == 0:
        return y.zero_(), lse.fill_(float("-inf")).transpose(1, 2)
    tile = softmax_tile(architecture(q.device), dtype, K, V, False)
    forward_kernel[(triton.cdiv(M, tile.rows), B * H)](
        q, k, v, y, lse, M, N, H, H // G, K, V,
        SCALE=float(scale), CAUSAL=bool(causal),
        **options(tile, dtype, K, V),
    )  # fmt: skip
    return y, lse.transpose(1, 2)


def backward(q, k, v, bias, forget, sink, y, lse, scale, causal, window, dy, dlse=None):
    """Gradients of all inputs from what the forward pass returned; `dlse` must be zero."""
    B, M, H, K, N, G, V = _sizes(q, k, v)
    q, k, v, dy = (x.contiguous() for x in (q, k, v, dy))
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    rest = [torch.zeros_like(x) for x in (bias, forget, sink)]
    if y.numel() == 0 or N == 0:
        return dq.zero_(), dk.zero_(), dv.zero_(), *rest
    dtype = str(q.dtype).removeprefix("torch.")
    lse = lse.transpose(1, 2).contiguous()
    mean = (y.to(lse.dtype) * dy).sum(-1).transpose(1, 2).contiguous()
    tile = softmax_tile(architecture(q.device), dtype, K, V, True)
    fixed = {
        "SCALE": float(scale),
        "CAUSAL": bool(causal),
        **options(tile, dtype, K, V),
    }
    sizes = (M, N, H, H // G, K, V)
    grid = (triton.cdiv(M, tile.rows), B * H)
    dq_kernel[grid](q, k, v, dy, lse, mean, dq, *sizes, **fixed)
    grid = (triton.cdiv(N, tile.columns), B * G)
    dkv_kernel[grid](q, k, v, dy, lse, mean, dk, dv, *sizes, **fixed)
    return dq, dk, dv, *rest
