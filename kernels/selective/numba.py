"""The selective scan in numba: exponentials are made where they are used, lanes are channels."""

from __future__ import annotations

import math

import numba
import numpy as np

from dsf.kernels import compiled
from dsf.kernels.exponential import LOG2E, exp2
from dsf.kernels.products import AHEAD, copy_rows, fetch
from dsf.kernels.vectors import widest_vectors

Array = np.ndarray
WIDTH = 32  # channels that are run side by side
WIDE = 128  # of the forward pass, where there are so many


@compiled.forward(inputs=5)
def _steps(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, y: Array,
    log2e: float, first: int, last: int, side: tuple[int, ...],
) -> None:  # fmt: skip
    """The work units first .. last-1, each a block of len(side) channels of one sequence."""
    widest_vectors()
    L, D, S, width = x.shape[1], x.shape[2], B.shape[2], len(side)
    blocks = (D + width - 1) // width
    H, a = np.zeros((S, width), x.dtype), np.zeros((S, width), x.dtype)
    u, dt = np.zeros((1, width), x.dtype), np.zeros((1, width), x.dtype)
    row = np.empty((1, width), x.dtype)
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
            for d in range(width):
                row[0, d] = 0
            for s in range(S):
                b, c = B[n, t, s], C[n, t, s]
                for d in range(width):  # a fixed number: lanes beyond `size` are not looked at
                    new = exp2(dt[0, d] * a[s, d]) * H[s, d] + u[0, d] * b
                    H[s, d] = new
                    row[0, d] += new * c
            copy_rows(y[n, t : t + 1, start:], row, 1, size)
        for d in range(size):
            for s in range(S):
                h[n, start + d, s] = H[s, d]


def forward(x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array) -> tuple[Array, Array]:
    """See `reference.forward`."""
    y, h = np.empty(x.shape, x.dtype), np.array(h)
    # Wide blocks where they leave one for every thread; the bits are the same.
    several = x.shape[0] * (x.shape[2] // WIDE) >= numba.get_num_threads()
    width = WIDE if several else WIDTH
    units = x.shape[0] * math.ceil(x.shape[2] / width)

    def run(first: int, last: int) -> None:
        _steps(x, delta, A, B, C, h, y, LOG2E, first, last, (0,) * width)

    compiled.shared(units, 12 * h.size * x.shape[1], run)
    return y, h


@compiled.backward(inputs=7)
def _back(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, dy: Array, dh: Array,
    dx: Array, dd: Array, dA: Array, dB: Array, dC: Array, log2e: float, chunk: int,
    groups: int, first: int, last: int,
) -> None:  # fmt: skip
    """Work units are groups of channels of one sequence; each sums its own part of dB and dC."""
    L, D, S = x.shape[1], x.shape[2], B.shape[2]
    chunks = (L + chunk - 1) // chunk
    blocks = (D + WIDTH - 1) // WIDTH
    starts = np.empty((chunks, S, WIDTH), x.dtype)
    inner, decay = np.empty((chunk + 1, S, WIDTH), x.dtype), np.empty((chunk, S, WIDTH), x.dtype)
    G, a, sums = (
        np.empty((S, WIDTH), x.dtype),
        np.zeros((S, WIDTH), x.dtype),
        np.empty((S, WIDTH), x.dtype),
    )
    u, dt, d_y = np.zeros(WIDTH, x.dtype), np.zeros(WIDTH, x.dtype), np.zeros(WIDTH, x.dtype)
    g_x, g_d = np.zeros(WIDTH, x.dtype), np.zeros(WIDTH, x.dtype)
    for unit in range(first, last):
        n, group = unit // groups, unit % groups
        for t in range(L):
            for s in range(S):
                dB[n, group, t, s] = dC[n, group, t, s] = 0
        for block in range(blocks * group // groups, blocks * (group + 1) // groups):
            start = block * WIDTH
            size = min(WIDTH, D - start)
            for d in range(size):
                for s in range(S):
                    inner[0, s, d], G[s, d] = h[n, start + d, s], dh[n, start + d, s]
                    a[s, d], sums[s, d] = A[n, start + d, s] * log2e, 0
            for c in range(2 * chunks):
                # first from chunk to chunk, then back through them, states computed again
                again = c >= chunks
                here = 2 * chunks - 1 - c if again else c
                stop = min(here * chunk + chunk, L)
                for s in range(S):
                    for d in range(size):
                        if again:
                            inner[0, s, d] = starts[here, s, d]
                        else:
                            starts[here, s, d] = inner[0, s, d]
                for t in range(here * chunk, stop):
                    i = t - here * chunk
                    new, old = (i + 1, i) if again else (0, 0)
                    for d in range(size):
                        u[d], dt[d] = x[n, t, start + d], delta[n, t, start + d]
                    for s in range(S):
                        b = B[n, t, s]
                        for d in range(size):
                            e = exp2(dt[d] * a[s, d])
                            decay[i, s, d] = e
                            inner[new, s, d] = e * inner[old, s, d] + u[d] * b
                if not again:
                    continue
                for t in range(stop - 1, here * chunk - 1, -1):
                    i = t - here * chunk
                    for d in range(size):
                        u[d], dt[d] = x[n, t, start + d], delta[n, t, start + d]
                        d_y[d], g_x[d], g_d[d] = dy[n, t, start + d], 0, 0
                    for s in range(S):
                        b, c_t = B[n, t, s], C[n, t, s]
                        to_b, to_c = b * 0, b * 0
                        for d in range(size):
                            g = G[s, d] + d_y[d] * c_t
                            to_c += d_y[d] * inner[i + 1, s, d]
                            to_b += g * u[d]
                            g_x[d] += g * b
                            g = g * decay[i, s, d]
                            G[s, d] = g
                            g = g * inner[i, s, d]
                            sums[s, d] += g * dt[d]
                            g_d[d] += g * a[s, d]
                        dB[n, group, t, s] += to_b
                        dC[n, group, t, s] += to_c
                    for d in range(size):
                        dx[n, t, start + d], dd[n, t, start + d] = g_x[d], g_d[d] / log2e
            for d in range(size):
                for s in range(S):
                    dA[n, start + d, s], dh[n, start + d, s] = sums[s, d], G[s, d]


def backward(
    x: Array, delta: Array, A: Array, B: Array, C: Array, h: Array, dy: Array, dh: Array
) -> tuple[Array, ...]:
    """Gradients of x, delta, A, B, C and h, from those of y and of the last state.

    States are computed again from one kept for each chunk of about sqrt(L) steps.
    """
    N, L, D = x.shape
    dx, dd = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    dA, dh = np.empty(h.shape, h.dtype), np.array(dh)
    groups = max(1, min(4, math.ceil(D / WIDTH))) if N == 1 else 1
    dB, dC = (np.empty((N, groups, *B.shape[1:]), B.dtype) for _ in range(2))
    chunk = max(8, math.isqrt(L))

    def run(first: int, last: int) -> None:
        _back(x, delta, A, B, C, h, dy, dh, dx, dd, dA, dB, dC, LOG2E, chunk, groups, first, last)

    compiled.shared(N * groups, 30 * h.size * L, run)
    return dx, dd, dA, dB.sum(1), dC.sum(1), dh
