"""Sweeps for the gradients of a matrix state, in vector instructions; see `vectors`.

State and gradient are held as [V K], keys in the lanes: what is summed over the columns of the
state (the gradients of q, k and decays) then stays in lanes.  What is summed over keys (that of v)
is left as one vector for each row, and `row_sums` adds up its lanes.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code

STEPS = 4  # that a sweep takes at once, at most


def chunk_length(L: int) -> int:
    """Steps between kept states: those of one chunk stay in the cache, and few hundred are kept."""
    return max(32, math.ceil(L / 1024) * STEPS)


class _Sweep(Code):
    """A sweep over rows j of a state, one vector of keys after the other."""

    def sums(self, steps: int) -> list[Any]:
        return [self.slot(self.zero()) for _ in range(steps)]


@intrinsic
def row_sums(context: Any, part: Any, out: Any, rows: Any, lanes: Any) -> Any:
    """out[j] = sum of the lanes of part[j]; `rows` counts in whole vectors."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        part, out, rows, _ = c.args
        first = ir.Constant(rows.type, 0)
        with c.vectors(rows) as j:
            held = [c.load(part, build.add(j, c.index(r)), first) for r in range(c.width)]
            while len(held) > 1:
                pairs = zip(held[::2], held[1::2], strict=True)
                held = [c.pair_sums(a, b, c.width // len(held)) for a, b in pairs]
            c.store(held[0], out, j)
        return context.get_dummy_value()

    return types.void(part, out, rows, lanes), code


# --------------------------------------------------------------------- transitions of rank one
def _low_rank_again(keep: bool) -> Any:
    """new = w S + b seen' + k x' into `after`; with `keep` also dq = new d.

    part is new a, whose lanes add up to what the next step sees.  w, b, k, a, dq [K], seen, x, d
    [V], S, after [V K], part [V lanes].
    """

    @intrinsic
    def sweep(
        context: Any, S: Any, after: Any, w: Any, b: Any, k: Any, a: Any, seen: Any, x: Any,
        d: Any, dq: Any, part: Any, V: Any, K: Any, lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = _Sweep(context, build, signature, args)
            S, after, w, b, k, a, seen, x, d, dq, part, V, K, _ = c.args
            first = ir.Constant(K.type, 0)

            def body(places: list[Any]) -> None:
                decays, changes, keys, ahead = (
                    [c.load(z, i) for i in places] for z in (w, b, k, a)
                )
                sums = c.sums(len(places))
                begin = build.icmp_signed("==", places[0], first)
                with cgutils.for_range(build, V) as loop:
                    j = loop.index
                    old, value = c.spread(seen, j), c.spread(x, j)
                    read = c.spread(d, j) if keep else None
                    total = build.select(begin, c.zero(), c.load(part, j, first))
                    for e, i in enumerate(places):
                        new = build.fmul(decays[e], c.load(S, j, i))
                        new = c.fma(keys[e], value, c.fma(changes[e], old, new))
                        c.store(new, after, j, i)
                        total = c.fma(new, ahead[e], total)
                        if keep:
                            c.add(sums[e], new, read)
                    c.store(total, part, j, first)
                if keep:
                    for total, i in zip(sums, places, strict=True):
                        c.store(build.load(total), dq, i)

            c.columns(K, body)
            return context.get_dummy_value()

        return types.void(S, after, w, b, k, a, seen, x, d, dq, part, V, K, lanes), code

    return sweep


low_rank_again, low_rank_ahead = _low_rank_again(True), _low_rank_again(False)


@intrinsic
def low_rank_back(
    context: Any, G: Any, S: Any, w: Any, a: Any, x: Any, seen: Any, back: Any, q: Any, d: Any,
    k: Any, b: Any, dk: Any, db: Any, da: Any, dw: Any, to_v: Any, to_seen: Any, V: Any, K: Any,
    lanes: Any,
) -> Any:  # fmt: skip
    """dk = G x, db = G seen, da = S back, dw = sum_j G S, G <- w G + a back', and with q, d, k, b
    of the step before G <- G + q d'.

    to_v, to_seen [V lanes] are G k and G b, whose lanes are still to be added up.  x, seen, back, d
    [V], the others [K].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        G, S, w, a, x, seen, back, q, d, k, b, dk, db, da, dw, to_v, to_seen, V, K, _ = c.args
        first = ir.Constant(K.type, 0)

        def body(places: list[Any]) -> None:
            decays, ahead, queries, keys, changes = (
                [c.load(z, i) for i in places] for z in (w, a, q, k, b)
            )
            sums = [c.sums(len(places)) for _ in range(4)]
            begin = build.icmp_signed("==", places[0], first)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                value, old, change, read = (c.spread(z, j) for z in (x, seen, back, d))
                one, other = (
                    build.select(begin, c.zero(), c.load(z, j, first)) for z in (to_v, to_seen)
                )
                for e, i in enumerate(places):
                    g, state = c.load(G, j, i), c.load(S, j, i)
                    for total, (left, right) in zip(
                        sums, ((g, value), (g, old), (state, change), (g, state)), strict=True
                    ):
                        c.add(total[e], left, right)
                    g = c.fma(ahead[e], change, build.fmul(decays[e], g))
                    g = c.fma(queries[e], read, g)
                    c.store(g, G, j, i)
                    one, other = c.fma(g, keys[e], one), c.fma(g, changes[e], other)
                c.store(one, to_v, j, first)
                c.store(other, to_seen, j, first)
            for totals, out in zip(sums, (dk, db, da, dw), strict=True):
                for total, i in zip(totals, places, strict=True):
                    c.store(build.load(total), out, i)

        c.columns(K, body, most=2)
        return context.get_dummy_value()

    kinds = (G, S, w, a, x, seen, back, q, d, k, b, dk, db, da, dw, to_v, to_seen, V, K, lanes)
    return types.void(*kinds), code
