"""Runge-Kutta steps in numba, 64 systems at a time: each variable of a block is one row of memory.

The step is written out for the number of variables, so that the loop over the systems of a block
has numbers only and is turned into vector instructions.  A block is always full, the last one with
copies of its last system, so every system goes through the same instructions: neither the split of
a batch nor the number of threads changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError

from dsf.core.errors import KernelError
from dsf.kernels import compiled
from dsf.kernels.flow.system import function

Array = np.ndarray
WIDTH = 64  # systems of a block

STEP = """
def advance(y, p, h, steps):
    for _ in range(steps):
        for j in range({width}):
            {p}
            {x}
            a = f({at_y})
            b = f({at_a})
            c = f({at_b})
            e = f({at_c})
            {new}
"""


def source(d: int, q: int) -> str:
    """`advance(y, p, h, steps)` of a block y [d 64], p [q 64], in place.

    >>> print(source(1, 0))
    <BLANKLINE>
    def advance(y, p, h, steps):
        for _ in range(steps):
            for j in range(64):
                pass
                x0 = y[0, j]
                a = f(x0)
                b = f(x0 + h / 2 * a[0])
                c = f(x0 + h / 2 * b[0])
                e = f(x0 + h * c[0])
                y[0, j] = x0 + h / 6 * (a[0] + 2 * (b[0] + c[0]) + e[0])
    <BLANKLINE>
    """
    ps = [f"p{i}" for i in range(q)]

    def lines(form: str, count: int) -> str:
        return "\n            ".join(form.format(i=i) for i in range(count)) or "pass"

    def at(form: str) -> str:
        return ", ".join([*(form.format(i=i) for i in range(d)), *ps])

    return STEP.format(
        width=WIDTH, p=lines("p{i} = p[{i}, j]", q), x=lines("x{i} = y[{i}, j]", d),
        at_y=at("x{i}"), at_a=at("x{i} + h / 2 * a[{i}]"), at_b=at("x{i} + h / 2 * b[{i}]"),
        at_c=at("x{i} + h * c[{i}]"),
        new=lines("y[{i}, j] = x{i} + h / 6 * (a[{i}] + 2 * (b[{i}] + c[{i}]) + e[{i}])", d),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _compiled(system: tuple[Any, ...]) -> Callable[..., None]:
    """`advance` of a right-hand side.  Nothing is kept on disk: its source is no file."""
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {*compiled.EXACT}}
    names: dict[str, Any] = {"f": numba.njit(forceinline=True, **how)(function(*system, "math"))}
    exec(source(len(system[0]), len(system[1])), names)
    block = numba.float64[:, ::1]
    try:
        return numba.njit([numba.void(block, block, numba.float64, numba.intp)], **how)(
            names["advance"]
        )
    except NumbaError as e:
        raise KernelError(
            f"gradient_flow: numba cannot compile the right-hand side "
            f"{', '.join(map(str, system[2]))}: {str(e).strip().splitlines()[-1]} Likely cause: a "
            "function that Python's math lacks. Use backend='reference'."
        ) from e


def forward(y: Array, p: Array, t: Array, steps: int, system: tuple[Any, ...]) -> tuple[Any, Any]:
    """See `reference.forward`."""
    advance = _compiled(system)
    (d, N), T = y.shape, len(t)
    out = np.empty((T, d, N))

    def run(first: int, last: int) -> None:
        for n in range(first * WIDTH, min(last * WIDTH, N), WIDTH):
            stop = min(n + WIDTH, N)
            lane = np.minimum(np.arange(n, n + WIDTH), N - 1)
            block, given = np.ascontiguousarray(y[:, lane]), np.ascontiguousarray(p[:, lane])
            out[0, :, n:stop] = y[:, n:stop]
            for i, (start, end) in enumerate(pairwise(t), 1):
                advance(block, given, (end - start) / steps, steps)
                out[i, :, n:stop] = block[:, : stop - n]

    compiled.shared(-(-N // WIDTH), 4 * N * d * T * steps, run)
    return out, out[-1]
