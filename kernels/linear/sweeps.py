"""Linear attention for STEPS tokens at once, in vector instructions; see `vectors`.

With the products of decays P_t from the first of the tokens to t, and D_tj from after j to t,

    y_t = (P_t q_t)' S + sum_{j <= t} (q_t' D_tj k_j) x_j,     S <- P S + sum_j (D_j k_j) x_j'

so one sweep multiplies an entry of the state twice for a token, where the recurrence takes three
products, and nothing is divided.  `fold` makes what stands in brackets; keys are in its lanes.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code

STEPS = 4
PAIRS = [(t, j) for t in range(STEPS) for j in range(t + 1)]
TABLE = 16  # entries of what `fold` leaves of q_t' D_tj k_j, in the order of PAIRS
GUARD = len(PAIRS)  # the entry that is 0 where a group may be folded, else NaN
# of the decays that are not 0: their product, at least; one of them, at most
LEAST, MOST = {4: 2.0**-90, 8: 2.0**-900}, {4: 2.0**10, 8: 2.0**30}


class Sweep(Code):
    def rows(self, array: Any, s: Any, place: Any) -> list[Any]:
        """The vectors array[s + t, place:] of all steps."""
        return [self.load(array, at, place) for at in self.steps(s)]

    def steps(self, s: Any) -> list[Any]:
        return [self.build.add(s, self.index(t)) for t in range(STEPS)]

    def constant(self, number: float) -> Any:
        return ir.Constant(self.vector, [number] * self.width)

    def size(self, x: Any) -> Any:
        name = f"llvm.fabs.v{self.width}f{8 * self.bytes}"
        kind = ir.FunctionType(self.vector, [self.vector])
        return self.build.call(cgutils.get_or_insert_function(self.build.module, kind, name), [x])

    def refused(self, decays: list[Any]) -> Any:
        """NaN in lanes where a product of some of the decays might leave the range, else 0."""
        b, product, largest = self.build, None, self.zero()
        for w in map(self.size, decays):
            some = b.select(b.fcmp_ordered("==", w, self.zero()), self.constant(1.0), w)
            product = some if product is None else b.fmul(product, some)
            largest = b.select(b.fcmp_ordered("<", w, largest), largest, w)
        fits = b.and_(
            b.fcmp_ordered(">=", product, self.constant(LEAST[self.bytes])),
            b.fcmp_ordered("<=", largest, self.constant(MOST[self.bytes])),
        )
        return b.select(fits, self.zero(), self.constant(math.nan))

    def lane_sums(self, sums: list[Any], table: Any) -> None:
        """table[n] = the sum of the lanes of sums[n]."""
        sums = sums + [self.zero()] * (-len(sums) % self.width)
        for n in range(0, len(sums), self.width):
            self.store(self.lanes_of(sums[n : n + self.width]), table, self.index(n))

    def lanes_of(self, held: list[Any]) -> Any:
        """The sums of the lanes of as many vectors as there are lanes."""
        while len(held) > 1:
            pairs = zip(held[::2], held[1::2], strict=True)
            held = [self.pair_sums(a, b, self.width // len(held)) for a, b in pairs]
        return held[0]


def _fold(before: bool) -> Any:
    """to_q = P_t q_t with q times scale, to_k = D_j k_j, P and `table` of the tokens from s on.

    w, k, q [... K], x [... V], to_q, to_k [STEPS K], P [K], all in whole vectors.  With `before`
    y_t reads the state before token t.
    """

    @intrinsic
    def fold(
        context: Any, w: Any, k: Any, q: Any, x: Any, s: Any, scale: Any, P: Any, to_k: Any,
        to_q: Any, table: Any, K: Any, V: Any, lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = Sweep(context, build, signature, args)
            w, k, q, x, s, scale, P, to_k, to_q, table, K, V, _ = c.args
            sums, guard = [c.slot(c.zero()) for _ in PAIRS], c.slot(c.zero())
            factor = c.all(scale)
            with c.vectors(K) as i:
                decays, keys, queries = (c.rows(z, s, i) for z in (w, k, q))
                queries = [build.fmul(z, factor) for z in queries]
                for z in (*keys, *queries):
                    c.add(guard, z, c.zero())
                build.store(build.fadd(build.load(guard), c.refused(decays)), guard)
                product, held = c.constant(1.0), list[Any]()
                for t, (decay, query) in enumerate(zip(decays, queries, strict=True)):
                    read, product = product, build.fmul(decay, product)
                    faded = [build.fmul(decay, z) for z in held]
                    for j, z in enumerate(held if before else [*faded, keys[t]]):
                        c.add(sums[PAIRS.index((t, j))], query, z)
                    held = [*faded, keys[t]]
                    c.store(build.fmul(query, read if before else product), to_q, c.index(t), i)
                c.store(product, P, i)
                for t, z in enumerate(held):
                    c.store(z, to_k, c.index(t), i)
            with c.vectors(V) as j:
                for z in c.rows(x, s, j):
                    c.add(guard, z, c.zero())
            c.lane_sums([build.load(z) for z in (*sums, guard)], table)
            return context.get_dummy_value()

        return types.void(w, k, q, x, s, scale, P, to_k, to_q, table, K, V, lanes), code

    return fold


fold, fold_before = _fold(False), _fold(True)


@intrinsic
def steps(
    context: Any, S: Any, n: Any, P: Any, k: Any, q: Any, x: Any, y: Any, s: Any, table: Any,
    K: Any, V: Any, lanes: Any,
) -> Any:  # fmt: skip
    """S[n] <- P S[n] + sum_j k_j x_j', y_t = S[n]' q_t + sum_j table x_j with what `fold` made.

    S [... K V], P [K], k, q [STEPS K], x, y [... V] of the tokens from s on.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        S, n, P, k, q, x, y, s, table, K, V, _ = c.args
        at = [c.index(t) for t in range(STEPS)]

        def body(places: list[Any]) -> None:
            values = [c.rows(x, s, j) for j in places]
            sums = [[c.slot(c.zero()) for _ in at] for _ in places]
            for entry, (t, j) in enumerate(PAIRS):
                weight = c.spread(table, c.index(entry))
                for value, totals in zip(values, sums, strict=True):
                    c.add(totals[t], weight, value[j])
            with cgutils.for_range(build, K) as loop:
                i = loop.index
                decay = c.spread(P, i)
                keys, queries = ([c.spread(z, t, i) for t in at] for z in (k, q))
                for j, value, totals in zip(places, values, sums, strict=True):
                    state = c.load(S, n, i, j)
                    new = build.fmul(decay, state)
                    for t in range(STEPS):
                        c.add(totals[t], queries[t], state)
                        new = c.fma(keys[t], value[t], new)
                    c.store(new, S, n, i, j)
            for totals, j in zip(sums, places, strict=True):
                for t, total in zip(c.steps(s), totals, strict=True):
                    c.store(build.load(total), y, t, j)

        c.columns(V, body, most=2)
        return context.get_dummy_value()

    return types.void(S, n, P, k, q, x, y, s, table, K, V, lanes), code
