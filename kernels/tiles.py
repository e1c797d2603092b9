"""Sizes of the tiles of the Triton kernels: tables instead of a search at run time.

A table is read by (architecture, dtype of the input, sizes), so that the same call runs the same
program on every run, and the programs can be compiled and inspected without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """One program: rows of time, columns of values, warps, stages, and how it multiplies.

    dot is the dtype of the factors of a matrix product ("float32", "bfloat16", ...), precision
    what tl.dot does with float32: "ieee", "tf32" or "tf32x3".
    """

    rows: int
    columns: int
    warps: int
    stages: int = 1
    dot: str = "float32"
    precision: str = "ieee"


def power_of_two(n: int, least: int = 16) -> int:
    """The least power of two that is at least n and `least`: the width of a tile."""
    return max(least, 1 << (n - 1).bit_length()) if n > 0 else least


def accumulator(dtype: str) -> str:
    """The dtype in which sums of an input are kept: float64 of float64, else float32."""
    return "float64" if dtype == "float64" else "float32"


Sizes = tuple[int, int, int]

# Linear attention: width of the keys -> (rows, columns, warps) of the forward kernels and of the
# gradients.  The largest tiles tried that keep all in registers when compiled for sm_90.
LINEAR: dict[tuple[str, str], dict[int, tuple[Sizes, Sizes]]] = {
    ("bfloat16", "head"): {64: ((64, 64, 4), (64, 64, 8)), 128: ((64, 64, 4), (32, 64, 8))},
    ("bfloat16", "channel"): {64: ((64, 64, 4), (16, 64, 8)), 128: ((64, 64, 4), (16, 32, 8))},
    ("half", "head"): {64: ((64, 64, 8), (64, 64, 8)), 128: ((32, 128, 8), (32, 64, 8))},
    ("half", "channel"): {64: ((16, 64, 8), (16, 64, 8)), 128: ((16, 128, 8), (16, 32, 8))},
    ("float32", "head"): {64: ((32, 32, 8), (32, 32, 8)), 128: ((16, 64, 8), (16, 32, 8))},
    ("float32", "channel"): {64: ((16, 64, 8), (16, 64, 8)), 128: ((16, 32, 4), (16, 32, 8))},
    ("float64", "head"): {64: ((16, 16, 8), (16, 16, 8)), 128: ((16, 16, 8), (16, 16, 8))},
    ("float64", "channel"): {64: ((16, 16, 8), (16, 16, 8)), 128: ((16, 16, 8), (16, 16, 8))},
}
# What fits sm_80, where it is less.
LINEAR_80: dict[tuple[str, str], dict[int, tuple[Sizes, Sizes]]] = {
    ("bfloat16", "head"): {64: ((32, 64, 8), (32, 64, 8)), 128: ((32, 64, 8), (32, 32, 8))},
    ("bfloat16", "channel"): {64: ((32, 64, 8), (16, 64, 8)), 128: ((32, 64, 8), (16, 32, 8))},
    ("half", "head"): {64: ((32, 64, 8), (32, 64, 8)), 128: ((32, 64, 8), (32, 32, 8))},
}


def product(dtype: str, grad: bool = True) -> dict[str, Any]:
    """How a kernel multiplies what it has computed; TF32 holds all digits of half inputs.

    Forward, bfloat16 stays bfloat16: its outputs have no more digits.
    """
    if dtype == "bfloat16" and not grad:
        return {"dot": dtype, "precision": "ieee", "stages": 2}
    if dtype in ("float16", "bfloat16"):
        return {"dot": "float32", "precision": "tf32"}
    return {"dot": accumulator(dtype), "precision": "ieee"}


def linear_tile(arch: int, dtype: str, K: int, V: int, channels: bool, grad: bool) -> Tile:
    """The tile of linear attention; `channels`: one decay per channel, which walks 16 rows.

    arch is 80, 90, ..., or 0 for the interpreter.
    """
    kind = "half" if dtype == "float16" else dtype
    key = kind, "channel" if channels else "head"
    table = LINEAR_80.get(key, LINEAR[key]) if 80 <= arch < 90 else LINEAR[key]
    width = power_of_two(K)
    rows, columns, warps = table[64 if width <= 64 else 128][grad]
    if width > 128:
        rows, columns = min(rows, 32), max(16, columns * 128 // width // 2)
    return Tile(rows, min(columns, power_of_two(V)), warps, **product(dtype, grad))


# The delta rule: width of the keys -> (rows, columns, warps) of the walk and of the gradients.
DELTA: dict[str, dict[int, tuple[Sizes, Sizes]]] = {
    "bfloat16": {64: ((64, 64, 4), (16, 32, 8)), 128: ((64, 64, 8), (16, 32, 8))},
    "half": {64: ((32, 32, 8), (16, 32, 8)), 128: ((16, 32, 8), (16, 32, 8))},
    "float32": {64: ((16, 16, 8), (16, 16, 8)), 128: ((16, 16, 8), (16, 16, 8))},
    "float64": {64: ((16, 16, 8), (16, 16, 8)), 128: ((16, 16, 8), (16, 16, 8))},
}


DELTA_80: dict[str, dict[int, tuple[Sizes, Sizes]]] = {
    "bfloat16": {64: ((32, 32, 8), (16, 32, 8)), 128: ((16, 32, 8), (16, 32, 8))},
}


def delta_tile(arch: int, dtype: str, K: int, V: int, grad: bool) -> Tile:
    """The tile of the delta rule; rows are those of one WY block."""
    kind = "half" if dtype == "float16" else dtype
    width = power_of_two(K)
    table = DELTA_80.get(kind, DELTA[kind]) if 80 <= arch < 90 else DELTA[kind]
    rows, columns, warps = table[64 if width <= 64 else 128][grad]
    if width > 128:
        rows, columns = 16, 16
    return Tile(rows, min(columns, power_of_two(V)), warps, **product(dtype, grad))


def segments(L: int, rows: int, programs: int, most: int | None = None, wanted: int = 264) -> Any:
    """(number of segments, rows of one): how a sequence is split so that every processor works.

    A function of sizes alone.  `most` bounds the rows of a segment; without it few, long ones.
    """
    least = 8 * rows
    number = -(-L // most) if most else 1 if 2 * programs >= wanted else -(-wanted // programs)
    length = max(least, -(-L // max(number, 1)))
    length = -(-length // rows) * rows
    return max(1, -(-L // length)), length


def scan_tile(dtype: str, N: int, batch: int, channels: int) -> tuple[int, int, int, int]:
    """(channels, those of one thread, warps, warps wanted) of programs of the selective scan.

    Where 16 channels to a warp keep the GPU busy, time is not split into segments.
    """
    if dtype == "float64" or N > 16:
        return 16, 1, 2, 1056
    if 2 * batch * -(-channels // 16) >= 1056:
        return 16, 2, 1, 1056
    return 32, 2, 1, 2112


# Softmax attention: width of a head -> (queries, keys, warps) forward and backward.
SOFTMAX: dict[str, dict[int, tuple[Sizes, Sizes]]] = {
    "half": {64: ((128, 64, 8), (64, 64, 8)), 128: ((128, 64, 8), (64, 32, 8))},
    "float32": {64: ((32, 32, 8), (32, 16, 8)), 128: ((32, 16, 8), (32, 16, 4))},
    "float64": {64: ((16, 16, 4), (16, 16, 4)), 128: ((16, 16, 8), (16, 16, 8))},
}


def softmax_tile(arch: int, dtype: str, K: int, V: int, grad: bool) -> Tile:
    """The tile of streamed softmax attention: rows are queries, columns keys."""
    kind = "half" if dtype in ("float16", "bfloat16") else dtype
    width = power_of_two(max(K, V))
    rows, columns, warps = SOFTMAX[kind][64 if width <= 64 else 128][grad]
    if width > 128:
        rows, columns = max(16, rows // 2), max(16, columns // 2)
    stages = 2 if kind == "half" and not grad else 1
    return Tile(rows, columns, warps, stages, dtype)
