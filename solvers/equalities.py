"""The shortest W under equalities <A_j, W> = c_j, with both bounds of its norm.

W = sum_j lam_j A_j with H lam = c, H the Gram matrix.  c'lam/|sum lam_j A_j| <= |W| for any lam,
and an approximate W is within |C W - c| sqrt(|H^-1|) of one that meets the equalities exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsf._rounding import TINY, gamma
from dsf.certificate import Certificate, Scope, Strength
from dsf.errors import DomainError, ShapeError
from dsf.solvers import certify
from dsf.solvers.norms import fro_upper as fro
from dsf.solvers.problem import Array, MarginProblem, real, scale


@dataclass(frozen=True, eq=False)
class LeastNorm:
    """The solution W [d e], its multipliers lam [N] (W = sum lam_j A_j) and proved bounds.

    Without any equality W = 0 and there is nothing to certify.
    """

    problem: MarginProblem
    target: Array
    W: Array
    multipliers: Array
    lower: float
    upper: float

    @property
    def value(self) -> float:
        return float(np.linalg.norm(self.W))

    @cached_property
    def certificate(self) -> Certificate | None:
        """Both bounds of the least norm."""
        from dsf.check.margin import least_norm_sentence

        if self.problem.size == 0:
            return None
        w = self.problem.arrays() | {
            "target": self.target,
            "W": self.W,
            "lam": self.multipliers,
        }
        return Certificate(
            "least-norm",
            least_norm_sentence(w, self.lower, self.upper),
            Scope.OPERATOR,
            Strength.ENCLOSED,
            self.lower,
            self.upper,
            w,
        )

    def check(self) -> bool:
        """Recompute the certificate; True, or CertificateError."""
        return self.certificate is None or self.certificate.check()

    def __repr__(self) -> str:
        from dsf.solvers.printout import least_norm

        return least_norm(self)


def least_norm(problem: MarginProblem, target: Array) -> LeastNorm:
    """The shortest W with <A_j, W> = target_j; all rows are equalities and independent.

    Raises ShapeError, NonFiniteError, DomainError if the rows are (nearly) dependent: the equations
    then may contradict each other.
    """
    target = real(target, "target", 1)
    if target.shape != (problem.size,):
        raise ShapeError(
            f"`target` must be [N] = [{problem.size}], one number per equality; got "
            f"{list(target.shape)}"
        )
    zero = np.zeros(problem.shape)
    if problem.size == 0:
        return LeastNorm(problem, target, zero, np.zeros(0), 0.0, 0.0)
    if not np.all(np.any(problem.left, axis=1) & np.any(problem.right, axis=1)):
        raise DomainError("an equality row is zero: duplicated tokens, or a zero query")
    rows = scale(problem)
    H = rows.gram()
    c = target / rows.length
    try:
        lam = np.linalg.solve(H, c)
        lam += np.linalg.solve(H, c - H @ lam)
    except np.linalg.LinAlgError as e:
        raise DomainError("the equality rows are dependent: drop the redundant ones") from e
    W = rows.unit_D.T @ (lam[:, None] * rows.unit_Z)
    lam = lam / rows.length
    m, error = certify.margins(rows.D, rows.Z, W)
    off = certify.distance(rows, problem.equality, np.abs(m - target) * certify.UP + error)
    if not np.isfinite(off):
        raise DomainError("the equality rows are nearly dependent: drop the redundant ones")
    upper = (fro(W) + off) * certify.UP
    G = rows.D.T @ (lam[:, None] * rows.Z)
    size = np.abs(rows.D).T @ (np.abs(lam)[:, None] * np.abs(rows.Z))
    norm = fro(np.abs(G) + gamma(len(lam) + 8) * size) * certify.UP + TINY
    value = float(target @ lam)
    value -= gamma(len(lam) + 8) * float(np.abs(target) @ np.abs(lam)) * certify.UP + TINY
    k = rows.exponent
    return LeastNorm(
        problem,
        target,
        np.ldexp(W, -k),
        np.ldexp(lam, -2 * k),
        float(np.ldexp(max(value, 0.0) / norm * certify.DOWN, -k)),
        float(np.ldexp(upper, -k)),
    )


def independent(problem: MarginProblem) -> MarginProblem:
    """The problem without equalities that follow from the others (pivoted QR, tolerance 1e-10)."""
    from scipy.linalg import qr

    E = np.flatnonzero(problem.equality)
    if len(E) == 0:
        return problem
    left, right = _near_one(problem.left[E]), _near_one(problem.right[E])
    A = np.einsum("ji,jk->jik", left, right).reshape(len(E), -1)
    lengths = np.linalg.norm(A, axis=1)
    E, A = E[lengths > 0.0], A[lengths > 0.0] / lengths[lengths > 0.0, None]
    if len(E):
        R, pivots = qr(A.T, mode="r", pivoting=True)
        E = E[np.sort(pivots[: int(np.sum(np.abs(np.diag(R)) > 1e-10))])]
    keep = ~problem.equality
    keep[E] = True
    return problem.rows(keep)


def _near_one(A: Array) -> Array:
    """The rows divided by powers of two, so that products of their entries neither over- nor
    underflow."""
    exponent = np.frexp(np.abs(A).max(axis=1))[1]
    return np.ldexp(A, -exponent[:, None])
