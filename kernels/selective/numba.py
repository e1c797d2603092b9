"""The selective scan in numba: exponentials are made where they are used, lanes are channels."""

from __future__ import annotations

import math

import numba
import numpy as np

from dsf.kernels import compiled, vectors
from dsf.kernels.exponential import LOG2E
from dsf.kernels.gradients import row_sums
from dsf.kernels.products import AHEAD, copy_rows, fetch, scratch
from dsf.kernels.selective.sweeps import ahead, back, step

Array = np.ndarray
WIDTH, WIDE = 32, 512  # channels that are run side by side, at least and at most
NARROW = 128  # of a gradient, which holds the states of a chunk in the cache
STATES = 1 << 15  # of a block wider than that: more would not stay in the cache


@compiled.forward(inputs=5)
def _steps(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, y: Array,
    log2e: float, width: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a block of `width` channels of one sequence."""
    L, D, S = x.shape[1], x.shape[2], B.shape[2]
    blocks = (D + width - 1) // width
    H, a = scratch((S, width), x), scratch((S, width), x)
    u, dt = scratch((1, width), x), scratch((1, width), x)
    row = scratch((1, width), x)
    for unit in range(first, last):
        n, start = unit // blocks, unit % blocks * width
        size = min(width, D - start)
        for d in range(size):
            for s in range(S):
                H[s, d], a[s, d] = h[n, start + d, s], A[n, start + d, s] * log2e
        for t in range(L):
            copy_rows(u, x[n, t : t + 1, start:], 1, size)
            copy_rows(dt, delta[n, t : t + 1, start:], 1, size)
            fetch(x[n, :, start:], t + AHEAD, size)
            fetch(delta[n, :, start:], t + AHEAD, size)
            fetch(y[n, :, start:], t + AHEAD, size)
            step(H, a, u, dt, B[n], C[n], row, t, S, width, lanes)
            copy_rows(y[n, t : t + 1, start:], row, 1, size)
        for d in range(size):
            for s in range(S):
                h[n, start + d, s] = H[s, d]


def forward(x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array) -> tuple[Array, Array]:
    """See `reference.forward`."""
    y, h = np.empty(x.shape, x.dtype), np.array(h)
    (N, _, D), S, lanes = x.shape, B.shape[2], vectors.lanes(x.dtype)
    # Wide blocks read long pieces of memory; there is one for every thread.  The bits are the same.
    most = max(NARROW, min(WIDE, STATES // max(S, 1)))
    blocks = max(math.ceil(D / most), math.ceil(numba.get_num_threads() / max(N, 1)))
    width = max(WIDTH, math.ceil(D / blocks / len(lanes)) * len(lanes))
    units = N * math.ceil(D / width)

    def run(first: int, last: int) -> None:
        _steps(x, delta, A, B, C, h, y, LOG2E, width, first, last, lanes)

    compiled.shared(units, 12 * h.size * x.shape[1], run)
    return y, h


@compiled.backward(inputs=7)
def _back(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, dy: Array, dh: Array,
    dx: Array, dd: Array, dA: Array, dB: Array, dC: Array, log2e: float, chunk: int, width: int,
    groups: int, first: int, last: int, lanes: tuple[int, ...],
) -> None:  # fmt: skip
    """Work units are groups of channels of one sequence; each sums its own part of dB and dC."""
    L, D, S, W = x.shape[1], x.shape[2], B.shape[2], len(lanes)
    chunks, blocks = (L + chunk - 1) // chunk, (D + width - 1) // width
    starts = scratch((chunks, S, width), x)
    inner, decay = scratch((chunk + 1, S, width), x), scratch((chunk, S, width), x)
    G, a = scratch((S, width), x), scratch((S, width), x)
    to_a = scratch((S, width), x)
    u, dt = scratch((chunk, 1, width), x), scratch((chunk, 1, width), x)
    d_y = scratch((1, width), x)
    d_u, d_dt = scratch((1, width), x), scratch((1, width), x)
    rows = (S + W - 1) // W * W
    to_b, to_c = scratch((rows, W), x), scratch((rows, W), x)
    d_b, d_c = scratch((rows,), x), scratch((rows,), x)
    for unit in range(first, last):
        n, group = unit // groups, unit % groups
        for t in range(L):
            for s in range(S):
                dB[n, group, t, s] = dC[n, group, t, s] = 0
        for block in range(blocks * group // groups, blocks * (group + 1) // groups):
            start = block * width
            size = min(width, D - start)
            for d in range(size):
                for s in range(S):
                    inner[0, s, d], G[s, d] = h[n, start + d, s], dh[n, start + d, s]
                    a[s, d], to_a[s, d] = A[n, start + d, s] * log2e, 0
            for d in range(size, width):  # lanes without a channel add nothing to dB and dC
                d_y[0, d] = 0
                for i in range(chunk):
                    u[i, 0, d] = dt[i, 0, d] = 0
                for s in range(S):
                    inner[0, s, d] = G[s, d] = a[s, d] = 0
            for c in range(chunks):
                starts[c] = inner[0]
                for t in range(c * chunk, min(c * chunk + chunk, L)):
                    copy_rows(u[0], x[n, t : t + 1, start:], 1, size)
                    copy_rows(dt[0], delta[n, t : t + 1, start:], 1, size)
                    ahead(
                        inner[0], inner[0], decay[0], a, u[0], dt[0], B[n], t, S, width, lanes
                    )  # fmt: skip
            for c in range(chunks - 1, -1, -1):
                stop = min(c * chunk + chunk, L)
                inner[0] = starts[c]
                for t in range(c * chunk, stop):
                    i = t - c * chunk
                    copy_rows(u[i], x[n, t : t + 1, start:], 1, size)
                    copy_rows(dt[i], delta[n, t : t + 1, start:], 1, size)
                    ahead(
                        inner[i], inner[i + 1], decay[i], a, u[i], dt[i], B[n], t, S, width, lanes
                    )  # fmt: skip
                for t in range(stop - 1, c * chunk - 1, -1):
                    i = t - c * chunk
                    copy_rows(d_y, dy[n, t : t + 1, start:], 1, size)
                    back(
                        G, inner[i], inner[i + 1], decay[i], a, to_a, u[i], dt[i], d_y, d_u, d_dt,
                        to_b, to_c, B[n], C[n], t, S, width, lanes,
                    )  # fmt: skip
                    row_sums(to_b, d_b, rows, lanes)
                    row_sums(to_c, d_c, rows, lanes)
                    for s in range(S):
                        dB[n, group, t, s] += d_b[s]
                        dC[n, group, t, s] += d_c[s]
                    for d in range(width):
                        d_dt[0, d] /= log2e
                    copy_rows(dx[n, t : t + 1, start:], d_u, 1, size)
                    copy_rows(dd[n, t : t + 1, start:], d_dt, 1, size)
            for d in range(size):
                for s in range(S):
                    dA[n, start + d, s], dh[n, start + d, s] = to_a[s, d], G[s, d]


def backward(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, dy: Array, dh: Array
) -> tuple[Array, ...]:
    """Gradients of x, delta, A, B, C and h, from those of y and of the last state.

    States are computed again from one kept for each chunk of about sqrt(L) steps.
    """
    N, L, D = x.shape
    dx, dd = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    dA, dh = np.empty(h.shape, h.dtype), np.array(dh)
    lanes = vectors.lanes(x.dtype)
    width = min(NARROW, math.ceil(max(D, 1) / len(lanes)) * len(lanes))
    groups = max(1, min(4, math.ceil(D / width))) if N == 1 else 1
    dB, dC = (np.empty((N, groups, *B.shape[1:]), B.dtype) for _ in range(2))
    chunk = max(8, math.isqrt(L))

    def run(first: int, last: int) -> None:
        _back(
            x, delta, A, B, C, h, dy, dh, dx, dd, dA, dB, dC, LOG2E, chunk, width, groups,
            first, last, lanes,
        )  # fmt: skip

    compiled.shared(N * groups, 30 * h.size * L, run)
    return dx, dd, dA, dB.sum(1), dC.sum(1), dh
