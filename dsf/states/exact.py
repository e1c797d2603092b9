"""Systems that reproduce an operator bit by bit: the last resort where the time is short."""

from __future__ import annotations

import numpy as np

from dsf.states.operator import Direction, Operator, System, diagonal, feedthrough, residual
from dsf.states.verify import proved_error

EXACT_MEMORY = 2**28  # bytes that the coefficients of the system with L/2 states may take


def exact_systems(op: Operator, target: float) -> tuple[tuple[System | None, ...], float, float]:
    """Systems for every direction, their proved error and its Frobenius norm in plain floats.

    L/2 states where memory allows and the rounding of the evaluation stays below `target`; else
    the cache of all earlier inputs (None).
    """
    small = [8 * len(d.M) * _turn(d.M)[1] ** 2 <= EXACT_MEMORY for d in op.directions]
    tried = zip(op.directions, small, strict=True)
    systems = tuple(switched(d) if fits else None for d, fits in tried)
    E, off = residual(op, systems, proved=True)
    error = proved_error(E, off, op.radius, target)
    if error > target:
        systems = (None,) * len(systems)
        E, off = residual(op, systems, proved=True)
        error = proved_error(E, off, op.radius, target)
    return systems, error, float(np.linalg.norm(E))


def _turn(M: np.ndarray) -> tuple[int, int]:
    """The best step to exchange the inputs so far for the outputs to come; the states needed."""
    L, r, _, m = M.shape
    sizes = [max(h * m, (L - h - 1) * r) for h in range(L)]
    return min(enumerate(sizes), key=lambda item: item[1], default=(0, 0))


def switched(direction: Direction) -> System:
    """An exact system: the state holds the past inputs first, the future outputs later.

    n = min over h of max(h m, (L-h-1) r), floor(L/2) for r = m = 1.  Every product in its kernel
    has one factor that is an entry of M and otherwise zeros and ones, so it is exact in floats.
    """
    M = direction.M
    L, r, _, m = M.shape
    h, n = _turn(M)
    A, B, C = np.zeros((L, n, n)), np.zeros((L, n, m)), np.zeros((L, r, n))
    for t in range(L):
        if t < h:
            A[t] = np.eye(n)
            B[t, t * m : (t + 1) * m] = np.eye(m)
        elif (rest := (L - t - 1) * r) > 0:
            if t == h:
                A[t, :rest, : h * m] = M[t + 1 :, :, :h, :].reshape(rest, h * m)
            else:
                A[t, :rest, r : rest + r] = np.eye(rest)
            B[t, :rest] = M[t + 1 :, :, t, :].reshape(rest, m)
        if t <= h:
            C[t, :, : t * m] = M[t, :, :t, :].reshape(r, t * m)
        else:
            C[t, :, :r] = np.eye(r)
    return A, B, C, feedthrough(direction, diagonal(M))
