"""Several steps of the delta rule in one sweep over the state, in vector instructions.

STEPS tokens from a state S are taken together.  With C_t the product of their decays up to token t,
u_t = beta_t (v_t - ...) what token t writes, and k_s carried to token t by the decays between,

    z_t = v_t - S'(C_t k_t) - sum_{s < t} (k_t' carried k_s) u_s,    u_t = beta_t z_t
    y_t = S'(C_t q_t) + sum_{s <= t} (q_t' carried k_s) u_s,    S <- C S + sum_s carried k_s u_s'

so S is read and written once for STEPS tokens, and no quotient of decays is made.  See `vectors`
for how vector code is made.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.vectors import Code

STEPS = 4
# where the products of keys with earlier keys and of queries with keys lie: (kind, token, earlier)
PAIRS = [("key", t, s) for t in range(STEPS) for s in range(t)]
PAIRS += [("query", t, s) for t in range(STEPS) for s in range(t + 1)]
PLACE = {pair: i for i, pair in enumerate(PAIRS)}
RATES = 16  # where the rates beta lie behind them
GRAM = 32  # numbers kept of STEPS tokens


class Sweep(Code):
    """Code on rows of STEPS tokens."""

    def rows(self, array: Any, slot: Any, place: Any) -> list[Any]:
        """The vectors array[slot, t, place:] of all tokens."""
        return [self.load(array, slot, self.index(t), place) for t in range(STEPS)]

    def write_rows(self, values: list[Any], array: Any, slot: Any, place: Any) -> None:
        for t, x in enumerate(values):
            self.store(x, array, slot, self.index(t), place)

    def sums(self, count: int) -> list[Any]:
        return [self.slot(self.zero()) for _ in range(count)]

    def numbers(self, gram: Any, slot: Any) -> tuple[dict[Any, Any], list[Any]]:
        """The products of PAIRS and the rates beta, each in every lane."""
        found = [self.spread(gram, slot, self.index(i)) for i in range(RATES + STEPS)]
        return {pair: found[i] for pair, i in PLACE.items()}, found[RATES:]

    def carried(self, decays: list[Any], keys: list[Any]) -> list[list[Any]]:
        """The keys of tokens s <= t carried to token t, for every t."""
        found: list[list[Any]] = []
        for t, key in enumerate(keys):
            before = found[-1] if t else []
            found.append([*(self.build.fmul(decays[t], x) for x in before), key])
        return found

    def products(self, decays: list[Any]) -> list[Any]:
        """The products of decays up to every token."""
        found = decays[:1]
        for decay in decays[1:]:
            found.append(self.build.fmul(decay, found[-1]))
        return found

    def lane_sums(self, values: list[Any]) -> list[Any]:
        """The sums over the lanes of each, side by side in as few vectors as hold them."""
        values = values + [self.zero()] * (-len(values) % self.width)
        found = []
        for start in range(0, len(values), self.width):
            held = values[start : start + self.width]
            while len(held) > 1:
                pairs = zip(held[::2], held[1::2], strict=True)
                held = [self.pair_sums(a, b, self.width // len(held)) for a, b in pairs]
            found += held
        return found

    def store_sums(self, sums: list[Any], out: Any, slot: Any) -> None:
        """out[slot, n] = the sum over the lanes of sum n."""
        for n, x in enumerate(self.lane_sums([self.build.load(total) for total in sums])):
            self.store(x, out, slot, self.index(n * self.width))


@intrinsic
def prepare(
    context: Any, w: Any, k: Any, q: Any, seen: Any, read: Any, write: Any, decay: Any, gram: Any,
    slot: Any, K: Any, lanes: Any,
) -> Any:  # fmt: skip
    """seen_t = C_t k_t, read_t = C_t q_t, write_s = k_s carried to the last token, decay = C, and
    in gram the products of PAIRS.

    w, k, q, seen, read, write [slots STEPS K], decay [slots K], gram [slots GRAM], all of them at
    one slot; K counts in whole vectors.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        w, k, q, seen, read, write, decay, gram, slot, K, _ = c.args
        sums = c.sums(len(PAIRS))
        with c.vectors(K) as i:
            decays, keys, queries = (c.rows(z, slot, i) for z in (w, k, q))
            carried, totals = c.carried(decays, keys), c.products(decays)
            for t in range(STEPS):
                for s, x in enumerate(carried[t]):
                    if s < t:
                        c.add(sums[PLACE["key", t, s]], keys[t], x)
                    c.add(sums[PLACE["query", t, s]], queries[t], x)
            for rows, out in ((keys, seen), (queries, read)):
                products = [build.fmul(a, x) for a, x in zip(totals, rows, strict=True)]
                c.write_rows(products, out, slot, i)
            c.write_rows(carried[-1], write, slot, i)
            c.store(totals[-1], decay, slot, i)
        c.store_sums(sums, gram, slot)
        return context.get_dummy_value()

    return types.void(w, k, q, seen, read, write, decay, gram, slot, K, lanes), code


def _differences(c: Sweep, values: Any, old: Any, pairs: Any, rates: Any) -> Any:
    """The vectors z and u of all tokens."""
    z: list[Any] = []
    u: list[Any] = []
    for t, (x, held) in enumerate(zip(values, old, strict=True)):
        x = c.build.fsub(x, held)
        for s, written in enumerate(u):
            x = c.fma(c.build.fneg(pairs["key", t, s]), written, x)
        z.append(x)
        u.append(c.build.fmul(rates[t], x))
    return z, u


@intrinsic
def solve(
    context: Any, v: Any, gram: Any, now: Any, by_key: Any, by_query: Any, n: Any, z: Any, u: Any,
    y: Any, odd: Any, V: Any, lanes: Any,
) -> Any:  # fmt: skip
    """z, u and y of STEPS tokens, from by_key[n] = S'seen, by_query[n] = S'read and gram[now].

    odd [lanes] is 0, and NaN in some lane where a u or y is not finite.  v, z, u, y [1 STEPS V],
    by_key, by_query [slots STEPS V]; V counts in whole vectors.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        v, gram, now, by_key, by_query, n, z, u, y, odd, V, _ = c.args
        first, (check,), (pairs, rates) = c.index(0), c.sums(1), c.numbers(gram, now)
        with c.vectors(V) as j:
            old = c.rows(by_key, n, j)
            missed, written = _differences(c, c.rows(v, first, j), old, pairs, rates)
            c.write_rows(missed, z, first, j)
            c.write_rows(written, u, first, j)
            for t, total in enumerate(c.rows(by_query, n, j)):
                for s in range(t + 1):
                    total = c.fma(pairs["query", t, s], written[s], total)
                c.store(total, y, first, c.index(t), j)
                c.add(check, written[t], c.zero())
                c.add(check, total, c.zero())
        c.store(build.load(check), odd, first)
        return context.get_dummy_value()

    return types.void(v, gram, now, by_key, by_query, n, z, u, y, odd, V, lanes), code


@intrinsic
def advance(
    context: Any, S: Any, n: Any, decay: Any, write: Any, now: Any, u: Any, of: Any, seen: Any,
    read: Any, then: Any, by_key: Any, by_query: Any, K: Any, V: Any, lanes: Any,
) -> Any:  # fmt: skip
    """S[n] <- decay S + sum_t write_t u_t' with decay and write of the slot `now` and u of `of`,
    then by_key[n] = S'seen and by_query[n] = S'read of the slot `then`.

    S [heads K V], decay [slots K], write, seen, read [slots STEPS K], u, by_key, by_query
    [.. STEPS V].
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Sweep(context, build, signature, args)
        S, n, decay, write, now, u, of, seen, read, then, by_key, by_query, K, V, _ = c.args
        reads = ((seen, by_key), (read, by_query))

        def body(places: list[Any]) -> None:
            values = [c.rows(u, of, j) for j in places]
            sums = [[c.sums(STEPS) for _ in places] for _ in reads]
            with cgutils.for_range(build, K) as loop:
                i = loop.index
                factor = c.spread(decay, now, i)
                states = [build.fmul(factor, c.load(S, n, i, j)) for j in places]
                for t in range(STEPS):
                    key = c.spread(write, now, c.index(t), i)
                    for e, column in enumerate(values):
                        states[e] = c.fma(key, column[t], states[e])
                for state, j in zip(states, places, strict=True):
                    c.store(state, S, n, i, j)
                for (source, _), totals in zip(reads, sums, strict=True):
                    for t in range(STEPS):
                        x = c.spread(source, then, c.index(t), i)
                        for state, total in zip(states, totals, strict=True):
                            c.add(total[t], x, state)
            for (_, out), totals in zip(reads, sums, strict=True):
                for total, j in zip(totals, places, strict=True):
                    c.write_rows([build.load(x) for x in total], out, n, j)

        c.columns(V, body, most=2)
        return context.get_dummy_value()

    kinds = (S, n, decay, write, now, u, of, seen, read, then, by_key, by_query, K, V, lanes)
    return types.void(*kinds), code
