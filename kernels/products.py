"""C += A B of small blocks, in vector instructions: the sums stay in registers.

Every entry of C is summed in the order of the inner index, whatever the width of the vectors, so
its bits are the same on all of them.  See `vectors` for how they are made.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import intrinsic, register_jitable
from numba.np import arrayobj

from dsf.kernels.compiled import part
from dsf.kernels.vectors import Code

ROWS = 4  # of C that are summed at once


@register_jitable
def _vectors(size: int) -> int:
    """How many vectors of so many bytes a tile is wide: sums, row and column fit the registers."""
    return 4 if size == 64 else 2


def _tile(rows: int, many: bool) -> Any:
    """C[i:i+rows, j:j+width] += A[i:i+rows] B[:, j:j+width], one vector wide or as many as fit."""

    @intrinsic
    def tile(context: Any, C: Any, A: Any, B: Any, i: Any, j: Any, inner: Any, lanes: Any) -> Any:
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = Code(context, build, signature, args)
            C, A, B, i, j, inner, _ = c.args
            vectors = _vectors(c.width * c.bytes) if many else 1
            at = [build.add(i, ir.Constant(i.type, r)) for r in range(rows)]
            to = [build.add(j, ir.Constant(j.type, u * c.width)) for u in range(vectors)]
            sums = [[c.slot(c.load(C, a, b)) for b in to] for a in at]
            with cgutils.for_range(build, inner) as loop:
                values = [c.load(B, loop.index, b) for b in to]
                for a, totals in zip(at, sums, strict=True):
                    x = c.spread(A, a, loop.index)
                    for value, total in zip(values, totals, strict=True):
                        c.add(total, x, value)
            for a, totals in zip(at, sums, strict=True):
                for b, total in zip(to, totals, strict=True):
                    c.store(build.load(total), C, a, b)
            return context.get_dummy_value()

        return types.void(C, A, B, i, j, inner, lanes), code

    return tile


_block, _rows = _tile(ROWS, True), _tile(1, True)
_column, _one = _tile(ROWS, False), _tile(1, False)


@intrinsic
def _strided(context: Any, x: Any) -> Any:
    """The same array, of which no more is known than its strides: not even that it is read only."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        return impl_ret_borrowed(context, build, signature.return_type, args[0])

    return types.Array(x.dtype, x.ndim, "A")(x), code


@numba.njit(inline="always")
def product(
    C: Any, A: Any, B: Any, rows: int, inner: int, columns: int, lanes: tuple[int, ...]
) -> None:
    """C[:rows, :columns] += A[:rows, :inner] B[:inner, :columns].

    Columns lie side by side in B and C, and count in whole vectors; A has any strides.  Compiled
    once, and not for every order in memory: it asks for strides only.
    """
    _product(_strided(C), _strided(A), _strided(B), rows, inner, columns, lanes)


@part
def _product(
    C: Any, A: Any, B: Any, rows: int, inner: int, columns: int, lanes: tuple[int, ...]
) -> None:
    W = len(lanes)
    wide = _vectors(W * C.itemsize) * W
    whole = rows - rows % ROWS
    j = 0
    while j < columns:
        if columns - j >= wide:
            for i in range(0, whole, ROWS):
                _block(C, A, B, i, j, inner, lanes)
            for i in range(whole, rows):
                _rows(C, A, B, i, j, inner, lanes)
            j += wide
        else:
            for i in range(0, whole, ROWS):
                _column(C, A, B, i, j, inner, lanes)
            for i in range(whole, rows):
                _one(C, A, B, i, j, inner, lanes)
            j += W


LINE = 64  # bytes of a line of the cache


@intrinsic
def scratch(context: Any, shape: Any, like: Any) -> Any:
    """Zeros of the dtype of `like`, an array or a dtype, that begin with a line of the cache.

    A vector of 64 bytes then never lies across two lines, which costs a fifth of a product.  Made
    here, because np.zeros takes half a second to compile for every number of dimensions.
    """
    kind = types.Array(like.dtype, len(shape), "C")

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, build)
        sizes = cgutils.unpack_tuple(build, args[0])
        item = ir.Constant(sizes[0].type, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        strides = [item]
        for size in reversed(sizes):
            strides.insert(0, build.mul(size, strides[0]))
        memory = context.nrt.meminfo_alloc_aligned(build, strides[0], LINE)
        data = context.nrt.meminfo_data(build, memory)
        cgutils.memset(build, data, strides[0], 0)
        arrayobj.populate_array(
            array, build.bitcast(data, array.data.type), sizes, strides[1:], item, memory
        )
        return impl_ret_new_ref(context, build, kind, array._getvalue())

    return kind(shape, like), code


AHEAD = 32  # rows from the one that is read to the one that is fetched


@intrinsic
def fetch(context: Any, source: Any, i: Any, size: Any) -> Any:
    """Ask for source[i, :size] without waiting: no CPU guesses rows that lie far apart.

    A row that does not exist does no harm.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, build, args[0])
        stride = cgutils.unpack_tuple(build, array.strides)[0]
        start = build.ptrtoint(array.data, stride.type)
        start = build.add(start, build.mul(args[1], stride))
        item = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        stop = build.mul(args[2], ir.Constant(args[2].type, item))
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = cgutils.get_or_insert_function(build.module, kind, name)
        line, none = ir.Constant(stop.type, 64), ir.Constant(stop.type, 0)
        with cgutils.for_range_slice(build, none, stop, line) as (offset, _):
            place = build.inttoptr(build.add(start, offset), byte)
            build.call(function, [place, *(ir.Constant(number, x) for x in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(source, i, size), code


@intrinsic
def _copy(context: Any, target: Any, source: Any, i: Any, size: Any) -> Any:
    """target[i, :size] = source[i, :size], both side by side in memory."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[:2]
        to, start = (
            context.make_array(kind)(context, build, x)
            for kind, x in zip(kinds, args[:2], strict=True)
        )
        places = []
        for array in (to, start):
            stride = cgutils.unpack_tuple(build, array.strides)[0]
            raw = build.bitcast(array.data, ir.IntType(8).as_pointer())
            places.append(build.gep(raw, [build.mul(args[2], stride)]))
        item = context.get_abi_sizeof(context.get_data_type(kinds[0].dtype))
        cgutils.raw_memcpy(build, places[0], places[1], args[3], item)
        return context.get_dummy_value()

    return types.void(target, source, i, size), code


@part
def copy_rows(target: Any, source: Any, rows: int, size: int) -> None:
    """target[:rows, :size] = source[:rows, :size]; a row of the target is one piece of memory."""
    if source.strides[1] == source.itemsize:
        for i in range(rows):
            _copy(target, source, i, size)
    elif source.strides[1] == 0:
        for i in range(rows):
            target[i, :size] = source[i, 0]
    else:
        for i in range(rows):
            for d in range(size):
                target[i, d] = source[i, d]
