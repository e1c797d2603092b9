"""The online softmax over one block of keys, in vector instructions; see `vectors`."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.exponential import exponential
from dsf.kernels.vectors import Code


@intrinsic
def online(
    context: Any, P: Any, top: Any, total: Any, shrink: Any, rows: Any, columns: Any, lanes: Any
) -> Any:
    """P <- 2^(P - new), total <- shrink total + sum_j P_j, with new = max(top, max_j P_j).

    P [rows columns], logits of keys by queries in base 2, lanes are queries; top, total, shrink =
    2^(top - new) are [1 columns], and top <- new.  A query that has seen no key keeps top = -inf
    and gets zeros.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        P, top, total, shrink, rows, columns, _ = c.args
        first = ir.Constant(rows.type, 0)
        lowest = ir.Constant(c.vector, [-math.inf] * c.width)

        def body(places: list[Any]) -> None:
            olds = [c.load(top, first, m) for m in places]
            largest = [c.slot(old) for old in olds]
            with cgutils.for_range(build, rows) as loop:
                for slot, m in zip(largest, places, strict=True):
                    x, best = c.load(P, loop.index, m), build.load(slot)
                    above = build.fcmp_ordered(">", x, best)
                    build.store(build.select(above, x, best), slot)
            bases, sums = [], []
            for slot, old, m in zip(largest, olds, places, strict=True):
                new = build.load(slot)
                c.store(new, top, first, m)
                base = build.select(build.fcmp_ordered("==", new, lowest), c.zero(), new)
                less = exponential(c, build.fsub(old, base))
                c.store(less, shrink, first, m)
                bases.append(base)
                sums.append(c.slot(build.fmul(c.load(total, first, m), less)))
            with cgutils.for_range(build, rows) as loop:
                for base, slot, m in zip(bases, sums, places, strict=True):
                    p = exponential(c, build.fsub(c.load(P, loop.index, m), base))
                    c.store(p, P, loop.index, m)
                    build.store(build.fadd(build.load(slot), p), slot)
            for slot, m in zip(sums, places, strict=True):
                c.store(build.load(slot), total, first, m)

        c.columns(columns, body)
        return context.get_dummy_value()

    return types.void(P, top, total, shrink, rows, columns, lanes), code
