"""`distil`: from a head, a kernel or a mechanism to a recurrence with few states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsf.core import catalogue
from dsf.core.errors import DomainError, ShapeError
from dsf.core.family import Family
from dsf.models.distil import fit, frozen, gauge, starts
from dsf.models.distil.floor import floors
from dsf.models.distil.report import Distilled, Row
from dsf.states.inputs import as_blocks, number


def distil(
    kernel: Any, into: str | Family = "gla", states: int | Sequence[int] = (1, 2, 4, 8), *,
    iterations: int = fit.ITERATIONS, seed: int = 0,
) -> Distilled:  # fmt: skip
    """How near a class of recurrences comes to a causal kernel M [L L] with so many states.

        floor <= |M - M^|_F / |M|_F,   strictly below the diagonal

    The floor is proved, for every linear recurrence.  Truncations have dense transitions; the
    student has those of the class `into`, a recurrence of the catalogue, with tokens that are free
    numbers: frozen for this sequence.  It starts from the truncation in a gauge in which it nearly
    belongs to the class (gla, gated_deltanet), others from half as many states; then `iterations`
    of L-BFGS on all tokens.  float64; seconds for each number of states at L = 128; needs torch.

    Raises DomainError for a kernel that is not causal or states below 1, ShapeError, DTypeError,
    NonFiniteError, UnknownNameError, NotLinearError for a class without free q, k and gates.

    >>> import numpy as np
    >>> t = np.arange(24)
    >>> M = np.tril(1 / (1 + np.subtract.outer(t, t).clip(0)))
    >>> row = distil(M, "gla", states=2).row()
    >>> bool(row.floor.lower <= row.fitted <= row.sequential), row.floor.check()
    (True, True)
    """
    M, family = causal(kernel), catalogue.family(into)
    mech = frozen.student(family)
    counts = _counts(states)
    rows, kept = [], starts.Fits()
    for n, floor in zip(counts, floors(M, counts), strict=True):
        start, fitted = starts.best(M, family, n, seed, iterations, kept)
        truncated = (gauge.balanced(M, n).kernel(), gauge.sequential(M, n).kernel())
        students = (frozen.kernel(mech, tok) for tok in (start, fitted))
        errors = [fit.error(M, other) for other in (*truncated, *students)]
        rows.append(Row(floor, *errors, fitted))
    return Distilled(family, tuple(rows))


def causal(kernel: Any) -> np.ndarray:
    """M [L L] as float64, lower triangular; DomainError where it looks ahead."""
    blocks = as_blocks(kernel, "distil", heads=False)
    if blocks.shape[1] != 1 or blocks.shape[3] != 1:
        raise ShapeError(f"distil: the kernel must be [L L]; got {np.shape(kernel)}")
    M = blocks[:, 0, :, 0]
    ahead = np.argwhere(np.triu(M, 1))
    if len(ahead):
        i, j = map(int, ahead[0])
        raise DomainError(
            f"distil: the kernel must be causal; row {i} has {M[i, j]:.3g} on the later token {j}. "
            "Distil the two directions apart: np.tril(M), and np.tril(M[::-1, ::-1])."
        )
    return M


def _counts(states: int | Sequence[int]) -> tuple[int, ...]:
    given = tuple(states) if isinstance(states, (tuple, list)) else (states,)
    if not given or any(not number("distil", "states", n).is_integer() or n < 1 for n in given):
        raise DomainError(f"distil: states must be whole numbers of at least 1; got {states!r}")
    return tuple(int(n) for n in given)
