"""The nuclear norm: reduction to the spans of the data, and the rank of the solutions.

Every solution W lies in span(differences) x span(queries): projecting it there leaves the
constraints unchanged and does not increase a unitarily invariant norm.  The conic program is posed
in orthonormal coordinates of these spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsf.core.certificate import Certificate
from dsf.solvers.svm import certify, norms
from dsf.solvers.svm.check.margin import NuclearRank
from dsf.solvers.svm.problem import Array, MarginProblem, ScaledRows, scale

if TYPE_CHECKING:
    from dsf.solvers.svm.solution import MarginSolution

DEPENDENT = 1e-14  # singular values up to this times the largest: rounding of a dependent row
OFFSET, RATIO = 1e-13, 1e-12  # room for rounding, here and in the check: of 1/L, of sigma_i(G)
RANGE = 1e-3  # eigenvalues of M above this times the largest span its range
EQUAL = 1e-5  # relative difference at which two singular values, or two margins, count as equal
USED = 1e-7  # a multiplier above this times the largest is positive
NULL = 1e-7  # singular values of unit rows up to this belong to their null space
TAIL = 1e-6  # the tail that the bound on the rank aims at, relative to the norm
FAR = 30.0  # how much further than sqrt(gap) a second solution must lie


def spans(rows: ScaledRows) -> tuple[Array, Array]:
    """Orthonormal bases [d r], [e s] of the spans of differences and queries."""
    return _span(rows.unit_D), _span(rows.unit_Z)


def _span(A: Array) -> Array:
    _, S, Vt = np.linalg.svd(A, full_matrices=False)
    # directions below this are rounding: keeping one too many costs time, never correctness
    return Vt[S > DEPENDENT * S[0]].T


def rank_certificate(s: MarginSolution) -> Certificate | None:
    """A bound on the rank of every solution, up to a tail.

    G = sum lam_j A_j / sigma_1, L <= least norm <= U: every solution W has

        sum_{i > k} sigma_i(W)  <=  (U - L)/(1 - sigma_{k+1}(G)).

    k is the smallest number whose tail is below 1e-6 of the norm, else min(d, e), where it is 0.
    From von Neumann's trace inequality: L <= <G, W> <= sum_{i<=k} sigma_i(W) + sigma_{k+1}(G)
    sum_{i>k} sigma_i(W) and sum_i sigma_i(W) <= U.
    """
    problem, lam = s.stated
    if s.W is None or lam is None:
        return None
    k, tail = rank_bound(s, problem.combine(lam))
    return NuclearRank(
        upper=tail, norm="nuclear", W=s.W, lam=lam, k=k, **problem.arrays()
    ).certificate()


def rank_bound(s: MarginSolution, G: Array) -> tuple[int, float]:
    """(k, tail) of `rank_certificate`."""
    largest = min(G.shape)
    if not s.lower > 0.0:
        return largest, 0.0
    G = G / np.abs(G).max()
    bounds = norms.singular_upper(G / np.linalg.norm(G))
    slack = 1.0 / s.lower - 1.0 / s.upper + OFFSET / s.lower
    for k in range(1, largest):
        ratio = float(bounds[k] / bounds[0]) + RATIO
        if ratio < 1.0 and slack / (1.0 - ratio) <= TAIL / s.lower:
            return k, slack / (1.0 - ratio)
    return largest, 0.0


def face_is_a_point(problem: MarginProblem, lam: Array) -> bool:
    """Whether the equations <U'A_jV, M> = b_j (lam_j > 0) determine the symmetric M [k k] (float).

    If not, M >= 0 and the rows with lam_j = 0 may still do so.
    """
    U, V = _top_spaces(problem.combine(lam))
    E = _equations(problem, _used(problem, lam), U, V)
    return _null_space(E).shape[1] == 0


def second_optimum(s: MarginSolution) -> Array | None:
    """Another solution W [d e] of the nuclear problem, or None if this search finds none.

    From W = U M V', the line M + t N with N = Q Y Q' in the range Q of M that leaves the rows with
    lam_j > 0 and the active ones as they are, as far as M + t N >= 0 and all rows allow.  It counts
    if it proves the same margin, up to a gap that a solution at this distance could not have if
    the norm grew quadratically.
    """
    problem, lam = s.stated
    if s.W is None or lam is None or s.active is None:
        return None
    U, V = _top_spaces(problem.combine(lam))
    M = U.T @ s.W @ V
    values, Q = np.linalg.eigh((M + M.T) / 2.0)
    Q = Q[:, values > RANGE * values[-1]]
    active = s.active[~(s.problem.zero & s.problem.equality)]
    used = _used(problem, lam)
    rows = scale(problem)
    for equations in (used | (active & ~problem.zero), used):
        for y in _null_space(_equations(problem, equations, U @ Q, V @ Q)).T:
            step = (U @ Q) @ _symmetric(y, Q.shape[1]) @ (V @ Q).T * np.linalg.norm(s.W)
            for t in (1.0, -1.0, 0.3, -0.3, 0.1, -0.1, 0.03, -0.03):
                W = np.ldexp(s.W + t * step, rows.exponent)
                proved = certify.primal(problem, rows, W, "nuclear")
                if not proved.lower > 0.0:
                    continue
                other = np.ldexp(W / proved.least, -rows.exponent)
                gap = certify.gap(float(np.ldexp(proved.lower, rows.exponent)), s.upper)
                far = float(np.linalg.norm(other - s.W) / np.linalg.norm(s.W))
                if far > FAR * np.sqrt(max(gap, s.gap)) and gap < EQUAL:
                    return other
    return None


def _used(problem: MarginProblem, lam: Array) -> Array:
    """Rows [N] with a positive multiplier, and equalities."""
    return problem.equality | (lam * problem.bound > USED * np.max(lam * problem.bound))


def _top_spaces(G: Array) -> tuple[Array, Array]:
    """Singular vectors [d k], [e k] of the singular values that equal the largest one."""
    U, S, Vt = np.linalg.svd(G)
    k = int(np.sum(S > S[0] * (1.0 - EQUAL)))
    return U[:, :k], Vt[:k].T


def _equations(problem: MarginProblem, used: Array, U: Array, V: Array) -> Array:
    """The rows M -> <U'A_jV, M> on symmetric M [k k] in the coordinates of `_symmetric`."""
    part = problem.rows(used)
    left, right = _unit(_unit(part.left) @ U), _unit(_unit(part.right) @ V)
    E = left[:, :, None] * right[:, None, :]
    E = E + E.transpose(0, 2, 1)
    i, j = np.triu_indices(U.shape[1])
    return E[:, i, j] * np.where(i == j, 0.5, np.sqrt(0.5))


def _symmetric(y: Array, k: int) -> Array:
    """The symmetric M [k k] with |M| = |y| whose upper half is y, off the diagonal over sqrt 2."""
    i, j = np.triu_indices(k)
    M = np.zeros((k, k))
    M[i, j] = M[j, i] = y * np.where(i == j, 1.0, np.sqrt(0.5))
    return M


def _null_space(E: Array) -> Array:
    """An orthonormal basis of {y : E y = 0} as columns."""
    _, S, Vt = np.linalg.svd(E)
    return Vt[int(np.sum(S > NULL)) :].T


def _unit(A: Array) -> Array:
    """The rows divided by their lengths, neither over- nor underflowing; zero rows stay."""
    top = np.abs(A).max(axis=1, keepdims=True)
    A = A / np.where(top > 0.0, top, 1.0)
    size = np.linalg.norm(A, axis=1, keepdims=True)
    return A / np.where(size > 0.0, size, 1.0)
