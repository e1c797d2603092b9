"""How kernels are compiled, and how their work is shared among threads.

A kernel is compiled when it is first called with a dtype, and kept on disk.  It takes arrays of any
strides (views, transposed, read-only, expanded ones), so nothing is copied on the way in; inside it
copies one row at a time.  `contract` allows a fused multiply-add; nothing that would change what
NaN and infinity do is allowed.  Kernels for gradients may also reorder sums.  Threads take ranges
of heads, channels or columns, which do not depend on each other: their number changes no bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numba import types
from numba.np.ufunc import parallel

EXACT = frozenset({"contract", "nsz", "arcp"})
TOGETHER = 8  # units that take turns, since the rows of neighbours share pages of memory
SMALL = 1 << 18  # multiplications below which one thread is enough

WITHOUT_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # which take 0.1 s each
# Of functions that kernels alone call; they add in the order written.
part = numba.njit(nogil=True, error_model="numpy", fastmath={*EXACT}, **WITHOUT_WRAPPERS)


class Kernel:
    """A function on arrays, compiled once for each dtype; its first `inputs` arrays are read only.

    Numbers are taken as the dtype of the first array, integers and booleans as they are.
    """

    def __init__(self, function: Callable[..., None], inputs: int, fastmath: set[str]) -> None:
        self.function = function
        self.inputs = inputs
        self.fastmath = fastmath
        self.known: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> None:
        dtype = args[0].dtype
        key = dtype, len(args[-1]) if isinstance(args[-1], tuple) else 0
        if key not in self.known:
            signature = types.void(*(self._type(i, x, dtype) for i, x in enumerate(args)))
            self.known[key] = numba.njit(
                [signature],
                nogil=True,
                cache=True,
                error_model="numpy",
                fastmath=self.fastmath,
                no_cfunc_wrapper=True,
            )(self.function)
        self.known[key](*args)

    def _type(self, i: int, x: Any, dtype: np.dtype) -> Any:
        if isinstance(x, np.ndarray):
            return types.Array(numba.from_dtype(x.dtype), x.ndim, "A", readonly=i < self.inputs)
        if isinstance(x, tuple):  # of zeros: only its length counts
            return types.UniTuple(types.intp, len(x))
        if isinstance(x, bool):
            return types.boolean
        return types.intp if isinstance(x, int) else numba.from_dtype(dtype)


def forward(inputs: int) -> Callable[[Callable[..., None]], Kernel]:
    """A kernel that adds in the order written."""
    return lambda function: Kernel(function, inputs, {*EXACT})


def backward(inputs: int) -> Callable[[Callable[..., None]], Kernel]:
    """A kernel for gradients, whose sums may be reordered."""
    return lambda function: Kernel(function, inputs, {*EXACT, "reassoc"})


def threads() -> int:
    """How many threads kernels may take: as many as numba.

    Asking numba starts its pool, which sets the number of torch's threads too where both use one
    OpenMP; before that every thread of its configuration counts.
    """
    return numba.get_num_threads() if parallel._is_initialized else numba.config.NUMBA_NUM_THREADS


def shared(count: int, work: int, run: Callable[[int, int], object]) -> None:
    """run(start, stop) over ranges that cover 0 .. count-1, on as many threads as numba may use."""
    if count == 0:
        return
    parts = min(threads(), count) if work > SMALL else 1
    cuts = [count * i // parts for i in range(parts + 1)]
    first, *others = pairwise(cuts)
    waiting = [_helpers(parts - 1).submit(run, *ends) for ends in others]
    try:
        run(*first)
    finally:
        wait(waiting)  # they write to arrays of the caller
    for done in waiting:
        done.result()


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Threads that stay: they are started once, not for every call."""
    return ThreadPoolExecutor(count)


if hasattr(os, "register_at_fork"):  # threads do not come along
    os.register_at_fork(after_in_child=_helpers.cache_clear)
