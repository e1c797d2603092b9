"""The Frobenius problem: the shortest W with <A_j, W> >= b_j, by least-distance programming.

With unit rows G and h_j = b_j/|A_j| (divided by its largest entry), Lawson and Hanson solve

    min_{u >= 0} |E u - f|,   E = [G'; h'],  f = (0, ..., 0, 1),   r = E u - f
    r != 0:  W = -r_{1:} / r_last,  lam = u / (-r_last)          r = 0:  G'u = 0, no W exists.

From about 100 rows on, coordinate ascent on the Gram matrix is faster.  Equalities are taken out
first: they leave the rows projected on the complement of their span.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf._rounding import gamma
from dsf.solvers.problem import Array, MarginProblem, ScaledRows

ASCENT_FROM = 100


@dataclass(frozen=True)
class Candidate:
    """Untrusted witnesses in the units of the scaled rows D_j Z_j': W [d e], lam [N], or None."""

    W: Array | None
    lam: Array | None
    solver: str
    status: str
    iterations: int | None = None


def nnls_rows(G: Array, h: Array) -> tuple[Array | None, Array]:
    """(lam, u) of the least-distance problem with unit rows G [N k] and max h = 1.

    lam is None if the residual vanishes; u is then the Gordan vector found.
    """
    from scipy.optimize import nnls

    E = np.vstack([G.T, h])
    f = np.zeros(len(E))
    f[-1] = 1.0
    try:
        u, _ = nnls(E, f)
    except RuntimeError:  # iteration limit
        return None, np.ones(len(h))
    left = 1.0 - h @ u
    return (u / left if left > 0.0 else None), u


def solve(problem: MarginProblem, rows: ScaledRows, method: str | None = None) -> Candidate:
    """Witnesses of the least Frobenius norm by "nnls" or "ascent" (default: by the size).

    If no W was found, `lam` still holds multipliers: those of the bound on the margin.
    """
    if np.any(problem.equality):
        return _with_equalities(problem, rows)
    top = float(rows.h.max())
    h = rows.h / top
    method = method or ("nnls" if problem.size <= ASCENT_FROM else "ascent")
    if method == "ascent":
        from dsf.solvers.coordinate_ascent import coordinate_ascent

        K = rows.gram()
        found = coordinate_ascent(K, h)
        if found is None:
            return Candidate(None, None, "coordinate ascent", "no optimum within the sweeps")
        lam, sweeps = found
        name, iterations = "coordinate ascent", sweeps
    else:
        lam_or_none, u = nnls_rows(rows.matrix(), h)
        if lam_or_none is None:
            return Candidate(None, u / rows.length, "nnls", "residual 0")
        lam, name, iterations, K = lam_or_none, "nnls", None, None
    W, lam = finish(rows, h, lam, K)
    return Candidate(W * top, lam * top / rows.length, name, "support found", iterations)


def finish(rows: ScaledRows, h: Array, lam: Array, K: Array | None) -> tuple[Array, Array]:
    """(W, lam) from multipliers of the unit rows: solved again on their support.

    W aims at h plus twice the rounding bound of each row, so that rows with a small h (long A_j)
    are met to their own accuracy and not to that of the largest one.
    """
    S = np.flatnonzero(lam > 0.0)
    D, Z = rows.unit_D, rows.unit_Z
    KS = (D[S] @ D[S].T) * (Z[S] @ Z[S].T) if K is None else K[np.ix_(S, S)]
    W = D[S].T @ (lam[S, None] * Z[S])
    d, e = W.shape
    size = np.einsum("je,je->j", np.abs(D[S]) @ np.abs(W), np.abs(Z[S]))
    aim = h[S] + 2.0 * gamma(d + e + 8) * size
    both = _solve_spd(KS, np.stack([h[S], aim], axis=1))
    if both is None:
        return W, lam
    if np.all(both[:, 0] >= 0.0):
        lam = lam.copy()
        lam[S] = both[:, 0]
    return D[S].T @ (both[:, 1, None] * Z[S]), lam


def _solve_spd(K: Array, right: Array) -> Array | None:
    """K^-1 right with one step of refinement; None if K is not positive definite."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        factor = cho_factor(K, check_finite=False)
    except LinAlgError:
        return None
    x = cho_solve(factor, right, check_finite=False)
    return x + cho_solve(factor, right - K @ x, check_finite=False)


def _with_equalities(problem: MarginProblem, rows: ScaledRows) -> Candidate:
    """Rows projected on the complement of the span of the equalities, then the same problem."""
    G = rows.matrix()
    C, A = G[problem.equality], G[~problem.equality]
    basis = np.linalg.qr(C.T)[0]
    P = A - (A @ basis) @ basis.T
    P -= (P @ basis) @ basis.T  # twice is enough
    h = rows.h[~problem.equality]
    top = float(h.max())
    part, u = nnls_rows(P, h / top)
    chosen = u if part is None else part * top
    lam = np.zeros(problem.size)
    lam[~problem.equality] = chosen
    lam[problem.equality] = -np.linalg.lstsq(C.T, A.T @ chosen, rcond=None)[0]
    W = None if part is None else (P.T @ chosen).reshape(rows.D.shape[1], -1)
    status = "residual 0" if part is None else "support found"
    return Candidate(W, lam / rows.length, "nnls", status)
