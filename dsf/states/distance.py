"""How far two operators are from each other, enclosed."""

from __future__ import annotations

import numpy as np

from dsf.claims.distance import Distance
from dsf.core.certificate import Certificate
from dsf.states.rounding import ROOM, U, fro, norm_lower, norm_upper, ritz


def distance(M: np.ndarray, N: np.ndarray) -> Certificate:
    """The certificate of lower <= max_h |M_h - N_h|_2 <= upper for M, N [H rows columns].

    >>> c = distance(np.eye(3)[None], np.zeros((1, 3, 3)))
    >>> c.lower <= 1 <= c.upper, c.upper - c.lower < 1e-2, c.check()
    (True, True, True)
    """
    bounds, vectors = [], []
    for E in M - N:
        guess, v = ritz(E, steps=100)
        lost = 4 * U * fro(E)
        low = max(norm_lower(E, v) - lost, 0.0) * (1 - ROOM)
        bounds.append((low, (norm_upper(E, guess) + lost) * (1 + ROOM)))
        vectors.append(v)
    lower, upper = (max(side) for side in zip(*bounds, strict=True))
    return Distance(lower=lower, upper=upper, M=M, N=N, v=np.stack(vectors)).certificate()
