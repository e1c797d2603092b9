"""Streamed softmax attention on one block of keys, in vector instructions; see `vectors`.

Logits have their queries in the lanes, outputs their channels, so that no sum runs across a vector.
Each sum goes in the order of its inner index, whatever the width of the vectors: its bits are the
same on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.exponential import exponential
from dsf.kernels.rows import ask
from dsf.kernels.vectors import Code

ROWS = 8  # of a tile, at most: each of them is spread for every vector of its row


def _tiles(
    c: Code, first_row: Any, last_row: Any, first: Any, last: Any,
    body: Callable[[list[Any], list[Any]], None], before: Callable[[Any], None],
) -> None:  # fmt: skip
    """body(rows, places of vectors) over tiles that cover first_row .. last_row, first .. last.

    As many sums as keep the multipliers busy and fit the registers.  before(number of a tile in
    its column) goes ahead of each: a few lines asked for there cost nothing, while many at once
    wait for each other.
    """
    build, sums = c.build, 16 if c.width * c.bytes == 64 else 8
    vectors, start = 4 if sums == 16 else 2, first
    while vectors:
        step = ir.Constant(first.type, vectors * c.width)
        stop = build.sub(last, build.srem(build.sub(last, start), step))
        many = min(ROWS, sums // vectors)
        whole = build.srem(build.sub(last_row, first_row), ir.Constant(first_row.type, many))
        whole = build.sub(last_row, whole)
        with cgutils.for_range_slice(build, start, stop, step) as (j, _):
            to = [build.add(j, ir.Constant(j.type, u * c.width)) for u in range(vectors)]
            for begin, end, count in ((first_row, whole, many), (whole, last_row, 1)):
                height = ir.Constant(begin.type, count)
                with cgutils.for_range_slice(build, begin, end, height) as (i, _):
                    before(build.sdiv(build.sub(i, first_row), height))
                    body([build.add(i, ir.Constant(i.type, r)) for r in range(count)], to)
        start, vectors = stop, vectors // 2


def _sums(
    c: Code, inner: Any, at: list[Any], to: list[Any],
    spread: Callable[[Any, Any], Any], load: Callable[[Any, Any], Any],
) -> list[list[Any]]:  # fmt: skip
    """sum_i spread(row, i) load(place, i), i < inner, of all rows `at` and places `to`."""
    build = c.build
    sums = [[c.slot(c.zero()) for _ in to] for _ in at]
    with cgutils.for_range(build, inner) as loop:
        values = [load(place, loop.index) for place in to]
        for row, totals in zip(at, sums, strict=True):
            x = spread(row, loop.index)
            for value, total in zip(values, totals, strict=True):
                c.add(total, x, value)
    return [[build.load(total) for total in totals] for totals in sums]


def _ask(c: Code, source: Any, b: Any, t: Any, h: Any, tile: Any, each: Any, size: Any) -> None:
    """Ask for the rows of a tile, so many `each`, of those from source[b, t, h, :size] on."""
    row = c.build.add(t, c.build.mul(tile, each))
    with cgutils.for_range(c.build, each) as loop:
        ask(c, source, b, c.build.add(row, loop.index), h, ir.Constant(size.type, 0), size)


@intrinsic
def scores(
    context: Any, P: Any, keys: Any, Q: Any, e: Any, rows: Any, K: Any, first: Any, last: Any,
    k: Any, b: Any, t: Any, g: Any, each: Any, lanes: Any,
) -> Any:  # fmt: skip
    """P[:rows, first:last] = keys[0, :rows, :K] Q[e, :K, first:last], in whole vectors.

    Meanwhile asks for the rows k[b, t, g] and after, which come next: so many ahead of each tile.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        P, keys, Q, e, rows, K, first, last, k, b, t, g, each, _ = c.args
        zero = ir.Constant(rows.type, 0)

        def key(j: Any, d: Any) -> Any:
            return c.spread(keys, zero, j, d)

        def queries(m: Any, d: Any) -> Any:
            return c.load(Q, e, d, m)

        def body(at: list[Any], to: list[Any]) -> None:
            for j, totals in zip(at, _sums(c, K, at, to, key, queries), strict=True):
                for m, total in zip(to, totals, strict=True):
                    c.store(total, P, j, m)

        def ahead(i: Any) -> None:
            _ask(c, k, b, t, g, i, each, K)

        _tiles(c, zero, rows, first, last, body, ahead)
        return context.get_dummy_value()

    return types.void(P, keys, Q, e, rows, K, first, last, k, b, t, g, each, lanes), code


@intrinsic
def gather(
    context: Any, Y: Any, e: Any, P: Any, values: Any, shrink: Any, first: Any, last: Any,
    rows: Any, V: Any, v: Any, b: Any, t: Any, g: Any, each: Any, lanes: Any,
) -> Any:  # fmt: skip
    """Y[e, m, :V] = shrink[0, m] Y[e, m, :V] + sum_j P[j, m] values[0, j, :V], first <= m < last.

    j < rows; V counts in whole vectors.  Meanwhile asks for rows of v.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        Y, e, P, values, shrink, first, last, rows, V, v, b, t, g, each, _ = c.args
        zero = ir.Constant(first.type, 0)

        def weight(m: Any, j: Any) -> Any:
            return c.spread(P, j, m)

        def value(d: Any, j: Any) -> Any:
            return c.load(values, zero, j, d)

        def body(at: list[Any], to: list[Any]) -> None:
            for m, totals in zip(at, _sums(c, rows, at, to, weight, value), strict=True):
                less = c.spread(shrink, zero, m)
                for d, total in zip(to, totals, strict=True):
                    c.store(c.fma(less, c.load(Y, e, m, d), total), Y, e, m, d)

        def ahead(i: Any) -> None:
            _ask(c, v, b, t, g, i, each, V)

        _tiles(c, first, last, zero, V, body, ahead)
        return context.get_dummy_value()

    return types.void(Y, e, P, values, shrink, first, last, rows, V, v, b, t, g, each, lanes), code


@intrinsic
def online(
    context: Any, P: Any, top: Any, total: Any, shrink: Any, e: Any, rows: Any, first: Any,
    last: Any, lanes: Any,
) -> Any:  # fmt: skip
    """P <- 2^(P - new), total <- shrink total + sum_j P_j, with new = max(top, max_j P_j).

    P [rows columns], logits of keys by queries in base 2, lanes are the queries first .. last-1;
    top, total [. columns] have them in row e, and shrink [1 columns] = 2^(top - new); top <- new.
    A query that has seen no key keeps top = -inf and gets zeros.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        P, top, total, shrink, e, rows, first, last, _ = c.args
        zero = ir.Constant(rows.type, 0)
        lowest = ir.Constant(c.vector, [-math.inf] * c.width)

        def body(places: list[Any]) -> None:
            places = [build.add(first, m) for m in places]
            olds = [c.load(top, e, m) for m in places]
            largest = [c.slot(old) for old in olds]
            with cgutils.for_range(build, rows) as loop:
                for slot, m in zip(largest, places, strict=True):
                    x, best = c.load(P, loop.index, m), build.load(slot)
                    above = build.fcmp_ordered(">", x, best)
                    build.store(build.select(above, x, best), slot)
            bases, sums = [], []
            for slot, old, m in zip(largest, olds, places, strict=True):
                new = build.load(slot)
                c.store(new, top, e, m)
                base = build.select(build.fcmp_ordered("==", new, lowest), c.zero(), new)
                less = exponential(c, build.fsub(old, base), small=True)
                c.store(less, shrink, zero, m)
                bases.append(base)
                sums.append(c.slot(build.fmul(c.load(total, e, m), less)))
            with cgutils.for_range(build, rows) as loop:
                for base, slot, m in zip(bases, sums, places, strict=True):
                    p = exponential(c, build.fsub(c.load(P, loop.index, m), base), small=True)
                    c.store(p, P, loop.index, m)
                    build.store(build.fadd(build.load(slot), p), slot)
            for slot, m in zip(sums, places, strict=True):
                c.store(build.load(slot), total, e, m)

        c.columns(build.sub(last, first), body)
        return context.get_dummy_value()

    return types.void(P, top, total, shrink, e, rows, first, last, lanes), code


def _exchanged(c: Code, a: Any, b: Any, apart: int) -> tuple[Any, Any]:
    """The upper lanes of a and the lower ones of b change places, in pairs so far apart."""
    kind, lanes = ir.VectorType(ir.IntType(32), c.width), range(c.width)
    low = [c.width + i - apart if i & apart else i for i in lanes]
    high = [c.width + i if i & apart else i + apart for i in lanes]
    x, y = (c.build.shuffle_vector(a, b, ir.Constant(kind, n)) for n in (low, high))
    return x, y


@intrinsic
def turned(
    context: Any, target: Any, e: Any, source: Any, rows: Any, size: Any, factor: Any, lanes: Any
) -> Any:
    """target[e, d, m] = factor source[0, m, d] for m < rows, d < size, both in whole vectors."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        target, e, source, rows, size, factor, _ = c.args
        factor, numbers = c.all(factor), range(c.width)
        with c.vectors(rows) as m, c.vectors(size) as d:
            at, to = ([build.add(x, ir.Constant(x.type, i)) for i in numbers] for x in (m, d))
            lines = [build.fmul(factor, c.load(source, ir.Constant(i.type, 0), i, d)) for i in at]
            apart = 1
            while apart < c.width:  # change places of the halves that lie so far off the diagonal
                for i in numbers:
                    if not i & apart:
                        a, b = lines[i], lines[i + apart]
                        lines[i], lines[i + apart] = _exchanged(c, a, b, apart)
                apart *= 2
            for i, line in zip(to, lines, strict=True):
                c.store(line, target, e, i, m)
        return context.get_dummy_value()

    return types.void(target, e, source, rows, size, factor, lanes), code
