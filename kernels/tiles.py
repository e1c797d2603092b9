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


def linear_tile(arch: int, dtype: str, K: int, V: int, channels: bool, grad: bool) -> Tile:
    """The tile of linear attention; `channels`: one decay per channel, which walks 16 rows."""
    width, half = power_of_two(K), dtype in ("float16", "bfloat16")
    product = {"dot": "float32", "precision": "tf32"} if half else {"dot": accumulator(dtype)}
    # The state, width x columns, stays in registers.
    state = 2048 if dtype == "float64" else 4096 if grad or not half else 8192
    columns = min(power_of_two(V), max(16, state // width))
    if channels:
        return Tile(16, columns, 4, **product)
    if dtype == "float64":
        return Tile(16, columns, 4, **product)
    if not half:
        return Tile(32, columns, 4 if width <= 64 else 8, **product)
    return Tile(64 if not grad or width <= 64 else 32, columns, 4 if width <= 64 else 8, **product)


def segments(L: int, rows: int, programs: int, most: int | None = None, wanted: int = 264) -> Any:
    """(number of segments, rows of one): how a sequence is split so that every processor works.

    A function of sizes alone.  `most` bounds the rows of a segment; without it few, long ones.
    """
    least = 8 * rows
    number = -(-L // most) if most else 1 if 2 * programs >= wanted else -(-wanted // programs)
    length = max(least, -(-L // max(number, 1)))
    length = -(-length // rows) * rows
    return max(1, -(-L // length)), length
