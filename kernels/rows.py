"""Rows of a head in and out of arrays [B L H N], without views.

Making a view counts a reference, twice: for a few rows that takes longer than to copy them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code

LINE = 64  # bytes of a line of the cache


def _entry(c: Code, array: Any, b: Any, t: Any, h: Any, i: Any) -> Any:
    return c.place(array, (b, t, h, i), c.scalar)


def _row(c: Code, array: Any, slot: Any, s: Any) -> list[Any]:
    """The indices of row s from `slot` on, which is a slot of rows, or a row where none are."""
    several = len(cgutils.unpack_tuple(c.build, array.shape)) == 3
    return [slot, s] if several else [c.build.add(slot, s)]


@intrinsic
def take(
    context: Any, target: Any, slot: Any, source: Any, b: Any, t: Any, h: Any, start: Any,
    rows: Any, size: Any, lanes: Any,
) -> Any:  # fmt: skip
    """target[slot, s, :size] = source[b, t + s, h, start : start + size] for s < rows.

    A target of two axes has row slot + s.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        target, slot, source, b, t, h, start, rows, size, _ = c.args
        stride = cgutils.unpack_tuple(build, source.strides)[3]
        beside, same = (
            build.icmp_signed("==", stride, ir.Constant(stride.type, n)) for n in (c.bytes, 0)
        )
        rest = build.srem(size, ir.Constant(size.type, c.width))
        some = build.or_(beside, same)
        whole = build.select(some, build.sub(size, rest), ir.Constant(size.type, 0))
        with cgutils.for_range(build, rows) as loop:
            at, row = _row(c, target, slot, loop.index), build.add(t, loop.index)
            with build.if_else(same) as (one, several):
                with one:
                    x = c.spread(source, b, row, h, start)
                    with c.vectors(whole) as j:
                        c.store(x, target, *at, j)
                with several, c.vectors(whole) as j:
                    c.store(c.load(source, b, row, h, build.add(start, j)), target, *at, j)
            with cgutils.for_range_slice(build, whole, size, ir.Constant(size.type, 1)) as (j, _):
                x = build.load(_entry(c, source, b, row, h, build.add(start, j)))
                build.store(x, c.place(target, (*at, j), c.scalar))
        return context.get_dummy_value()

    return types.void(target, slot, source, b, t, h, start, rows, size, lanes), code


@intrinsic
def give(
    context: Any, target: Any, b: Any, t: Any, h: Any, start: Any, source: Any, slot: Any,
    rows: Any, size: Any, scale: Any, lanes: Any,
) -> Any:  # fmt: skip
    """target[b, t + s, h, start : start + size] = scale source[slot, s, :size] for s < rows.

    Rows of the target lie in one piece.  A source of two axes has row slot + s.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        target, b, t, h, start, source, slot, rows, size, scale, _ = c.args
        factor = c.all(scale)
        whole = build.sub(size, build.srem(size, ir.Constant(size.type, c.width)))
        with cgutils.for_range(build, rows) as loop:
            at, row = _row(c, source, slot, loop.index), build.add(t, loop.index)
            with c.vectors(whole) as j:
                x = build.fmul(factor, c.load(source, *at, j))
                c.store(x, target, b, row, h, build.add(start, j))
            with cgutils.for_range_slice(build, whole, size, ir.Constant(size.type, 1)) as (j, _):
                x = build.fmul(scale, build.load(c.place(source, (*at, j), c.scalar)))
                build.store(x, _entry(c, target, b, row, h, build.add(start, j)))
        return context.get_dummy_value()

    return types.void(target, b, t, h, start, source, slot, rows, size, scale, lanes), code


def ask(c: Code, source: Any, b: Any, t: Any, h: Any, start: Any, size: Any) -> None:
    """Code that asks for source[b, t, h, start : start + size] without waiting."""
    build, number, byte = c.build, ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = cgutils.get_or_insert_function(build.module, kind, "llvm.prefetch.p0")
    zero, step = (ir.Constant(size.type, n) for n in (0, LINE // c.bytes))
    with cgutils.for_range_slice(build, zero, size, step) as (j, _):
        place = build.bitcast(_entry(c, source, b, t, h, build.add(start, j)), byte)
        build.call(prefetch, [place, *(ir.Constant(number, x) for x in (0, 3, 1))])


@intrinsic
def fetch(
    context: Any, source: Any, b: Any, t: Any, h: Any, start: Any, rows: Any, size: Any, lanes: Any
) -> Any:
    """Ask for source[b, t + s, h, start : start + size], s < rows, without waiting.

    Rows that do not exist do no harm.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        source, b, t, h, start, rows, size, _ = c.args
        with cgutils.for_range(build, rows) as loop:
            ask(c, source, b, build.add(t, loop.index), h, start, size)
        return context.get_dummy_value()

    return types.void(source, b, t, h, start, rows, size, lanes), code
