"""2^x for kernels: a polynomial that compiles to vector instructions, which `np.exp` does not.

x = n + f with |f| <= 1/2; 2^f by a Taylor polynomial of f log 2, 2^n by the bits of a float.
Results below 2^-125 (float64: 2^-1021) are 0, and so is 2^-inf; NaN stays NaN.  The relative error
is below two units (a test).  numba's files of compiled code do not see changes in this file: delete
them (`make clean`) after one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

LOG2E = 1 / math.log(2)


@intrinsic
def _power(context: Any, n: Any) -> Any:
    """2^(n - 1) of an integer-valued float, made of its bits: n may be one above the exponents."""
    bits, mantissa, bias = (32, 23, 126) if n == types.float32 else (64, 52, 1022)

    def code(_: Any, build: Any, __: Any, args: Any) -> Any:
        wide, kind = ir.IntType(bits), args[0].type
        whole = build.fptosi(args[0], ir.IntType(32))  # to 64 bits there is no AVX2 instruction
        whole = whole if bits == 32 else build.sext(whole, wide)
        shifted = build.shl(build.add(whole, ir.Constant(wide, bias)), ir.Constant(wide, mantissa))
        return build.bitcast(shifted, kind)

    return n(n), code


def _coefficients(degree: int) -> tuple[float, ...]:
    """Of 2 * 2^f, f in [-1/2, 1/2]."""
    return tuple(2 * math.log(2) ** i / math.factorial(i) for i in range(degree + 1))


C32 = tuple(np.float32(c) for c in _coefficients(7))
C64 = _coefficients(13)


def exp2(x: Any) -> Any:
    """2^x of a float inside a kernel."""
    raise TypeError("exp2 is for compiled code")


@overload(exp2, inline="always")
def _exp2(x: Any) -> Any:
    if x == types.float32:

        def exp2_32(x: Any) -> Any:
            y = min(max(x, np.float32(-125.0)), np.float32(128.0))
            n = np.rint(y)
            f = y - n
            p = C32[7]
            p = p * f + C32[6]
            p = p * f + C32[5]
            p = p * f + C32[4]
            p = p * f + C32[3]
            p = p * f + C32[2]
            p = p * f + C32[1]
            p = p * f + C32[0]
            p = p * _power(n)
            p = np.float32(0.0) if x < np.float32(-125.0) else p
            p = np.float32(np.inf) if x >= np.float32(128.0) else p
            return x if x != x else p

        return exp2_32

    def exp2_64(x: Any) -> Any:
        y = min(max(x, -1021.0), 1024.0)
        n = np.rint(y)
        f = y - n
        p = C64[13]
        p = p * f + C64[12]
        p = p * f + C64[11]
        p = p * f + C64[10]
        p = p * f + C64[9]
        p = p * f + C64[8]
        p = p * f + C64[7]
        p = p * f + C64[6]
        p = p * f + C64[5]
        p = p * f + C64[4]
        p = p * f + C64[3]
        p = p * f + C64[2]
        p = p * f + C64[1]
        p = p * f + C64[0]
        p = p * _power(n)
        p = 0.0 if x < -1021.0 else p
        p = np.inf if x >= 1024.0 else p
        return x if x != x else p

    return exp2_64
