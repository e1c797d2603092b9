"""One step of one system as four matrices: what all converters start from."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from dsf.core import ops
from dsf.core.arrays import common_zero, to_numpy
from dsf.core.errors import DTypeError, ShapeError
from dsf.core.system import LTV
from dsf.core.transition import at

Head = int | Sequence[int] | None


def head_index(ltv: LTV, head: Head, who: str) -> tuple[int, ...]:
    """The index of one system among the batch and head axes; all of size 1 need no choice."""
    if not isinstance(ltv, LTV):
        raise DTypeError(
            f"{who}: needs an LTV, which a mechanism becomes on an input: mech.ltv(u); got "
            f"{type(ltv).__name__}"
        )
    batch = ltv.batch
    if head is None and all(size == 1 for size in batch):
        return (0,) * len(batch)
    chosen = () if head is None else head if isinstance(head, Sequence) else (head,)
    index = tuple(operator.index(i) for i in chosen)
    fits = len(index) == len(batch) and all(
        -size <= i < size for i, size in zip(index, batch, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{who}: the system has batch and head axes {batch} and the result holds one system; "
            f"got head={head!r}. Give one index per axis, e.g. "
            f"head={(0,) * len(batch) if len(batch) != 1 else 0}."
        )
    return index


def step_matrices(ltv: LTV, t: int, index: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """A [n n], B [n m], C [r n], D [r m] of step t and one head (D zero where there is none)."""
    D = ops.zeros((ltv.r, ltv.m), common_zero(*ltv.arrays())) if ltv.D is None else at(ltv.D, t, -3)
    parts = (ltv.A.at(t).dense(ltv.n), at(ltv.B, t, -3), at(ltv.C, t, -3), D)
    out = []
    for x in map(to_numpy, parts):
        out.append(np.broadcast_to(x, (*ltv.batch, *x.shape[-2:]))[index])
    return tuple(out)
