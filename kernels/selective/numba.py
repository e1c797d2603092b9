"""The selective scan in numba: exponentials are made where they are used, lanes are channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.kernels import compiled, rows, vectors
from dsf.kernels.exponential import LOG2E
from dsf.kernels.gradients import chunk_length, row_sums
from dsf.kernels.products import AHEAD, copy_rows, fetch, scratch
from dsf.kernels.selective.sweeps import ahead, back, step

Array = np.ndarray
WIDTH, WIDE = 32, 512  # channels that are run side by side, at least and at most
ROWS = 16  # of the inputs that are taken at once
NARROW = 128  # of a gradient, which holds the states of a chunk in the cache
STATES = 1 << 15  # of a block wider than that: more would not stay in the cache


@compiled.forward(inputs=5)
def _steps(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, y: Array, states: Array,
    log2e: float, chunk: int, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a block of `width` channels of one sequence.

    states [N chunks*S 1 D] are those before every `chunk` steps, none where that is 0.
    """
    L, D, S = x.shape[1], x.shape[2], B.shape[2]
    blocks = (D + width - 1) // width
    H, a = scratch((S, width), x), scratch((S, width), x)
    u, dt, row = scratch((ROWS, width), x), scratch((ROWS, width), x), scratch((ROWS, width), x)
    one = u.dtype.type(1)
    straight = x.strides[2] == delta.strides[2] == x.itemsize
    for unit in range(first, last):
        n, start = unit // blocks, unit % blocks * width
        size = min(width, D - start)
        own_B, own_C, direct = B[n], C[n], straight and size == width
        for d in range(size):
            for s in range(S):
                H[s, d], a[s, d] = h[n, start + d, s], A[n, start + d, s] * log2e
        for begin in range(0, L, ROWS):
            end = min(begin + ROWS, L)
            if chunk and begin % chunk == 0:
                rows.give(states, n, begin // chunk * S, 0, start, H, 0, S, size, one, lanes)
            inputs, times = x[n, begin:end, start:], delta[n, begin:end, start:]
            out = y[n, begin:end, start:]
            if not direct:
                copy_rows(u, inputs, end - begin, size)
                copy_rows(dt, times, end - begin, size)
                inputs, times, out = u, dt, row
            later, later_dt, later_y = x[n, :, start:], delta[n, :, start:], y[n, :, start:]
            for t in range(begin, end):
                fetch(later, t + AHEAD, size)
                fetch(later_dt, t + AHEAD, size)
                fetch(later_y, t + AHEAD, size)
                step(H, a, inputs, times, t - begin, own_B, own_C, t, out, S, width, lanes)
            if not direct:
                copy_rows(y[n, begin:end, start:], row, end - begin, size)
        for d in range(size):
            for s in range(S):
                h[n, start + d, s] = H[s, d]


def kept(x: Any, delta: Any, A: Any, B: Any, *_: Any) -> list[tuple[int, ...]]:
    """The shapes of what `forward` keeps: states [S D] before the chunks."""
    N, L, D = x.shape
    return [(N, -(-L // chunk_length(L)) * B.shape[2], 1, D)]


def forward(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, keep: bool = False
) -> tuple[Array, ...]:
    """See `reference.forward`; with `keep` also the states that `backward` begins its chunks with,
    see `kept`."""
    states = [np.empty(shape, x.dtype) for shape in kept(x, delta, A, B)] if keep else []
    chunk = chunk_length(x.shape[1]) if keep else 0
    y, h = np.empty(x.shape, x.dtype), np.array(h)
    (N, _, D), S, lanes = x.shape, B.shape[2], vectors.lanes(x.dtype)
    # Wide blocks read long pieces of memory; there is one for every thread.  The bits are the same.
    most = max(NARROW, min(WIDE, STATES // max(S, 1)))
    blocks = max(math.ceil(D / most), math.ceil(compiled.threads() / max(N, 1)))
    width = max(WIDTH, math.ceil(D / blocks / len(lanes)) * len(lanes))
    units = N * math.ceil(D / width)

    def run(first: int, last: int) -> None:
        _steps(
            x, delta, A, B, C, h, y, states[0] if keep else y[:, :, None], LOG2E, chunk, width,
            first, last, lanes,
        )  # fmt: skip

    compiled.shared(units, 12 * h.size * x.shape[1], run)
    return y, h, *states


@compiled.backward(inputs=7)
def _back(
    x: Array, delta: Array, A: Array, B: Array, C: Array, states: Array, dy: Array, dh: Array,
    dx: Array, dd: Array, dA: Array, dB: Array, dC: Array, log2e: float, chunk: int, width: int,
    groups: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Work units are groups of channels of one sequence; each sums its own part of dB and dC."""
    L, D, S, W = x.shape[1], x.shape[2], B.shape[2], len(lanes)
    chunks, blocks = (L + chunk - 1) // chunk, (D + width - 1) // width
    inner, decay = scratch((chunk + 1, S, width), x), scratch((chunk, S, width), x)
    G, a, to_a = scratch((S, width), x), scratch((S, width), x), scratch((S, width), x)
    u, dt, d_y = scratch((chunk, width), x), scratch((chunk, width), x), scratch((chunk, width), x)
    d_u, d_dt = scratch((chunk, width), x), scratch((chunk, width), x)
    wide = (S + W - 1) // W * W
    to_b, to_c = scratch((wide, W), x), scratch((wide, W), x)
    d_b, d_c = scratch((wide,), x), scratch((wide,), x)
    for unit in range(first, last):
        n, group = unit // groups, unit % groups
        own_B, own_C, own_dB, own_dC = B[n], C[n], dB[n, group], dC[n, group]
        own_dB[:], own_dC[:] = 0, 0
        for block in range(blocks * group // groups, blocks * (group + 1) // groups):
            start = block * width
            size = min(width, D - start)
            for d in range(size):
                for s in range(S):
                    G[s, d] = dh[n, start + d, s]
                    a[s, d], to_a[s, d] = A[n, start + d, s] * log2e, 0
            if size < width:  # lanes without a channel add nothing to dB and dC
                u[:, size:], dt[:, size:], d_y[:, size:] = 0, 0, 0
                inner[0, :, size:], G[:, size:], a[:, size:] = 0, 0, 0
            inputs, times, given = x[n, :, start:], delta[n, :, start:], dy[n, :, start:]
            to_x, to_d = dx[n, :, start:], dd[n, :, start:]
            for c in range(chunks - 1, -1, -1):
                begin, end = c * chunk, min(c * chunk + chunk, L)
                copy_rows(u, inputs[begin:], end - begin, size)
                copy_rows(dt, times[begin:], end - begin, size)
                rows.take(inner, 0, states, n, c * S, 0, start, S, size, lanes)
                copy_rows(d_y, given[begin:], end - begin, size)
                for i in range(end - begin):
                    before = max(begin + i - chunk, 0)
                    fetch(inputs, before, size)
                    fetch(times, before, size)
                    fetch(given, before, size)
                    fetch(to_x, begin + i, size)
                    fetch(to_d, begin + i, size)
                    ahead(inner, decay, a, u, dt, i, own_B, begin + i, S, width, lanes)
                for i in range(end - begin - 1, -1, -1):
                    t = begin + i
                    back(
                        G, inner, decay, i, a, to_a, u, dt, d_y, d_u, d_dt, to_b, to_c, own_B,
                        own_C, t, S, width, lanes,
                    )  # fmt: skip
                    row_sums(to_b, d_b, wide, lanes)
                    row_sums(to_c, d_c, wide, lanes)
                    for s in range(S):
                        own_dB[t, s] += d_b[s]
                        own_dC[t, s] += d_c[s]
                copy_rows(to_x[begin:], d_u, end - begin, size)
                copy_rows(to_d[begin:], d_dt, end - begin, size)
            for d in range(size):
                for s in range(S):
                    dA[n, start + d, s], dh[n, start + d, s] = to_a[s, d], G[s, d]


def backward(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, states: Array, dy: Array,
    dh: Array,
) -> tuple[Array, ...]:  # fmt: skip
    """Gradients of x, delta, A, B, C and h, from those of y and of the last state.

    States are computed again from those kept by `forward`.
    """
    N, L, D = x.shape
    dx, dd = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    dA, dh = np.empty(h.shape, h.dtype), np.array(dh)
    lanes = vectors.lanes(x.dtype)
    width = min(NARROW, math.ceil(max(D, 1) / len(lanes)) * len(lanes))
    groups = max(1, min(4, math.ceil(D / width))) if N == 1 else 1
    dB, dC = (np.empty((N, groups, *B.shape[1:]), B.dtype) for _ in range(2))

    def run(first: int, last: int) -> None:
        _back(
            x, delta, A, B, C, states, dy, dh, dx, dd, dA, dB, dC, LOG2E, chunk_length(L), width,
            groups, first, last, lanes,
        )  # fmt: skip

    compiled.shared(N * groups, 24 * h.size * L, run)
    return dx, dd, dA, dB.sum(1), dC.sum(1), dh
