"""Which matrices are singular to the working precision, so that a system with them says nothing."""

from __future__ import annotations

import numpy as np

from dsf.core.arrays import to_numpy
from dsf.core.worlds import Array


def singular(A: Array) -> tuple[tuple[int, ...], str] | None:
    """The first of symmetric matrices A [... n n] that is not positive definite in its dtype.

    Its index, and what was found of it; None if all are, or hold numbers that are not finite.
    Positive definite means a least eigenvalue above n eps times the largest one.

    >>> singular(np.array([np.eye(2), np.diag([0.0, 2.0])]))
    ((1,), 'has eigenvalues from 0 to 2')
    """
    x = to_numpy(A)
    if not x.size:
        return None
    eps = np.finfo(x.dtype).eps
    x = x.astype(np.float64)
    finite = np.isfinite(x).all((-2, -1))
    e = np.linalg.eigvalsh(np.where(finite[..., None, None], x, np.eye(x.shape[-1])))
    bad = e[..., 0] <= x.shape[-1] * eps * e[..., -1]
    if not bad.any():
        return None
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    low, high = e[index][0], e[index][-1]
    return index, f"has eigenvalues from {low:.3g} to {high:.3g}"
