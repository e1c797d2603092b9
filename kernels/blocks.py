"""What the Triton kernels share: rows of matrices, products, decays of a chunk, options."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dsf.kernels.tiles import accumulator, power_of_two

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
    if ACC == tl.float64 or a.shape[0] >= 64:
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
def running(g, FINE: tl.constexpr, ACC: tl.constexpr):
    """Running sums over rows as (high, low), whose sum is meant.

    Differences of such sums lose digits in proportion to the sums.  FINE: `high` is exact, and
    `low` a small remainder; else `low` is 0, which is enough for half precision.
    """
    if FINE:
        high = coarse(g, ACC)
        return tl.cumsum(high, 0), tl.cumsum(g - high, 0)
    else:
        return tl.cumsum(g, 0), tl.zeros_like(g)


@triton.jit
def sums_kernel(
    g_ptr, sums_ptr, L, H, CHUNKS, SIZE,
    FINE: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Running sums [B H chunks rows] of one log-decay per head, SIZE numbers; then those of low."""
    chunk, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    rows, hs = tl.arange(0, BT), tl.program_id(1) * BH + tl.arange(0, BH)
    g = bounded(load_rows(g_ptr + b * L * H, chunk * BT, rows, 0, L, hs, H, H, ACC), ACC)
    high, low = running(g, FINE, ACC)
    place = (b * H + hs[None, :]) * CHUNKS * BT + chunk * BT + rows[:, None]
    inside = (hs < H)[None, :] & (rows < BT)[:, None]
    tl.store(sums_ptr + place, high, mask=inside)
    if FINE:
        tl.store(sums_ptr + SIZE + place, low, mask=inside)


@triton.jit
def load_sums(sums_ptr, t, rows, SIZE, FINE: tl.constexpr):
    """What `sums_kernel` found of a head from row t on, and the last of it, all of them."""
    last = t + rows.shape[0] - 1
    high, all_high = tl.load(sums_ptr + t + rows), tl.load(sums_ptr + last)
    if FINE:
        low, all_low = tl.load(sums_ptr + SIZE + t + rows), tl.load(sums_ptr + SIZE + last)
    else:
        low, all_low = tl.zeros_like(high), all_high * 0.0
    return high, low, all_high, all_low


@triton.jit
def totals(high, low):
    """The last rows of running sums."""
    rows = tl.arange(0, high.shape[0])
    if len(high.shape) == 2:
        rows = rows[:, None]
    last = rows == high.shape[0] - 1
    return tl.sum(tl.where(last, high, 0.0), 0), tl.sum(tl.where(last, low, 0.0), 0)


@triton.jit
def edges(high, low, all_high, all_low):
    """Decays of a chunk from its running sums and their last: from its start to each row, from
    each row to its end, and over all."""
    if len(high.shape) == 2:
        left = (all_high[None, :] - high) + (all_low[None, :] - low)
    else:
        left = (all_high - high) + (all_low - low)
    return tl.exp2(high + low), tl.exp2(tl.minimum(left, 0.0)), tl.exp2(all_high + all_low)


@triton.jit
def between(high, low, rows, STRICT: tl.constexpr):
    """[T T] decays from column to row, zero above the diagonal; STRICT: and on it."""
    gap = (high[:, None] - high[None, :]) + (low[:, None] - low[None, :])
    if STRICT:
        keep = rows[:, None] > rows[None, :]
    else:
        keep = rows[:, None] >= rows[None, :]
    return tl.where(keep, tl.exp2(tl.where(keep, gap, 0.0)), 0.0)


def architecture(device: torch.device) -> int:
    """80 for sm_80, 90 for sm_90; 0 on a CPU, where Triton's interpreter runs the kernels."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def of_heads(log_decay: torch.Tensor | None) -> torch.Tensor | None:
    """[B L H 1] as [B L H], and None for [B L H 0]; others as they are."""
    if log_decay is None or log_decay.ndim == 3 or log_decay.shape[-1] > 1:
        return log_decay
    return log_decay[..., 0] if log_decay.shape[-1] else None


def options(tile: Any, dtype: str, K: int) -> dict[str, Any]:
    """What all kernels take: widths, dtypes, warps."""
    return {
        "BT": tile.rows,
        "BK": power_of_two(K),
        "BV": tile.columns,
        "ACC": getattr(tl, accumulator(dtype)),
        "RAW": getattr(tl, dtype),  # products of two inputs: exact in their own dtype
        "FINE": dtype in ("float32", "float64"),
        "DOT": getattr(tl, tile.dot),
        "PRECISION": tile.precision,
        "enable_fp_fusion": True,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def running_sums(g: torch.Tensor, rows: int, fine: bool, acc: torch.dtype) -> torch.Tensor:
    """[1 or 2, B, H, chunks * rows] of log-decays [B L H]: see `sums_kernel`."""
    B, L, H = g.shape
    chunks = triton.cdiv(L, rows)
    sums = torch.empty(1 + fine, B, H, chunks * rows, dtype=acc, device=g.device)
    sums_kernel[(chunks, triton.cdiv(H, 16), B)](
        g, sums, L, H, chunks, sums[0].numel(), FINE=fine, BT=rows, BH=16,
        ACC=getattr(tl, str(acc).removeprefix("torch.")), num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return sums
