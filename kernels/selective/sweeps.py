"""One step of the selective scan and of its gradients, in vector instructions; see `vectors`.

Lanes are channels: rates and their gradients are [S width], states [... S width].  What belongs to
a step stands in row i of some rows [... width], and in row t of B and C [L S].
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels.exponential import LOG2E, exponential
from dsf.kernels.vectors import Code


@intrinsic
def step(
    context: Any, H: Any, a: Any, u: Any, dt: Any, i: Any, B: Any, C: Any, t: Any, y: Any, S: Any,
    width: Any, lanes: Any,
) -> Any:  # fmt: skip
    """H <- 2^(dt a) H + u B_t, y = sum_s H C_t."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        H, a, u, dt, i, B, C, t, y, S, width, _ = c.args

        def body(places: list[Any]) -> None:
            inputs, times = ([c.load(z, i, j) for j in places] for z in (u, dt))
            sums = [c.slot(c.zero()) for _ in places]
            with cgutils.for_range(build, S) as loop:
                s = loop.index
                write, read = (c.spread(z, t, s) for z in (B, C))
                for e, j in enumerate(places):
                    decay = exponential(c, build.fmul(times[e], c.load(a, s, j)))
                    new = c.fma(decay, c.load(H, s, j), build.fmul(inputs[e], write))
                    c.store(new, H, s, j)
                    c.add(sums[e], read, new)
            for total, j in zip(sums, places, strict=True):
                c.store(build.load(total), y, i, j)

        c.columns(width, body)
        return context.get_dummy_value()

    return types.void(H, a, u, dt, i, B, C, t, y, S, width, lanes), code


@intrinsic
def ahead(
    context: Any, H: Any, decay: Any, a: Any, u: Any, dt: Any, i: Any, B: Any, t: Any, S: Any,
    width: Any, lanes: Any,
) -> Any:  # fmt: skip
    """decay[i] = 2^(dt a), H[i + 1] = decay[i] H[i] + u B_t."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        H, decay, a, u, dt, i, B, t, S, width, _ = c.args
        following = build.add(i, c.index(1))

        def body(places: list[Any]) -> None:
            inputs, times = ([c.load(z, i, j) for j in places] for z in (u, dt))
            with cgutils.for_range(build, S) as loop:
                s = loop.index
                write = c.spread(B, t, s)
                for e, j in enumerate(places):
                    now = exponential(c, build.fmul(times[e], c.load(a, s, j)))
                    c.store(now, decay, i, s, j)
                    new = c.fma(now, c.load(H, i, s, j), build.fmul(inputs[e], write))
                    c.store(new, H, following, s, j)

        c.columns(width, body)
        return context.get_dummy_value()

    return types.void(H, decay, a, u, dt, i, B, t, S, width, lanes), code


@intrinsic
def back(
    context: Any, G: Any, H: Any, decay: Any, i: Any, a: Any, to_a: Any, u: Any, dt: Any, dy: Any,
    du: Any, ddt: Any, to_B: Any, to_C: Any, B: Any, C: Any, t: Any, S: Any, width: Any, lanes: Any,
) -> Any:  # fmt: skip
    """g = G + dy C_t, du = sum_s g B_t, G <- decay g, ddt = sum_s a (G H) / log2(e), and
    to_a += dt (G H).

    H[i] is the state before the step, H[i + 1] that after it.  The lanes of to_B = g u and of
    to_C = dy H[i + 1], both [S lanes], are still to be added up.
    """

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = Code(context, build, signature, args)
        G, H, decay, i, a, to_a, u, dt, dy, du, ddt, to_B, to_C, B, C, t, S, width, _ = c.args
        first, following = c.index(0), build.add(i, c.index(1))
        unscale = ir.Constant(c.vector, [1 / LOG2E] * c.width)

        def body(places: list[Any]) -> None:
            inputs, times, given = ([c.load(z, i, j) for j in places] for z in (u, dt, dy))
            to_u, to_dt = ([c.slot(c.zero()) for _ in places] for _ in range(2))
            begin = build.icmp_signed("==", places[0], first)
            with cgutils.for_range(build, S) as loop:
                s = loop.index
                write, read = (c.spread(z, t, s) for z in (B, C))
                sums = [
                    c.slot(build.select(begin, c.zero(), c.load(z, s, first))) for z in (to_B, to_C)
                ]
                for e, j in enumerate(places):
                    g = c.fma(given[e], read, c.load(G, s, j))
                    c.add(sums[0], g, inputs[e])
                    c.add(sums[1], given[e], c.load(H, following, s, j))
                    c.add(to_u[e], g, write)
                    g = build.fmul(g, c.load(decay, i, s, j))
                    c.store(g, G, s, j)
                    g = build.fmul(g, c.load(H, i, s, j))
                    c.store(c.fma(g, times[e], c.load(to_a, s, j)), to_a, s, j)
                    c.add(to_dt[e], g, c.load(a, s, j))
                for total, out in zip(sums, (to_B, to_C), strict=True):
                    c.store(build.load(total), out, s, first)
            for one, other, j in zip(to_u, to_dt, places, strict=True):
                c.store(build.load(one), du, i, j)
                c.store(build.fmul(build.load(other), unscale), ddt, i, j)

        c.columns(width, body)
        return context.get_dummy_value()

    kinds = (G, H, decay, i, a, to_a, u, dt, dy, du, ddt, to_B, to_C, B, C, t, S, width, lanes)
    return types.void(*kinds), code
