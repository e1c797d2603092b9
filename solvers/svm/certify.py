"""Bounds of the best margin from a primal and a dual witness alone, rounded outward.

For W and lam in float64 and exact data (the differences of keys are rounded once, by `left`):

    margins     |fl(<A_j, W>) - <A_j, W>|  <=  gamma_{d+e+12} |D_j| |W| |Z_j|
    combination |fl(D' diag(lam) Z) - sum_j lam_j A_j|  <=  gamma_{N+12} |D|' diag|lam| |Z|

Both absolute products are themselves computed in float64; the constants have room for that, and for
one more rounding of each entry of W or lam: a multiple of a witness proves the same bound.
Nothing here knows which solver found the witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.solvers.svm import norms
from dsf.solvers.svm.norms import fro_upper
from dsf.solvers.svm.problem import Array, MarginProblem, ScaledRows
from dsf.states.rounding import DOWN, TINY, UP, gamma


@dataclass(frozen=True)
class Primal:
    """What a W proves: margin g* >= `lower`; `least` = min_j <A_j, W>/b_j, rounded down."""

    lower: float
    least: float
    norm: float


def margins(D: Array, Z: Array, W: Array) -> tuple[Array, Array]:
    """<A_j, W> in float and a bound on its error, both [N]."""
    m = np.einsum("je,je->j", D @ W, Z)
    size = np.einsum("je,je->j", np.abs(D) @ np.abs(W), np.abs(Z))
    d, e = W.shape
    return m, gamma(d + e + 12) * size * UP + TINY * (1.0 + float(np.abs(W).max()))


def primal(
    problem: MarginProblem, rows: ScaledRows, W: Array, norm: str, p: float | None = None
) -> Primal:
    """The margin that W proves, in the units of `rows` (scaled); 0 if it proves none."""
    size = norms.upper(W, norm, p)
    if not (np.isfinite(size) and size > 0.0):
        return Primal(0.0, 0.0, size)
    m, error = margins(rows.D, rows.Z, W)
    low = m - error
    size *= UP  # room for one more rounding, as above
    if not problem.plain and problem.equality.any():
        # the nearest W that meets the equalities exactly is within `off` of this one
        off = distance(rows, problem.equality, np.abs(m) + error)
        d, e = W.shape
        low = low - rows.length * (1.0 + gamma(d + e + 8)) * off * UP
        r = 1.0 if norm == "frobenius" else float(np.sqrt(W.size))  # ||.|| <= r ||.||_F
        if norm == "entrywise":
            r = float(W.size)
        size = (size + r * off) * UP
    if problem.plain:
        least = float((low / problem.bound).min()) * DOWN
    else:
        asked = problem.bound > 0.0
        least = float((low[asked] / problem.bound[asked]).min()) * DOWN
        if not np.all(low[~asked & ~problem.equality] >= 0.0):
            least = 0.0
    if not least > 0.0:
        return Primal(0.0, min(least, 0.0), size)
    return Primal(least / size * DOWN, least, size)


def distance(rows: ScaledRows, equality: Array, residual: Array) -> float:
    """How far the nearest W with <A_j, W> = target_j (j in equality) can be, in |.|_F.

    residual [N] bounds |<A_j, W> - target_j|.  With H = C C' for the unit rows C and R = fl(H^-1),
    rho = |I - R H|_F < 1:  |H^-1|_2 <= |R|_F / (1 - rho), and the correction C' H^-1 r has
    length <= |r| sqrt(|H^-1|_2).  Infinite if the rows are (nearly) dependent.
    """
    D, Z = rows.unit_D[equality], rows.unit_Z[equality]
    m = len(D)
    H = (D @ D.T) * (Z @ Z.T)
    try:
        R = np.linalg.inv(H)
    except np.linalg.LinAlgError:
        return float("inf")
    if not np.all(np.isfinite(R)):
        return float("inf")
    # entries of H are sums of products of vectors of length 1 (within a few units): error below
    error = gamma(D.shape[1] + Z.shape[1] + 16) * m
    rho = fro_upper(np.eye(m) - R @ H) + fro_upper(R) * (error + gamma(m + 4) * fro_upper(H)) * UP
    if not rho < 0.5:
        return float("inf")
    r = fro_upper(residual[equality] / rows.length[equality]) * (1.0 + gamma(16))
    return float(r * np.sqrt(fro_upper(R) / (1.0 - rho)) * (1.0 + gamma(64)))


def dual(
    problem: MarginProblem, rows: ScaledRows, lam: Array, norm: str, p: float | None = None
) -> float:
    """The g* <= that multipliers prove, in the units of `rows`; infinite if they prove none."""
    lam = clipped(problem, lam)
    if not np.isfinite(lam).all():
        return float("inf")
    top = float(np.abs(lam).max())
    if top == 0.0:
        return float("inf")
    lam = lam / top  # any positive multiple proves the same
    weight = float(problem.bound @ lam) * (1.0 - gamma(len(lam) + 12)) - TINY
    if not weight > 0.0:
        return float("inf")
    G = rows.D.T @ (lam[:, None] * rows.Z)
    size = np.abs(rows.D).T @ (np.abs(lam)[:, None] * np.abs(rows.Z))
    error = gamma(len(lam) + 12) * size * UP + TINY
    return norms.dual_upper(G, error, norm, p) / weight * UP


def clipped(problem: MarginProblem, lam: Array) -> Array:
    """lam with negative multipliers of inequalities put to 0."""
    positive = np.maximum(lam, 0.0)
    return positive if problem.plain else np.where(problem.equality, lam, positive)


def gap(lower: float, upper: float) -> float:
    """upper/lower - 1; infinite where the lower bound is 0."""
    return upper / lower - 1.0 if lower > 0.0 else float("inf")
