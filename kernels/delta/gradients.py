"""Sweeps for the gradients of the delta rule, STEPS tokens at once; see `sweeps` for the formulas.

State and gradient are held with keys in the lanes, [strips V lanes]: each strip is one vector of
keys wide.  With S the state before these tokens, G the gradient of the one after them, d_t that of
y_t and f_t that of v_t,

    e_t = G'write_t + sum_{s >= t} (q_s' carried k_t) d_s - sum_{s > t} (k_s' carried k_t) f_s
    f_t = beta_t e_t,    dbeta_t = e_t' z_t
    G <- diag(decay) G - sum_t seen_t f_t' + sum_t read_t d_t'
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.delta.sweeps import PLACE, RATES, STEPS, Sweep


@intrinsic
def again(
    context: Any, S: Any, g: Any, decay: Any, write: Any, u: Any, V: Any, K: Any, lanes: Any
) -> Any:
    """S[g + 1] = decay S[g] + sum_t write_t u_t' with decay, write and u of group g.

    S [groups strips V lanes], decay [groups K], write [groups STEPS K], u [groups STEPS V].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        S, g, decay, write, u, V, K, _ = c.args
        following = build.add(g, c.index(1))
        with c.vectors(K) as i:
            strip = build.sdiv(i, c.index(c.width))
            factor, keys = c.load(decay, g, i), c.rows(write, g, i)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                state = build.fmul(factor, c.load(S, g, strip, j, c.index(0)))
                for t, key in enumerate(keys):
                    state = c.fma(key, c.spread(u, g, c.index(t), j), state)
                c.store(state, S, following, strip, j, c.index(0))
        return context.get_dummy_value()

    return types.void(S, g, decay, write, u, V, K, lanes), code


@intrinsic
def gathered(
    context: Any, G: Any, n: Any, write: Any, g: Any, e: Any, V: Any, K: Any, lanes: Any
) -> Any:
    """e_t = G[n]' write_t of group g, the sums over keys.

    G [heads strips V lanes], write [groups STEPS K], e [STEPS V]; V counts in whole vectors.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        G, n, write, g, e, V, K, _ = c.args
        zero = c.index(0)
        with cgutils.for_range(build, c.index(STEPS)) as steps, c.vectors(V) as j:
            columns = [build.add(j, c.index(r)) for r in range(c.width)]
            sums = c.sums(c.width)
            with c.vectors(K) as i:
                strip, key = build.sdiv(i, c.index(c.width)), c.load(write, g, steps.index, i)
                for total, column in zip(sums, columns, strict=True):
                    c.add(total, key, c.load(G, n, strip, column, zero))
            (total,) = c.lane_sums([build.load(x) for x in sums])
            c.store(total, e, steps.index, j)
        return context.get_dummy_value()

    return types.void(G, n, write, g, e, V, K, lanes), code


@intrinsic
def unsolve(
    context: Any, d: Any, z: Any, u: Any, g: Any, gram: Any, e: Any, f: Any, minus: Any,
    pairs: Any, V: Any, lanes: Any,
) -> Any:  # fmt: skip
    """f_t and minus_t = -f_t of group g from e_t = G'write_t, and in `pairs` the gradients of the
    products of PAIRS and of the rates beta.

    d, z, u, f [groups STEPS V], gram [groups GRAM], e, minus [STEPS V], pairs [GRAM]; V counts in
    whole vectors.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        d, z, u, g, gram, e, f, minus, pairs, V, _ = c.args
        products, rates = c.numbers(gram, g)
        sums = c.sums(RATES + STEPS)
        with c.vectors(V) as j:
            reads, differences, written = (c.rows(x, g, j) for x in (d, z, u))
            totals = [c.load(e, c.index(t), j) for t in range(STEPS)]
            for t, read in enumerate(reads):
                for s in range(t + 1):
                    totals[s] = c.fma(products["query", t, s], read, totals[s])
                    c.add(sums[PLACE["query", t, s]], read, written[s])
            for t in reversed(range(STEPS)):
                c.add(sums[RATES + t], totals[t], differences[t])
                found = build.fmul(rates[t], totals[t])
                negative = build.fneg(found)
                for s in range(t):
                    totals[s] = c.fma(products["key", t, s], negative, totals[s])
                    c.add(sums[PLACE["key", t, s]], negative, written[s])
                c.store(found, f, g, c.index(t), j)
                c.store(negative, minus, c.index(t), j)
        for n, x in enumerate(c.lane_sums([build.load(total) for total in sums])):
            c.store(x, pairs, c.index(n * c.width))
        return context.get_dummy_value()

    return types.void(d, z, u, g, gram, e, f, minus, pairs, V, lanes), code


@intrinsic
def back(
    context: Any, G: Any, n: Any, S: Any, decay: Any, seen: Any, read: Any, u: Any, d: Any, g: Any,
    minus: Any, to_write: Any, to_seen: Any, to_read: Any, to_decay: Any, V: Any, K: Any,
    lanes: Any,
) -> Any:  # fmt: skip
    """to_write = G u, to_seen = -S f, to_read = S d, to_decay = sum_j G S, then G as above.

    S, decay, seen, read, u, d of group g, minus = -f; to_write, to_seen, to_read [STEPS K],
    to_decay [K].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        (G, n, S, decay, seen, read, u, d, g, minus, to_write, to_seen, to_read, to_decay, V, K,
         _) = c.args  # fmt: skip
        zero, steps = c.index(0), [c.index(t) for t in range(STEPS)]
        with c.vectors(K) as i:
            strip, factor = build.sdiv(i, c.index(c.width)), c.load(decay, g, i)
            keys, queries = c.rows(seen, g, i), c.rows(read, g, i)
            written, saw, got = (c.sums(STEPS) for _ in range(3))
            (scaled,) = c.sums(1)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                after, state = c.load(G, n, strip, j, zero), c.load(S, g, strip, j, zero)
                c.add(scaled, after, state)
                before = build.fmul(factor, after)
                for t, step in enumerate(steps):
                    c.add(written[t], after, c.spread(u, g, step, j))
                    change = c.spread(minus, step, j)
                    c.add(saw[t], state, change)
                    before = c.fma(keys[t], change, before)
                    change = c.spread(d, g, step, j)
                    c.add(got[t], state, change)
                    before = c.fma(queries[t], change, before)
                c.store(before, G, n, strip, j, zero)
            for sums, out in ((written, to_write), (saw, to_seen), (got, to_read)):
                for step, total in zip(steps, sums, strict=True):
                    c.store(build.load(total), out, step, i)
            c.store(build.load(scaled), to_decay, i)
        return context.get_dummy_value()

    kinds = (G, n, S, decay, seen, read, u, d, g, minus, to_write, to_seen, to_read, to_decay)
    return types.void(*kinds, V, K, lanes), code


@intrinsic
def unprepare(
    context: Any, w: Any, k: Any, q: Any, g: Any, pairs: Any, to_write: Any, to_seen: Any,
    to_read: Any, to_decay: Any, dw: Any, dk: Any, dq: Any, K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """Gradients of w, k, q of group g [groups STEPS K] from those of what `prepare` makes."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        w, k, q, g, pairs, to_write, to_seen, to_read, to_decay, dw, dk, dq, K, _ = c.args
        numbers = {pair: c.spread(pairs, c.index(i)) for pair, i in PLACE.items()}
        with c.vectors(K) as i:
            decays, keys, queries = (c.rows(z, g, i) for z in (w, k, q))
            carried, totals = c.carried(decays, keys), c.products(decays)
            moved, saw, got = (
                [c.load(z, c.index(t), i) for t in range(STEPS)]
                for z in (to_write, to_seen, to_read)
            )
            of_total = c.load(to_decay, i)
            for t in reversed(range(STEPS)):
                of_total = c.fma(saw[t], keys[t], c.fma(got[t], queries[t], of_total))
                of_key, of_query = build.fmul(totals[t], saw[t]), build.fmul(totals[t], got[t])
                of_decay = build.fmul(of_total, totals[t - 1]) if t else of_total
                for s in range(t + 1):
                    x = numbers["query", t, s]
                    of_query = c.fma(x, carried[t][s], of_query)
                    moved[s] = c.fma(x, queries[t], moved[s])
                for s in range(t):
                    x = numbers["key", t, s]
                    of_key = c.fma(x, carried[t][s], of_key)
                    moved[s] = c.fma(x, keys[t], moved[s])
                    of_decay = c.fma(moved[s], carried[t - 1][s], of_decay)
                    moved[s] = build.fmul(decays[t], moved[s])
                of_total = build.fmul(decays[t], of_total)
                for x, out in (
                    (of_decay, dw), (build.fadd(of_key, moved[t]), dk), (of_query, dq)
                ):  # fmt: skip
                    c.store(x, out, g, c.index(t), i)
        return context.get_dummy_value()

    kinds = (w, k, q, g, pairs, to_write, to_seen, to_read, to_decay, dw, dk, dq, K, lanes)
    return types.void(*kinds), code
