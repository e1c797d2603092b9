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

STEPS = 4  # that a sweep takes at once


def chunk_length(L: int) -> int:
    """Steps between kept states: those of one chunk stay in the cache, and few hundred are kept."""
    return max(32, math.ceil(L / 1024) * STEPS)


class _Sweep(Code):
    """A sweep over rows j of a state, one vector of keys after the other."""

    def at(self, array: Any, steps: int, place: Any) -> list[Any]:
        """The vectors array[t, place:] of all steps."""
        return [self.load(array, self.index(t), place) for t in range(steps)]

    def sums(self, steps: int) -> list[Any]:
        return [self.slot(self.zero()) for _ in range(steps)]

    def write(self, sums: list[Any], array: Any, place: Any) -> None:
        for t, total in enumerate(sums):
            self.store(self.build.load(total), array, self.index(t), place)


def _again(steps: int, before: bool, keep: bool) -> Any:
    """S <- w S + k x' for some steps; with `keep` inner[t] is S before it and dq_t = S_t d_t.

    w, k, dq [steps K], x, d [steps V], S [V K], inner [steps V K]; `before`: dq_t = S_{t-1} d_t.
    """

    @intrinsic
    def sweep(
        context: Any, S: Any, w: Any, k: Any, x: Any, d: Any, inner: Any, dq: Any, V: Any, K: Any,
        lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = _Sweep(context, build, signature, args)
            S, w, k, x, d, inner, dq, V, K, _ = c.args
            with c.vectors(K) as i:
                decays, keys, sums = c.at(w, steps, i), c.at(k, steps, i), c.sums(steps)
                with cgutils.for_range(build, V) as loop:
                    j = loop.index
                    state = c.load(S, j, i)
                    for t in range(steps):
                        at = c.index(t)
                        new = build.fmul(decays[t], state)
                        new = c.fma(keys[t], c.spread(x, at, j), new)
                        if keep:
                            c.store(state, inner, at, j, i)
                            c.add(sums[t], state if before else new, c.spread(d, at, j))
                        state = new
                    c.store(state, S, j, i)
                if keep:
                    c.write(sums, dq, i)
            return context.get_dummy_value()

        return types.void(S, w, k, x, d, inner, dq, V, K, lanes), code

    return sweep


def _back(steps: int, before: bool) -> Any:
    """From the last step to the first: g = G + q d', dk = g x, dw = sum_j g S, G <- w g.

    G [V K], inner [steps V K] as `_again` leaves it, w, q, k, dk, dw [steps K], x, d [steps V];
    part [steps V lanes] is g k, whose lanes are still to be added up to dv.  With `before` the
    read-out comes after: g = G, G <- w g + q d'.
    """

    @intrinsic
    def sweep(
        context: Any, G: Any, inner: Any, w: Any, q: Any, k: Any, x: Any, d: Any, dk: Any, dw: Any,
        part: Any, V: Any, K: Any, lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = _Sweep(context, build, signature, args)
            G, inner, w, q, k, x, d, dk, dw, part, V, K, _ = c.args
            first = ir.Constant(K.type, 0)
            with c.vectors(K) as i:
                decays, queries, keys = (c.at(z, steps, i) for z in (w, q, k))
                to_k, to_w = c.sums(steps), c.sums(steps)
                begin = build.icmp_signed("==", i, first)
                with cgutils.for_range(build, V) as loop:
                    j = loop.index
                    g = c.load(G, j, i)
                    for t in reversed(range(steps)):
                        at = c.index(t)
                        read = c.spread(d, at, j)
                        if not before:
                            g = c.fma(queries[t], read, g)
                        c.add(to_k[t], g, c.spread(x, at, j))
                        c.add(to_w[t], g, c.load(inner, at, j, i))
                        so_far = build.select(begin, c.zero(), c.load(part, at, j, first))
                        c.store(c.fma(g, keys[t], so_far), part, at, j, first)
                        g = build.fmul(decays[t], g)
                        if before:
                            g = c.fma(queries[t], read, g)
                    c.store(g, G, j, i)
                c.write(to_k, dk, i)
                c.write(to_w, dw, i)
            return context.get_dummy_value()

        return types.void(G, inner, w, q, k, x, d, dk, dw, part, V, K, lanes), code

    return sweep


again, again_before = _again(STEPS, False, True), _again(STEPS, True, True)
ahead = _again(STEPS, False, False)
back, back_before = _back(STEPS, False), _back(STEPS, True)


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
                held = [c.pair_sums(a, b) for a, b in zip(held[::2], held[1::2], strict=True)]
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
def low_rank_read(
    context: Any, G: Any, q: Any, d: Any, k: Any, b: Any, to_v: Any, to_seen: Any, V: Any, K: Any,
    lanes: Any,
) -> Any:  # fmt: skip
    """G <- G + q d', and the parts [V lanes] of G k and G b, whose lanes are still to be added."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        G, q, d, k, b, to_v, to_seen, V, K, _ = c.args
        first = ir.Constant(K.type, 0)

        def body(places: list[Any]) -> None:
            queries, keys, changes = ([c.load(z, i) for i in places] for z in (q, k, b))
            begin = build.icmp_signed("==", places[0], first)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                read = c.spread(d, j)
                one, other = (
                    build.select(begin, c.zero(), c.load(z, j, first)) for z in (to_v, to_seen)
                )
                for e, i in enumerate(places):
                    g = c.fma(queries[e], read, c.load(G, j, i))
                    c.store(g, G, j, i)
                    one, other = c.fma(g, keys[e], one), c.fma(g, changes[e], other)
                c.store(one, to_v, j, first)
                c.store(other, to_seen, j, first)

        c.columns(K, body)
        return context.get_dummy_value()

    return types.void(G, q, d, k, b, to_v, to_seen, V, K, lanes), code


@intrinsic
def low_rank_back(
    context: Any, G: Any, S: Any, w: Any, a: Any, x: Any, seen: Any, back: Any, dk: Any, db: Any,
    da: Any, dw: Any, V: Any, K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """dk = G x, db = G seen, da = S back, dw = sum_j G S, then G <- w G + a back'; back [V]."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        G, S, w, a, x, seen, back, dk, db, da, dw, V, K, _ = c.args

        def body(places: list[Any]) -> None:
            decays, ahead = ([c.load(z, i) for i in places] for z in (w, a))
            sums = [c.sums(len(places)) for _ in range(4)]
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                value, old, change = (c.spread(z, j) for z in (x, seen, back))
                for e, i in enumerate(places):
                    g, state = c.load(G, j, i), c.load(S, j, i)
                    for total, (one, other) in zip(
                        sums, ((g, value), (g, old), (state, change), (g, state)), strict=True
                    ):
                        c.add(total[e], one, other)
                    c.store(c.fma(ahead[e], change, build.fmul(decays[e], g)), G, j, i)
            for totals, out in zip(sums, (dk, db, da, dw), strict=True):
                for total, i in zip(totals, places, strict=True):
                    c.store(build.load(total), out, i)

        c.columns(K, body)
        return context.get_dummy_value()

    return types.void(G, S, w, a, x, seen, back, dk, db, da, dw, V, K, lanes), code
