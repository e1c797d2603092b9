"""2^x for kernels, in vector instructions: a polynomial, which `np.exp` in compiled code is not.

x = n / 8 + f with |f| <= 1/16; 2^(n/8) is an entry of a table, whose exponent is changed in its
bits, and 2^f a polynomial: Taylor's with a term more than is used, of which Chebyshev's polynomial
of this degree is taken away.  Results below 2^-125 (float64: 2^-1021) are 0, and so is 2^-inf; NaN
stays NaN.  The relative error is below two units (a test), and the bits are the same on all widths.
numba's files of compiled code do not see changes in this file: `make clean` deletes them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial import chebyshev

from dsf.kernels.vectors import Code

LOG2E = 1 / math.log(2)
PARTS = 8  # of a power of two: as many as a vector of AVX2 holds, or of AVX-512 in float64
DEGREE = {32: 3, 64: 7}
LEAST, MOST = {32: -125.0, 64: -1021.0}, {32: 128.0, 64: 1024.0}
MANTISSA = {32: 23, 64: 52}


@cache
def polynomial(bits: int) -> list[float]:
    """Coefficients of 2 * 2^f for |f| <= 1 / (2 PARTS), the lowest one first."""
    end, degree = 0.5 / PARTS, DEGREE[bits]
    taylor = [(math.log(2) * end) ** i / math.factorial(i) for i in range(degree + 2)]
    last = chebyshev.cheb2poly([0.0] * (degree + 1) + [1.0])
    less = taylor[-1] / last[-1]
    pairs = enumerate(zip(taylor, last, strict=True))
    return [float(2 * (c - less * t) / end**i) for i, (c, t) in pairs][:-1]


@cache
def table(bits: int) -> list[int]:
    """The bits of 2^(j/8) / 2, less what j itself adds to them above its lowest three bits."""
    kind = np.dtype(f"i{bits // 8}")
    numbers = np.exp2(np.arange(PARTS, dtype=np.longdouble) / PARTS - 1).astype(f"f{bits // 8}")
    shift = MANTISSA[bits] - PARTS.bit_length() + 1
    return [int(x) - (j << shift) for j, x in enumerate(numbers.view(kind))]


def exponential(c: Code, x: Any, small: bool = False) -> Any:
    """2^x of a vector; `small` says that no result is infinite."""
    bits = 8 * c.bytes
    whole = ir.VectorType(ir.IntType(bits), c.width)
    shift = MANTISSA[bits] - PARTS.bit_length() + 1
    # A number so large has no places after the point: its lowest bits are those of n.  Where x is
    # below the range, what follows is any number, and not taken.
    large = _all(c, 1.5 * 2.0 ** MANTISSA[bits])
    y = x
    if not small:
        most = _all(c, MOST[bits])
        y = c.build.select(c.build.fcmp_ordered("<", most, x), most, x)
    sum_ = c.fma(y, _all(c, PARTS), large)
    f = c.fma(c.build.fsub(sum_, large), _all(c, -1 / PARTS), y)
    n = c.build.bitcast(sum_, whole)
    power = c.build.add(_entries(c, n), c.build.shl(n, ir.Constant(whole, [shift] * c.width)))
    terms = polynomial(bits)
    p = _all(c, terms[-1])
    for term in reversed(terms[:-1]):
        p = c.fma(p, f, _all(c, term))
    p = c.build.fmul(p, c.build.bitcast(power, c.vector))
    return c.build.select(c.build.fcmp_ordered("<", x, _all(c, LEAST[bits])), c.zero(), p)


def _all(c: Code, number: float) -> Any:
    return ir.Constant(c.vector, [float(number)] * c.width)


def _entries(c: Code, n: Any) -> Any:
    """The entries of the table that the lowest three bits of n tell, by one instruction if any."""
    bits, entries = 8 * c.bytes, table(8 * c.bytes)
    has, size = llvm.get_host_cpu_features(), c.width * c.bytes
    if size == 64 and has.get("avx512f"):
        name = f"llvm.x86.avx512.permvar.{'si' if bits == 32 else 'di'}.512"
    elif size == 32 and bits == 32 and has.get("avx2"):
        name = "llvm.x86.avx2.permd"
    else:
        return _one_by_one(c, n, entries)
    held = ir.Constant(n.type, [entries[i % PARTS] for i in range(c.width)])
    kind = ir.FunctionType(n.type, [n.type, n.type])
    function = cgutils.get_or_insert_function(c.build.module, kind, name)
    return c.build.call(function, [held, n])


def _one_by_one(c: Code, n: Any, entries: list[int]) -> Any:
    kind = ir.ArrayType(n.type.element, PARTS)
    held = cgutils.global_constant(
        c.build.module, f"powers_{8 * c.bytes}", ir.Constant(kind, entries)
    )
    n = c.build.and_(n, ir.Constant(n.type, [PARTS - 1] * c.width))
    found, number = ir.Constant(n.type, ir.Undefined), ir.IntType(32)
    for lane in map(number, range(c.width)):
        place = c.build.gep(held, [number(0), c.build.extract_element(n, lane)])
        found = c.build.insert_element(found, c.build.load(place), lane)
    return found


@intrinsic
def powers(context: Any, P: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """P <- 2^P; columns count in whole vectors."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        P, rows, columns, _ = c.args

        with cgutils.for_range(build, rows) as loop:
            j = loop.index

            def body(places: list[Any]) -> None:
                for place in places:
                    c.store(exponential(c, c.load(P, j, place)), P, j, place)

            c.columns(columns, body)
        return context.get_dummy_value()

    return types.void(P, rows, columns, lanes), code
