"""Certificates that so many states are necessary: singular values of one Hankel block."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.claims.hankel import HankelGap, HankelLower
from dsf.core.certificate import Certificate
from dsf.core.errors import DomainError
from dsf.core.printing import n_states
from dsf.states.hankel import best_count, best_gaps, block, spread_cuts
from dsf.states.inputs import as_blocks, number
from dsf.states.realization import last_in_floats
from dsf.states.rounding import ROOM


def hankel_lower(M: Any, atol: float, radius: float = 0.0) -> Certificate:
    """How many states are necessary: `.lower` singular values of one Hankel block exceed `atol`.

        any recurrence with n states:  ||M - M^||_2 >= sigma_{n+1}(M[k:, :k])   for every cut k

    M [L L] or [L r L m], causal part only; all cuts for L <= 128, else 7 of them.  The certificate
    (enclosed) holds the block and test subspaces of it; `hankel` derives the rounding bound.
    Raises DomainError, ShapeError, DTypeError, NonFiniteError.

    >>> import numpy as np
    >>> hankel_lower(np.eye(9, k=-3), atol=0.5).lower
    3
    """
    if not number("hankel_lower", "atol", atol) >= 0:
        raise DomainError(f"hankel_lower: atol must be >= 0; got {atol}")
    blocks = as_blocks(M, "hankel_lower", heads=False)
    found = best_count(blocks, atol + radius, spread_cuts(blocks.shape[0]))
    n = found.sigma.size
    H = block(blocks, found.k)
    return HankelLower(
        lower=n, H=H, cut=found.k, U=found.U, V=found.V, error=float(atol), radius=float(radius),
        residuals={"sigma": last_in_floats(blocks, found)},
    ).certificate()  # fmt: skip


def hankel_gap(M: Any, states: int, radius: float = 0.0) -> Certificate:
    """How large the error of any recurrence with `states` states is at least: `.lower`.

        ||M - M^||_2 >= max_k sigma_{states+1}(M[k:, :k])

    Arguments, cuts and errors as in `hankel_lower`.

    >>> import numpy as np
    >>> round(hankel_gap(np.eye(9, k=-3), states=2).lower, 6)
    1.0
    """
    blocks = as_blocks(M, "hankel_gap", heads=False)
    found = best_gaps(blocks, states + 1, spread_cuts(blocks.shape[0]))[-1]
    if found is None:
        raise DomainError(
            f"hankel_gap: no Hankel block of M [{' '.join(map(str, np.shape(M)))}] has rank above "
            f"{states}: a recurrence with {n_states(states)} can reproduce it"
        )
    low = max((float(found.sigma[-1]) - radius) * (1 - ROOM), 0.0)
    H = block(blocks, found.k)
    return HankelGap(
        lower=low, H=H, cut=found.k, U=found.U, V=found.V, states=states, radius=float(radius),
        residuals={"sigma": last_in_floats(blocks, found)},
    ).certificate()  # fmt: skip
