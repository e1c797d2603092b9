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
def edges(g, high, low, FINE: tl.constexpr, ACC: tl.constexpr):
    """Decays of a chunk: from its start to each row, from each row to its end, and over all."""
    if FINE:
        all_high = tl.sum(coarse(g, ACC), 0)
        all_low = tl.sum(g - coarse(g, ACC), 0)
        left = (tl.expand_dims(all_high, 0) - high) + (tl.expand_dims(all_low, 0) - low)
        over = tl.exp2(all_high + all_low)
    else:
        total = tl.sum(g, 0)
        left = tl.minimum(tl.expand_dims(total, 0) - high, 0.0)
        over = tl.exp2(total)
    return tl.exp2(high + low), tl.exp2(left), over


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
