"""The diagonal scan in numba, row by row: as fast as memory gives the numbers."""

from __future__ import annotations

import numpy as np

from dsf.kernels import compiled

Array = np.ndarray
WIDTH = 64  # channels that one thread takes at least


@compiled.forward(inputs=2)
def _steps(a: Array, b: Array, y: Array, h: Array, n: int, first: int, last: int) -> None:
    """The channels first .. last-1 of sequence n."""
    row = np.empty(last - first, b.dtype)
    for d in range(first, last):
        row[d - first] = h[n, d]
    for t in range(b.shape[1]):
        for d in range(first, last):
            row[d - first] = a[n, t, d] * row[d - first] + b[n, t, d]
            y[n, t, d] = row[d - first]
    for d in range(first, last):
        h[n, d] = row[d - first]


def forward(a: Array, b: Array, h: Array) -> tuple[Array, Array]:
    """See `reference.forward`."""
    y, h = np.empty(b.shape, b.dtype), np.array(h)
    B, _, D = b.shape
    blocks = max(1, D // WIDTH) if B == 1 else 1

    def run(first: int, last: int) -> None:
        for unit in range(first, last):
            n, i = divmod(unit, blocks)
            _steps(a, b, y, h, n, D * i // blocks, D * (i + 1) // blocks)

    compiled.shared(B * blocks, b.size, run)
    return y, h


@compiled.backward(inputs=4)
def _back(
    a: Array, y: Array, h: Array, dy: Array, dh: Array, da: Array, db: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Sequences first .. last-1; h is the state before the first step."""
    L, D = y.shape[1], y.shape[2]
    g = np.empty(D, y.dtype)
    for n in range(first, last):
        for d in range(D):
            g[d] = dh[n, d]
        for t in range(L - 1, -1, -1):
            for d in range(D):
                g[d] += dy[n, t, d]
                db[n, t, d] = g[d]
                before = y[n, t - 1, d] if t else h[n, d]
                da[n, t, d] = g[d] * before.conjugate()
                g[d] *= a[n, t, d].conjugate()
        for d in range(D):
            dh[n, d] = g[d]


def backward(a: Array, b: Array, h: Array, dy: Array, dh: Array) -> tuple[Array, ...]:
    """Gradients of a, b and h; complex ones as torch defines them, from conjugates."""
    y, _ = forward(a, b, h)
    da, db, dh = np.empty(b.shape, b.dtype), np.empty(b.shape, b.dtype), np.array(dh)
    compiled.shared(b.shape[0], 6 * b.size, lambda *ends: _back(a, y, h, dy, dh, da, db, *ends))
    return da, db, dh
