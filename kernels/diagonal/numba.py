"""The diagonal scan in numba, row by row: as fast as memory gives the numbers."""

from __future__ import annotations

import numpy as np

from dsf.kernels import compiled
from dsf.kernels.products import copy_rows, fetch

Array = np.ndarray
WIDTH = 64  # channels that one thread takes at least
AHEAD = 2  # rows from the one that is read to the one that is fetched


@compiled.forward(inputs=2)
def _steps(a: Array, b: Array, y: Array, h: Array, n: int, first: int, last: int) -> None:
    """The channels first .. last-1 of sequence n."""
    D = last - first
    decay, add, row = (
        np.empty((1, D), b.dtype),
        np.empty((1, D), b.dtype),
        np.empty((1, D), b.dtype),
    )
    copy_rows(row, h[n : n + 1, first:last], 1, D)
    for t in range(b.shape[1]):
        if t == 0 or a.strides[1] != 0:  # else constant in time
            copy_rows(decay, a[n, t : t + 1, first:last], 1, D)
        copy_rows(add, b[n, t : t + 1, first:last], 1, D)
        for d in range(D):
            row[0, d] = decay[0, d] * row[0, d] + add[0, d]
        copy_rows(y[n, t : t + 1, first:last], row, 1, D)
    copy_rows(h[n : n + 1, first:last], row, 1, D)


def forward(a: Array, b: Array, h: Array) -> tuple[Array, Array]:
    """See `reference.forward`."""
    y, h = np.empty(b.shape, b.dtype), np.array(h, order="C")
    B, _, D = b.shape
    blocks = max(1, D // WIDTH) if B == 1 else 1

    def run(first: int, last: int) -> None:
        for n in range(first // blocks, (last - 1) // blocks + 1):  # whole rows where possible
            start, stop = max(first - n * blocks, 0), min(last - n * blocks, blocks)
            _steps(a, b, y, h, n, D * start // blocks, D * stop // blocks)

    compiled.shared(B * blocks, b.size, run)
    return y, h


@compiled.backward(inputs=4)
def _back(
    a: Array, y: Array, h: Array, dy: Array, dh: Array, da: Array, db: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Sequences first .. last-1; h is the state before the first step."""
    L, D = y.shape[1], y.shape[2]
    g, decay, before = (
        np.empty((1, D), y.dtype),
        np.empty((1, D), y.dtype),
        np.empty((1, D), y.dtype),
    )
    add, change = np.empty((1, D), y.dtype), np.empty((1, D), y.dtype)
    for n in range(first, last):
        copy_rows(g, dh[n : n + 1], 1, D)
        for t in range(L - 1, -1, -1):
            if t == L - 1 or a.strides[1] != 0:  # else constant in time
                copy_rows(decay, a[n, t : t + 1], 1, D)
            following = max(t - AHEAD, 0)  # no CPU guesses rows that are read backwards
            for given in (dy, y):
                fetch(given[n], following, D)
            for found in (da, db):
                fetch(found[n], following, D)
            if a.strides[1] != 0:
                fetch(a[n], following, D)
            copy_rows(add, dy[n, t : t + 1], 1, D)
            copy_rows(before, y[n, t - 1 : t] if t else h[n : n + 1], 1, D)
            for d in range(D):
                g[0, d] += add[0, d]
            copy_rows(db[n, t : t + 1], g, 1, D)
            for d in range(D):
                change[0, d] = g[0, d] * before[0, d].conjugate()
                g[0, d] *= decay[0, d].conjugate()
            copy_rows(da[n, t : t + 1], change, 1, D)
        copy_rows(dh[n : n + 1], g, 1, D)


def backward(a: Array, b: Array, h: Array, y: Array, dy: Array, dh: Array) -> tuple[Array, ...]:
    """Gradients of a, b and h, from y; complex ones as torch defines them, from conjugates."""
    da, db, dh = np.empty(b.shape, b.dtype), np.empty(b.shape, b.dtype), np.array(dh, order="C")
    compiled.shared(b.shape[0], 6 * b.size, lambda *ends: _back(a, y, h, dy, dh, da, db, *ends))
    return da, db, dh
