"""2^x for kernels, in vector instructions: a polynomial, which `np.exp` in compiled code is not.

x = n + f with |f| <= 1/2; 2^f by a Taylor polynomial of f log 2, times 2^n.  Results below 2^-125
(float64: 2^-1021) are 0, and so is 2^-inf; NaN stays NaN.  The relative error is below two units
(a test).  AVX-512 has instructions for f and for the product with 2^n; elsewhere n becomes the
bits of a float; the results are the same.  numba's files of compiled code do not see changes in
this file: delete them (`make clean`) after one.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code

LOG2E = 1 / math.log(2)
DEGREE = {32: 7, 64: 13}
LEAST, MOST = {32: -125.0, 64: -1021.0}, {32: 128.0, 64: 1024.0}
NEAREST, AS_SET = 8, 4  # operands of the instructions: round to nearest, in the usual mode


@cache
def _has_instructions() -> bool:
    features = llvm.get_host_cpu_features()
    return bool(features.get("avx512f") and features.get("avx512dq"))


def exponential(c: Code, x: Any) -> Any:
    """2^x of a vector."""
    bits = 8 * c.bytes
    n = _call(c, "rint", x)
    by_instructions = c.width * c.bytes == 64 and _has_instructions()
    if by_instructions:
        f = _avx512(c, "reduce", x, ir.IntType(32)(NEAREST))
    else:
        y = _clamped(c, x, LEAST[bits], MOST[bits])
        n = _call(c, "rint", y)
        f = c.build.fsub(y, n)
    # of 2 * 2^f without instructions: its n may be one above the exponents
    twice = 1 if by_instructions else 2
    terms = [twice * math.log(2) ** i / math.factorial(i) for i in range(DEGREE[bits] + 1)]
    p = _all(c, terms[-1])
    for term in reversed(terms[:-1]):
        p = c.fma(p, f, _all(c, term))
    if by_instructions:
        p = _avx512(c, "scalef", p, n)
    else:
        p = c.build.fmul(p, _half_power(c, n))
    p = c.build.select(_is(c, x, "<", LEAST[bits]), c.zero(), p)
    return c.build.select(c.build.fcmp_unordered("uno", x, x), x, p)


def _all(c: Code, number: float) -> Any:
    return ir.Constant(c.vector, [number] * c.width)


def _is(c: Code, x: Any, sign: str, number: float) -> Any:
    return c.build.fcmp_ordered(sign, x, _all(c, number))


def _clamped(c: Code, x: Any, low: float, high: float) -> Any:
    x = c.build.select(_is(c, x, ">", low), x, _all(c, low))
    return c.build.select(_is(c, x, "<", high), x, _all(c, high))


def _call(c: Code, name: str, x: Any) -> Any:
    kind = ir.FunctionType(c.vector, [c.vector])
    name = f"llvm.{name}.v{c.width}f{8 * c.bytes}"
    return c.build.call(cgutils.get_or_insert_function(c.build.module, kind, name), [x])


def _avx512(c: Code, name: str, x: Any, operand: Any) -> Any:
    """An instruction of AVX-512 on all lanes."""
    number, mask = ir.IntType(32), ir.IntType(c.width)
    kind = ir.FunctionType(c.vector, [c.vector, operand.type, c.vector, mask, number])
    name = f"llvm.x86.avx512.mask.{name}.p{'s' if c.bytes == 4 else 'd'}.512"
    function = cgutils.get_or_insert_function(c.build.module, kind, name)
    return c.build.call(function, [x, operand, c.zero(), mask(-1), number(AS_SET)])


def _half_power(c: Code, n: Any) -> Any:
    """2^(n - 1) of whole numbers, made of their bits."""
    bits, mantissa, bias = (32, 23, 126) if c.bytes == 4 else (64, 52, 1022)
    short, wide = (ir.VectorType(ir.IntType(b), c.width) for b in (32, bits))
    whole = c.build.fptosi(n, short)  # to 64 bits there is no AVX2 instruction
    whole = whole if bits == 32 else c.build.sext(whole, wide)
    whole = c.build.add(whole, ir.Constant(wide, [bias] * c.width))
    shifted = c.build.shl(whole, ir.Constant(wide, [mantissa] * c.width))
    return c.build.bitcast(shifted, c.vector)


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
