"""The nuclear norm: reduction to the spans of the data, and the rank of the solutions.

Every solution W lies in span(differences) x span(queries): projecting it there leaves the
constraints unchanged and does not increase a unitarily invariant norm.  The conic program is posed
in orthonormal coordinates of these spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsf.solvers import norms
from dsf.solvers.problem import Array, MarginProblem, ScaledRows

if TYPE_CHECKING:
    from dsf.certificate import Certificate
    from dsf.solvers.solution import MarginSolution

TAIL = 1e-6  # the tail that the bound on the rank aims at, relative to the norm


def spans(rows: ScaledRows) -> tuple[Array, Array]:
    """Orthonormal bases [d r], [e s] of the spans of differences and queries."""
    return _span(rows.unit_D), _span(rows.unit_Z)


def _span(A: Array) -> Array:
    _, S, Vt = np.linalg.svd(A, full_matrices=False)
    # directions below this are rounding: keeping one too many costs time, never correctness
    return Vt[S > 1e-14 * S[0]].T


def rank_certificate(s: MarginSolution) -> Certificate | None:
    """A bound on the rank of every solution, up to a tail.

    G = sum lam_j A_j / sigma_1, L <= least norm <= U: every solution W has

        sum_{i > k} sigma_i(W)  <=  (U - L)/(1 - sigma_{k+1}(G)).

    k is the smallest number whose tail is below 1e-6 of the norm, else min(d, e), where it is 0.
    From von Neumann's trace inequality: L <= <G, W> <= sum_{i<=k} sigma_i(W) + sigma_{k+1}(G)
    sum_{i>k} sigma_i(W) and sum_i sigma_i(W) <= U.
    """
    from dsf.certificate import Certificate, Scope, Strength
    from dsf.check import margin as check

    if s.W is None or s.multipliers is None:
        return None
    k, tail = rank_bound(s, s.problem.combine(s.multipliers))
    w = s.problem.arrays() | {
        "norm": "nuclear",
        "W": s.W,
        "lam": s.multipliers,
        "k": k,
    }
    return Certificate(
        "nuclear-rank",
        check.rank_sentence(w, k, tail),
        Scope.OPERATOR,
        Strength.ENCLOSED,
        None,
        tail,
        w,
        {},
        s.reference,
    )


def rank_bound(s: MarginSolution, G: Array) -> tuple[int, float]:
    """(k, tail) of `rank_certificate`."""
    largest = min(G.shape)
    if not s.lower > 0.0:
        return largest, 0.0
    G = G / np.abs(G).max()
    bounds = norms.singular_upper(G / np.linalg.norm(G))
    # (U - L) with room for the rounding of G, which `upper` already bounds
    slack = (1.0 / s.lower - 1.0 / s.upper) * (1.0 + 1e-9) + 1e-13 / s.lower
    for k in range(1, largest):
        ratio = float(bounds[k] / bounds[0]) + 1e-12
        if ratio < 1.0 and slack / (1.0 - ratio) <= TAIL / s.lower:
            return k, slack / (1.0 - ratio)
    return largest, 0.0


def face_is_a_point(problem: MarginProblem, lam: Array) -> bool:
    """Whether the equations <U'A_jV, M> = b_j (lam_j > 0) determine the symmetric M [k k]."""
    G = problem.combine(lam)
    U, S, Vt = np.linalg.svd(G)
    k = int(np.sum(S > S[0] * (1.0 - 1e-5)))
    used = lam * problem.bound > 1e-7 * np.max(lam * problem.bound)
    used |= problem.equality
    part = problem.rows(used)
    left, right = _unit(_unit(part.left) @ U[:, :k]), _unit(_unit(part.right) @ Vt[:k].T)
    E = left[:, :, None] * right[:, None, :]
    E = (E + E.transpose(0, 2, 1)) / 2
    i, j = np.triu_indices(k)
    return bool(np.linalg.matrix_rank(E[:, i, j], tol=1e-7) == len(i))


def _unit(A: Array) -> Array:
    """The rows divided by their lengths, neither over- nor underflowing."""
    A = A / np.abs(A).max(axis=1, keepdims=True)
    return A / np.linalg.norm(A, axis=1, keepdims=True)
