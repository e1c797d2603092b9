"""Gradients of linear attention for STEPS tokens at once, in vector instructions; see `sweeps`.

State and its gradient are held as [V K], keys in the lanes.  Of the tokens of a group, with the
gradients d_t of y_t, the state S before them and the gradient G of the state after them, sweeps
over the states give

    from_q_t = S d_t,    from_k_t = G x_t,    both = sum_j S G,    G <- P G + sum_t (P_t q_t) d_t'

and `unfold` adds what stands between the tokens, M_tj = d_t' x_j, by the recurrence itself, so
that nothing is divided here either; a product of decays below the range of floats is 0.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.linear.sweeps import PAIRS, STEPS, Sweep


def _fade(before: bool) -> Any:
    """to_k = D_j k_j, to_q = P_t q_t and P of the tokens from s on, see `sweeps`.

    w, k, q, to_k, to_q [... K], P [... K] of group m; K in whole vectors.
    """

    @intrinsic
    def fade(
        context: Any, w: Any, k: Any, q: Any, s: Any, P: Any, m: Any, to_k: Any, to_q: Any, K: Any,
        lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = Sweep(context, build, signature, args)
            w, k, q, s, P, m, to_k, to_q, K, _ = c.args
            with c.vectors(K) as i:
                decays, keys, queries = (c.rows(z, s, i) for z in (w, k, q))
                product, held = c.constant(1.0), list[Any]()
                for t, decay, key, query in zip(c.steps(s), decays, keys, queries, strict=True):
                    read, product = product, build.fmul(decay, product)
                    c.store(build.fmul(query, read if before else product), to_q, t, i)
                    held = [*(build.fmul(decay, z) for z in held), key]
                for t, key in zip(c.steps(s), held, strict=True):
                    c.store(key, to_k, t, i)
                c.store(product, P, m, i)
            return context.get_dummy_value()

        return types.void(w, k, q, s, P, m, to_k, to_q, K, lanes), code

    return fade


fade, fade_before = _fade(False), _fade(True)


@intrinsic
def ahead(
    context: Any, S: Any, m: Any, P: Any, to_k: Any, x: Any, d: Any, from_q: Any, s: Any, V: Any,
    K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """S[m + 1] = P S[m] + sum_j to_k_j x_j' and from_q_t = S[m] d_t.

    S [... V K], P [... K] of group m, to_k, from_q [... K], x, d [... V].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        S, m, P, to_k, x, d, from_q, s, V, K, _ = c.args
        at, following = c.steps(s), build.add(m, c.index(1))

        def body(places: list[Any]) -> None:
            products = [c.load(P, m, i) for i in places]
            keys = [c.rows(to_k, s, i) for i in places]
            sums = [[c.slot(c.zero()) for _ in at] for _ in places]
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                values, reads = ([c.spread(z, t, j) for t in at] for z in (x, d))
                for i, product, own, totals in zip(places, products, keys, sums, strict=True):
                    state = c.load(S, m, j, i)
                    for total, value in zip(totals, reads, strict=True):
                        c.add(total, state, value)
                    state = build.fmul(product, state)
                    for key, value in zip(own, values, strict=True):
                        state = c.fma(key, value, state)
                    c.store(state, S, following, j, i)
            for i, totals in zip(places, sums, strict=True):
                for t, total in zip(at, totals, strict=True):
                    c.store(build.load(total), from_q, t, i)

        c.columns(K, body, most=2)
        return context.get_dummy_value()

    kinds = (S, m, P, to_k, x, d, from_q, s, V, K, lanes)
    return types.void(*kinds), code


@intrinsic
def back(
    context: Any, G: Any, n: Any, S: Any, P: Any, m: Any, to_q: Any, to_k: Any, x: Any, d: Any,
    from_k: Any, both: Any, part: Any, s: Any, V: Any, K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """from_k_t = G x_t, both = sum_j S G, then G <- P G + sum_t to_q_t d_t'.

    G [... V K], S [... V K] and P [... K] of group m, to_q, to_k, from_k [... K], both [K],
    x, d [... V].
    part [V STEPS lanes] is G to_k_t, whose lanes are still to be added up.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        G, n, S, P, m, to_q, to_k, x, d, from_k, both, part, s, V, K, _ = c.args
        at, first = c.steps(s), c.index(0)

        def body(places: list[Any]) -> None:
            products = [c.load(P, m, i) for i in places]
            keys, queries = ([c.rows(z, s, i) for i in places] for z in (to_k, to_q))
            sums = [[c.slot(c.zero()) for _ in at] for _ in places]
            overlaps = [c.slot(c.zero()) for _ in places]
            begin = build.icmp_signed("==", places[0], first)
            with cgutils.for_range(build, V) as loop:
                j = loop.index
                values, reads = ([c.spread(z, t, j) for t in at] for z in (x, d))
                held = [c.load(G, n, j, i) for i in places]
                for g, i, totals, overlap in zip(held, places, sums, overlaps, strict=True):
                    c.add(overlap, g, c.load(S, m, j, i))
                    for total, value in zip(totals, values, strict=True):
                        c.add(total, g, value)
                for t in range(STEPS):
                    total = build.select(begin, c.zero(), c.load(part, j, c.index(t), first))
                    for g, own in zip(held, keys, strict=True):
                        total = c.fma(g, own[t], total)
                    c.store(total, part, j, c.index(t), first)
                for g, i, product, own in zip(held, places, products, queries, strict=True):
                    g = build.fmul(product, g)
                    for query, value in zip(own, reads, strict=True):
                        g = c.fma(query, value, g)
                    c.store(g, G, n, j, i)
            for i, totals, overlap in zip(places, sums, overlaps, strict=True):
                c.store(build.load(overlap), both, i)
                for t, total in zip(at, totals, strict=True):
                    c.store(build.load(total), from_k, t, i)

        c.columns(K, body, most=2)
        return context.get_dummy_value()

    kinds = (G, n, S, P, m, to_q, to_k, x, d, from_k, both, part, s, V, K, lanes)
    return types.void(*kinds), code


def _pairs(before: bool) -> list[tuple[int, int]]:
    """(t, j) where y_t reads what token j wrote."""
    return [(t, j) for t, j in PAIRS if j < t or not before]


def _unfold(before: bool) -> Any:
    """dq, dk, dw and dv of the tokens from s on, in the memory of from_q, from_k, dw and dv.

    With Z_t = S_t d and Y_t = sum_j S_t G, both of the state after token t, and e_ts = E_st q_s:

        Z_t = w_t Z_{t-1} + k_t M_st,   Y_t = w_t Y_{t-1} + k_t from_k_t,   dq_t = Z_t of d_t
        dk_t = R_t from_k_t + sum_s e_ts M_st,      dw_t = R_t Y_{t-1} + sum_s e_ts Z_{t-1} of d_s
        dv_t = lane sums of part + sum_s (q_s' E_st k_t) d_s

    where E_st is the product of the decays from after t to s (before s with `before`), R_t that of
    all after t.  w, k, q [... K], x, d, dv [... V], both in whole vectors; scores [2 TABLE] is for
    sums of lanes.
    """

    @intrinsic
    def unfold(
        context: Any, w: Any, k: Any, q: Any, x: Any, d: Any, from_q: Any, from_k: Any, both: Any,
        part: Any, dw: Any, dv: Any, scores: Any, s: Any, K: Any, V: Any, lanes: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
            c = Sweep(context, build, signature, args)
            w, k, q, x, d, from_q, from_k, both, part, dw, dv, scores, s, K, V, _ = c.args
            at, steps, pairs = c.steps(s), range(STEPS), _pairs(before)

            M = {pair: c.slot(c.zero()) for pair in pairs}
            with c.vectors(V) as j:
                values, reads = (c.rows(z, s, j) for z in (x, d))
                for (t, e), total in M.items():
                    c.add(total, reads[t], values[e])
            c.lane_sums([build.load(z) for z in M.values()], scores)
            M = {pair: c.spread(scores, c.index(n)) for n, pair in enumerate(pairs)}

            A = {pair: c.slot(c.zero()) for pair in pairs}
            with c.vectors(K) as i:
                decays, keys, queries, to_q, to_k = (
                    c.rows(z, s, i) for z in (w, k, q, from_q, from_k)
                )
                rest, own, after = c.constant(1.0), dict[int, Any](), []  # R_t, and e_ts by s
                for t in reversed(steps):
                    if t + 1 < STEPS:
                        rest = build.fmul(rest, decays[t + 1])
                        own = {e: build.fmul(decays[t + 1], z) for e, z in own.items()}
                    own |= {e: queries[e] for e in (t, t + 1) if (e, t) in M and e not in own}
                    after.append((rest, own))
                after.reverse()
                Y, Z = c.load(both, i), list(to_q)
                for t in steps:
                    rest, own = after[t]
                    to_w, to_key = build.fmul(rest, Y), build.fmul(rest, to_k[t])
                    for e, z in own.items():
                        to_w = c.fma(z, Z[e], to_w)
                        to_key = c.fma(z, M[e, t], to_key)
                        c.add(A[e, t], z, keys[t])
                    c.store(to_w, dw, at[t], i)
                    c.store(to_key, from_k, at[t], i)
                    if before:
                        c.store(Z[t], from_q, at[t], i)
                    Y = c.fma(keys[t], to_k[t], build.fmul(decays[t], Y))
                    for e in steps[t:]:
                        if (e, t) in M:
                            Z[e] = c.fma(keys[t], M[e, t], build.fmul(decays[t], Z[e]))
                    if not before:
                        c.store(Z[t], from_q, at[t], i)
            c.lane_sums([build.load(z) for z in A.values()], scores)
            A = {pair: c.spread(scores, c.index(n)) for n, pair in enumerate(pairs)}

            with c.vectors(V) as j:
                reads = c.rows(d, s, j)
                for t in steps:
                    places = [build.add(j, c.index(r)) for r in range(c.width)]
                    sums = [c.load(part, r, c.index(t), c.index(0)) for r in places]
                    total = c.lanes_of(sums)
                    for e in steps[t:]:
                        if (e, t) in A:
                            total = c.fma(A[e, t], reads[e], total)
                    c.store(total, dv, at[t], j)
            return context.get_dummy_value()

        kinds = (w, k, q, x, d, from_q, from_k, both, part, dw, dv, scores, s, K, V, lanes)
        return types.void(*kinds), code

    return unfold


unfold, unfold_before = _unfold(False), _unfold(True)
