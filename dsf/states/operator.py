"""An operator as its directions of time, with proved bounds of its norm."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dsf.states.compress import kernel
from dsf.states.kept import Kept
from dsf.states.rounding import ROOM, norm_lower, norm_upper, ritz
from dsf.states.verify import scanned_kernel

System = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # A, B, C, D, read="before"
NORM_SLACK = 1e-6  # of the bounds of |M|: they scale every relative answer


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of time of an operator: M [L r L m], of which the causal part counts.

    `kept` holds factors that questions about it share.
    """

    name: str  # "forward" or "backward"
    M: np.ndarray
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator M [L r L m], known to within `radius`, and low <= |M|_2 <= high.

    norm is (1, 1), and norm_v None, where errors are absolute.
    """

    M: np.ndarray
    radius: float
    relative: bool
    directions: tuple[Direction, ...]
    norm: tuple[float, float]
    norm_v: np.ndarray | None


def operator(M: np.ndarray, radius: float, relative: bool) -> Operator:
    """M [L r L m] with its directions, and the bounds of its norm if errors are `relative`."""
    L, r, _, m = M.shape
    flat = M.reshape(L * r, L * m)
    rows, columns = np.arange(L * r)[:, None] // r, np.arange(L * m)[None, :] // m
    directions = [Direction("forward", M)]
    if np.any(flat[np.broadcast_to(columns > rows, flat.shape)]):
        directions.append(Direction("backward", M[::-1, :, ::-1, :]))
    norm, norm_v = (1.0, 1.0), None
    if relative:
        guess, norm_v = ritz(flat, steps=100)
        low = norm_lower(flat, norm_v) - radius
        high = norm_upper(flat, guess, slack=NORM_SLACK) + radius
        norm = max(low * (1 - ROOM), 0.0), high * (1 + ROOM)
    return Operator(M, radius, relative, tuple(directions), norm, norm_v)


def residual(
    op: Operator, systems: tuple[System | None, ...], proved: bool
) -> tuple[np.ndarray, float]:
    """E = M - kernel of the systems (one per direction), and a bound on the error of evaluating.

    None stands for the cache of all earlier inputs, which is exact.  proved=False uses the fast
    evaluation by chunks and gives no bound (0).
    """
    L, r, _, m = op.M.shape
    E, bound = op.M.copy(), 0.0
    for direction, system in zip(op.directions, systems, strict=True):
        forward = direction.name == "forward"
        view = E if forward else E[::-1, :, ::-1, :]
        if system is None:  # exact, the diagonal included
            later = np.arange(L)[:, None, None, None] < np.arange(L)[:, None]
            view *= later if forward else later | np.eye(L, dtype=bool)[:, None, :, None]
            continue
        K, off = scanned_kernel(*system) if proved else (kernel(*system), 0.0)
        view -= K.reshape(view.shape)
        bound += off
    return E.reshape(L * r, L * m), bound


def diagonal(M: np.ndarray) -> np.ndarray:
    """The blocks M[t, :, t, :] as [L r m]."""
    t = np.arange(M.shape[0])
    return np.ascontiguousarray(M[t, :, t, :])


def feedthrough(direction: Direction, D: np.ndarray) -> np.ndarray:
    """D [L r m] of the system of a direction: the diagonal belongs to the forward one."""
    return D if direction.name == "forward" else np.zeros_like(D)


def size(M: np.ndarray, system: System | None) -> int:
    """The number of states of a system for M [L r L m]; the cache holds all earlier inputs."""
    L, _, _, m = M.shape
    return max(L - 1, 0) * m if system is None else system[0].shape[-1]
