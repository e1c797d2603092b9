"""Sweeps over a matrix state in explicit vector instructions, and how wide they are.

The compiler leaves half of the speed here: it checks for overlapping arrays and spills its sums.
These functions are written as vectors of LLVM instead; their sums stay in registers.  The lanes are
what the CPU has, or what DSF_SIMD says (avx512, avx2 or none); the number of lanes goes into a
kernel as the length of a tuple, so that each width is compiled and kept on its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.core.errors import KernelError

BYTES = {"avx512": 64, "avx2": 32, "none": 0}  # of a vector register


def lanes(dtype: np.dtype) -> tuple[int, ...]:
    """A tuple as long as a vector of this dtype; one lane without vectors.

    Raises KernelError for another value of DSF_SIMD.
    """
    name = os.environ.get("DSF_SIMD") or _widest()
    if name not in BYTES:
        raise KernelError(f"DSF_SIMD={name!r} is unknown: one of {', '.join(BYTES)}")
    return (0,) * max(1, BYTES[name] // dtype.itemsize)


@cache  # asking takes 0.1 ms
def _widest() -> str:
    has = llvm.get_host_cpu_features()
    found = (name for name, key in (("avx512", "avx512f"), ("avx2", "avx2")) if has.get(key))
    return next(found, "none")


class Code:
    """What vector code is made of: pointers into arrays, broadcasts, fused multiply-adds."""

    def __init__(self, context: Any, build: Any, signature: Any, args: Any) -> None:
        self.build = build
        self.width = signature.args[-1].count
        kinds = zip(signature.args, args, strict=True)
        self.args = [
            context.make_array(kind)(context, build, x) if isinstance(kind, types.Array) else x
            for kind, x in kinds
        ]
        self.scalar = self.args[0].data.type.pointee
        self.bytes = 4 if isinstance(self.scalar, ir.FloatType) else 8
        self.vector = ir.VectorType(self.scalar, self.width)

    def place(self, array: Any, indices: Sequence[Any], kind: Any) -> Any:
        """A pointer to an entry of an array, by its strides."""
        strides = cgutils.unpack_tuple(self.build, array.strides)
        offset = ir.Constant(strides[0].type, 0)
        for index, stride in zip(indices, strides, strict=True):
            offset = self.build.add(offset, self.build.mul(index, stride))
        raw = self.build.bitcast(array.data, ir.IntType(8).as_pointer())
        return self.build.bitcast(self.build.gep(raw, [offset]), kind.as_pointer())

    def load(self, array: Any, *indices: Any) -> Any:
        """A vector of entries that lie side by side."""
        found = self.build.load(self.place(array, indices, self.vector))
        found.align = self.bytes
        return found

    def store(self, value: Any, array: Any, *indices: Any) -> None:
        self.build.store(value, self.place(array, indices, self.vector)).align = self.bytes

    def spread(self, array: Any, *indices: Any) -> Any:
        """One entry in every lane."""
        return self.all(self.build.load(self.place(array, indices, self.scalar)))

    def all(self, x: Any) -> Any:
        """A number in every lane."""
        none = ir.Constant(self.vector, ir.Undefined)
        one = self.build.insert_element(none, x, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return self.build.shuffle_vector(one, none, mask)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        name = f"llvm.fma.v{self.width}f{8 * self.bytes}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.build.module, kind, name)
        return self.build.call(function, [a, b, c])

    def zero(self) -> Any:
        return ir.Constant(self.vector, [0.0] * self.width)

    def slot(self, value: Any) -> Any:
        """A variable; the optimiser keeps it in a register."""
        place = cgutils.alloca_once(self.build, self.vector)
        self.build.store(value, place)
        return place

    def add(self, slot: Any, a: Any, b: Any) -> None:
        """slot += a b."""
        self.build.store(self.fma(a, b, self.build.load(slot)), slot)

    def index(self, i: int) -> Any:
        return ir.Constant(ir.IntType(64), i)

    def vectors(self, size: Any) -> Any:
        """The loop over vectors that cover so many entries: gives the first entry of each."""
        step = ir.Constant(size.type, self.width)
        return _index_alone(
            cgutils.for_range_slice(self.build, ir.Constant(size.type, 0), size, step)
        )

    def pair_sums(self, a: Any, b: Any, apart: int) -> Any:
        """Sums of lanes so far apart: those of a where the lane has this bit not set, else of b."""
        kind, lanes = ir.VectorType(ir.IntType(32), self.width), range(self.width)
        source = [self.width if i & apart else 0 for i in lanes]
        own = ir.Constant(kind, [n + i for n, i in zip(source, lanes, strict=True)])
        other = ir.Constant(kind, [n + (i ^ apart) for n, i in zip(source, lanes, strict=True)])
        return self.build.fadd(
            self.build.shuffle_vector(a, b, own), self.build.shuffle_vector(a, b, other)
        )

    def columns(self, V: Any, body: Callable[[list[Any]], None], most: int = 4) -> None:
        """body(places of vectors of columns), several at once while there are as many, then one.

        At most so many, and half as many where there are half as many registers.
        """
        many = most if self.width * self.bytes == 64 else most // 2
        one, whole = ir.Constant(V.type, self.width), ir.Constant(V.type, many * self.width)
        split = self.build.sub(V, self.build.srem(V, whole))
        for start, stop, step, count in (
            (ir.Constant(V.type, 0), split, whole, many), (split, V, one, 1),
        ):  # fmt: skip
            with cgutils.for_range_slice(self.build, start, stop, step) as (j, _):
                ends = (ir.Constant(V.type, u * self.width) for u in range(count))
                body([self.build.add(j, end) for end in ends])


@contextmanager
def _index_alone(loop: Any) -> Iterator[Any]:
    with loop as (index, _):
        yield index


def _linear(before: bool) -> Any:
    """S <- w S + k x', y = S' q for one step; w, k, q [K], x, y [V]."""

    @intrinsic
    def sweep(
        context: Any, S: Any, w: Any, k: Any, q: Any, x: Any, y: Any, K: Any, V: Any, lanes: Any
    ) -> Any:
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = Code(context, build, signature, args)
            S, w, k, q, x, y, K, V, _ = c.args

            def body(places: list[Any]) -> None:
                values = [c.load(x, j) for j in places]
                sums = [c.slot(c.zero()) for _ in places]
                with cgutils.for_range(build, K) as loop:
                    i = loop.index
                    decay, key, query = (c.spread(z, i) for z in (w, k, q))
                    for value, total, j in zip(values, sums, places, strict=True):
                        state = c.load(S, i, j)
                        new = c.fma(key, value, build.fmul(decay, state))
                        c.add(total, query, state if before else new)
                        c.store(new, S, i, j)
                for total, j in zip(sums, places, strict=True):
                    c.store(build.load(total), y, j)

            c.columns(V, body)
            return context.get_dummy_value()

        return types.void(S, w, k, q, x, y, K, V, lanes), code

    return sweep


linear, linear_before = _linear(False), _linear(True)


@intrinsic
def low_rank(
    context: Any, S: Any, w: Any, b: Any, k: Any, q: Any, a: Any, x: Any, seen: Any, y: Any,
    K: Any, V: Any, lanes: Any,
) -> Any:  # fmt: skip
    """S <- w S + b seen' + k x', y = S' q, then seen = S' a with the a of the next step.

    w, b, k, q, a [K], x, seen, y [V].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        S, w, b, k, q, a, x, seen, y, K, V, _ = c.args

        def body(places: list[Any]) -> None:
            values, old = ([c.load(z, j) for j in places] for z in (x, seen))
            out, following = ([c.slot(c.zero()) for _ in places] for _ in range(2))
            with cgutils.for_range(build, K) as loop:
                i = loop.index
                decay, change, key, query, ahead = (c.spread(z, i) for z in (w, b, k, q, a))
                for e, j in enumerate(places):
                    new = build.fmul(decay, c.load(S, i, j))
                    new = c.fma(change, old[e], new)
                    new = c.fma(key, values[e], new)
                    c.store(new, S, i, j)
                    c.add(out[e], query, new)
                    c.add(following[e], ahead, new)
            for e, j in enumerate(places):
                c.store(build.load(out[e]), y, j)
                c.store(build.load(following[e]), seen, j)

        c.columns(V, body)
        return context.get_dummy_value()

    return types.void(S, w, b, k, q, a, x, seen, y, K, V, lanes), code
