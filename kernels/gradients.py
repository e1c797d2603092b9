"""Sweeps for the gradients of a matrix state, in vector instructions; see `vectors`.

State and gradient are held as [V K], keys in the lanes: what is summed over the columns of the
state (the gradients of q, k and decays) then stays in lanes.  What is summed over keys (that of v)
is left as one vector for each row, and `row_sums` adds up its lanes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code


def chunk_length(L: int) -> int:
    """Steps between kept states: those of one chunk stay in the cache, and few hundred are kept."""
    return 32 * max(1, -(-L // 8192))


class _Sweep(Code):
    """A sweep over rows j of a state, one vector of keys after the other."""

    def sums(self, steps: int) -> list[Any]:
        return [self.slot(self.zero()) for _ in range(steps)]

    def transposed(self, rows: list[Any]) -> list[Any]:
        """As many vectors as there are lanes, as the rows of a matrix: its columns."""
        kind, lanes, apart = ir.VectorType(ir.IntType(32), self.width), range(self.width), 1
        while apart < self.width:
            # lane i of row a and lane i of row a + apart: each takes of the other what it lacks
            n = self.width
            low = ir.Constant(kind, [n + (i ^ apart) if i & apart else i for i in lanes])
            high = ir.Constant(kind, [n + i if i & apart else i | apart for i in lanes])
            for a in [a for a in lanes if not a & apart]:
                one, two = rows[a], rows[a + apart]
                rows[a] = self.build.shuffle_vector(one, two, low)
                rows[a + apart] = self.build.shuffle_vector(one, two, high)
            apart *= 2
        return rows


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


@intrinsic
def turned(context: Any, S: Any, strips: Any, m: Any, K: Any, V: Any, lanes: Any) -> Any:
    """strips[m, i / lanes, j, i % lanes] = S[i, j]; K and V count in whole vectors."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        S, strips, m, K, V, _ = c.args
        with c.vectors(K) as i, c.vectors(V) as j:
            rows = [c.load(S, build.add(i, c.index(r)), j) for r in range(c.width)]
            for e, x in enumerate(c.transposed(rows)):
                strip, column = build.sdiv(i, c.index(c.width)), build.add(j, c.index(e))
                c.store(x, strips, m, strip, column, c.index(0))
        return context.get_dummy_value()

    return types.void(S, strips, m, K, V, lanes), code


# --------------------------------------------------------------------- transitions of rank one
@intrinsic
def low_rank_again(
    context: Any, S: Any, after: Any, w: Any, b: Any, k: Any, a: Any, seen: Any, x: Any, d: Any,
    dq: Any, part: Any, V: Any, K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """after = w S + b seen' + k x' and dq = after d.

    part is after a, whose lanes add up to what the next step sees.  w, b, k, a, dq [K], seen, x, d
    [V], S, after [V K], part [V lanes].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = _Sweep(context, build, signature, args)
        S, after, w, b, k, a, seen, x, d, dq, part, V, K, _ = c.args
        first = ir.Constant(K.type, 0)

        def body(places: list[Any]) -> None:
            decays, changes, keys, ahead = ([c.load(z, i) for i in places] for z in (w, b, k, a))
            sums = c.sums(len(places))
            begin = build.icmp_signed("==", places[0], first)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                old, value, read = (c.spread(z, j) for z in (seen, x, d))
                total = build.select(begin, c.zero(), c.load(part, j, first))
                for e, i in enumerate(places):
                    new = build.fmul(decays[e], c.load(S, j, i))
                    new = c.fma(keys[e], value, c.fma(changes[e], old, new))
                    c.store(new, after, j, i)
                    total = c.fma(new, ahead[e], total)
                    c.add(sums[e], new, read)
                c.store(total, part, j, first)
            for total, i in zip(sums, places, strict=True):
                c.store(build.load(total), dq, i)

        c.columns(K, body)
        return context.get_dummy_value()

    return types.void(S, after, w, b, k, a, seen, x, d, dq, part, V, K, lanes), code


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
