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

from dsf.solvers.svm.problem import Array, MarginProblem, ScaledRows
from dsf.solvers.svm.support import on_support
from dsf.states.rounding import gamma

ASCENT_FROM = 100
CORRECTION = 1e-3  # relative to W: a longer V would no longer correct W but replace it
NEAR = 1e3  # rows with this many times the worst shortfall as room are met by any such V


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


def solve(
    problem: MarginProblem, rows: ScaledRows, method: str | None = None, time_limit: float = 60.0
) -> Candidate:
    """Witnesses of the least Frobenius norm by "nnls" or "ascent" (default: by the size).

    If no W was found, `lam` still holds multipliers: those of the bound on the margin.
    """
    if not problem.plain and problem.equality.any():
        return _with_equalities(problem, rows)
    top = float(rows.h.max())
    h = rows.h / top
    D, Z = rows.unit_D, rows.unit_Z
    width = D.shape[1] + Z.shape[1]
    if (method or default_method(problem)) == "ascent":
        # its import compiles: numba is loaded for problems of this size only
        from dsf.solvers.svm.coordinate_ascent import coordinate_ascent, gram

        found = coordinate_ascent(gram(rows), h, width, time_limit)
        if found is None:
            return Candidate(None, None, "coordinate ascent", "no optimum within the sweeps")
        S, part, lifted, sweeps = found
        DS, ZS = D[S], Z[S]
        name = "coordinate ascent"
    else:
        lam, u = nnls_rows(rows.matrix(), h)
        if lam is None:  # infeasible, or so nearly that the residual is rounding
            return Candidate(None, u / rows.length, "nnls", "residual 0")
        S = np.flatnonzero(lam)
        DS, ZS = D[S], Z[S]
        exact = on_support((DS @ DS.T) * (ZS @ ZS.T), h[S], width)
        if exact is None or exact[0].min() < 0.0:  # nearly dependent rows, as near infeasibility
            exact = lam[S], lam[S]
        part, lifted = exact
        name, sweeps = "nnls", None
    W = DS.T @ (lifted[:, None] * ZS)
    lam = np.zeros(len(h))
    lam[S] = part
    return Candidate(W * top, lam * top / rows.length, name, "support found", sweeps)


def least_squares(rows: ScaledRows, lam: Array) -> tuple[Array, Array]:
    """(W, multipliers) of the shortest W with <G_j, W> = h_j on the support of lam [N], by SVD.

    Near infeasibility the rows are nearly dependent.  The rounding of an SVD grows with their
    condition number, that of the Gram matrix with its square.
    """
    S = np.flatnonzero(lam)
    top = float(rows.h.max())
    h, G = rows.h[S] / top, rows.unit_D[S, :, None] * rows.unit_Z[S, None, :]
    G = G.reshape(len(S), -1)
    W = np.linalg.lstsq(G, h, rcond=None)[0]
    # scaling W up does not help rows >= 0: they are met with room for their rounding
    room = 2.0 * gamma(rows.D.shape[1] + rows.Z.shape[1] + 12) * np.linalg.norm(W)
    W += np.linalg.lstsq(G, np.where(h > 0.0, h, room) - G @ W, rcond=None)[0]
    out = np.zeros(len(lam))
    out[S] = np.linalg.lstsq(G.T, W, rcond=None)[0]
    return W.reshape(rows.unit_D.shape[1], -1) * top, out * top / rows.length


def default_method(problem: MarginProblem) -> str:
    """Least-distance programming for few rows or columns and equalities, else coordinate ascent."""
    d, e = problem.shape
    few = problem.size <= ASCENT_FROM or problem.size >= 4 * d * e
    few = few or (not problem.plain and bool(problem.equality.any()))
    return "nnls" if few else "ascent"


def repaired(problem: MarginProblem, rows: ScaledRows, W: Array, margin: float) -> Array | None:
    """W + V with the shortest V that lifts every row to `margin`; None if there is none.

    A conic solver meets the rows up to a tolerance relative to the longest h.  Lifting the others
    costs almost no norm, dividing W by its least margin would cost their whole relative error.
    """
    if np.any(problem.equality) or not np.isfinite(margin):
        return None
    d, e = W.shape
    m = np.einsum("je,je->j", rows.unit_D @ W, rows.unit_Z)
    size = np.einsum("je,je->j", np.abs(rows.unit_D) @ np.abs(W), np.abs(rows.unit_Z))
    short = rows.h * margin - m + 4.0 * gamma(d + e + 8) * size
    worst = float(short.max(initial=0.0))
    if not worst > 0.0:
        return None
    near = np.flatnonzero(short > -NEAR * worst)
    lam, _ = nnls_rows(rows.matrix()[near], short[near] / worst)
    if lam is None:
        return None
    V = worst * (rows.unit_D[near].T @ (lam[:, None] * rows.unit_Z[near]))
    return W + V if np.linalg.norm(V) <= CORRECTION * np.linalg.norm(W) else None


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
