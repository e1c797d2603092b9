"""The shortest W under equalities <A_j, W> = c_j, with both bounds of its norm.

W = sum_j lam_j A_j with H lam = c, H the Gram matrix.  c'lam/|sum lam_j A_j| <= |W| for any lam,
and an approximate W is within |C W - c| sqrt(|H^-1|) of one that meets the equalities exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dsf.core.certificate import Certificate
from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.svm import certify, printout
from dsf.solvers.svm.check.margin import LeastNorm as Claim
from dsf.solvers.svm.gordan import integer_rows
from dsf.solvers.svm.norms import fro_upper
from dsf.solvers.svm.problem import Array, MarginProblem, comparable, real, scale, shifted
from dsf.states.rounding import DOWN, TINY, UP, gamma

CLEAR = 1e-10  # a pivot of unit rows above this is no rounding: the row is independent
LARGEST = 256  # rows whose rank is computed exactly
NEARLY = (
    "the equality rows are dependent, or nearly (their Gram matrix cannot be inverted in float64). "
    "Likely cause: tokens or queries that agree, or agree up to rounding.  Leave out the redundant "
    "ones (gen_svm: keep fewer tokens)."
)


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
        """|W|_F in float arithmetic."""
        return float(np.linalg.norm(self.W))

    @cached_property
    def certificate(self) -> Certificate | None:
        """Both bounds of the least norm."""
        if self.problem.size == 0:
            return None
        claim = Claim(
            lower=self.lower, upper=self.upper, target=self.target, W=self.W, lam=self.multipliers,
            **self.problem.arrays(),
        )  # fmt: skip
        return claim.certificate()

    def check(self) -> bool:
        """Recompute the certificate; True, or CertificateError."""
        return self.certificate is None or self.certificate.check()

    def __repr__(self) -> str:
        return printout.least_norm(self)


def least_norm(problem: MarginProblem, target: Array) -> LeastNorm:
    """The shortest W with <A_j, W> = target_j; all rows are equalities and independent.

    Raises ShapeError, NonFiniteError; DomainError if the rows are (nearly) dependent (the equations
    then may contradict each other), or if the answer leaves the range of float64.
    """
    target = real(target, "target", 1)
    if target.shape != (problem.size,):
        raise ShapeError(
            f"`target` must be [N] = [{problem.size}], one number per equality; got "
            f"{list(target.shape)}"
        )
    zero = np.zeros(problem.shape)
    if not target.any():
        return LeastNorm(problem, target, zero, np.zeros(problem.size), 0.0, 0.0)
    if not np.all(np.any(problem.left, axis=1) & np.any(problem.right, axis=1)):
        raise DomainError("an equality row is zero: duplicated tokens, or a zero query")
    with np.errstate(all="ignore"):  # what overflows proves nothing and is refused at the end
        return _least_norm(problem, target)


def _least_norm(problem: MarginProblem, target: Array) -> LeastNorm:
    rows = scale(problem)
    comparable(problem, rows)
    t = int(np.frexp(np.abs(target).max())[1])
    c = np.ldexp(target, -t)  # W 2^(k - t) belongs to these and to the scaled rows
    H = rows.gram()
    try:
        lam = np.linalg.solve(H, c / rows.length)
        lam += np.linalg.solve(H, c / rows.length - H @ lam)
    except np.linalg.LinAlgError as e:
        raise DomainError(NEARLY) from e
    W = rows.unit_D.T @ (lam[:, None] * rows.unit_Z)
    lam = lam / rows.length
    m, error = certify.margins(rows.D, rows.Z, W)
    off = certify.distance(rows, problem.equality, np.abs(m - c) * UP + error)
    if not np.isfinite(off):
        raise DomainError(NEARLY)
    upper = (fro_upper(W) + off) * UP
    G = rows.D.T @ (lam[:, None] * rows.Z)
    size = np.abs(rows.D).T @ (np.abs(lam)[:, None] * np.abs(rows.Z))
    norm = fro_upper(np.abs(G) + gamma(len(lam) + 8) * size) * UP + TINY
    value = float(c @ lam)
    value -= gamma(len(lam) + 8) * float(np.abs(c) @ np.abs(lam)) * UP + TINY
    k = rows.exponent
    return LeastNorm(
        problem,
        target,
        shifted(W, t - k, "W"),
        shifted(lam, t - 2 * k, "multipliers"),
        float(np.ldexp(max(value, 0.0) / norm * DOWN, t - k)),
        float(np.ldexp(upper, t - k)),
    )


def independent(problem: MarginProblem) -> MarginProblem:
    """The problem without the equalities that follow exactly from the others.

    Rows that a pivoted QR shows to be independent stay.  Of the others, those go whose exact
    rational rank says so: a row that depends on the others up to rounding only is another
    condition.  Above 256 equalities nothing but zero rows is left out.
    """
    from scipy.linalg import qr

    E = np.flatnonzero(problem.equality & ~problem.zero)
    keep = ~problem.equality
    if len(E):
        left, right = _near_one(problem.left[E]), _near_one(problem.right[E])
        A = np.einsum("ji,jk->jik", left, right).reshape(len(E), -1)
        R, pivots = qr((A / np.linalg.norm(A, axis=1, keepdims=True)).T, mode="r", pivoting=True)
        clear = int(np.sum(np.abs(np.diag(R)) > CLEAR))
        E = np.append(E[np.sort(pivots[:clear])], E[np.sort(pivots[clear:])])
        keep[E if clear == len(E) or len(E) > LARGEST else _exactly_independent(problem, E)] = True
    return problem.rows(keep)


def _exactly_independent(problem: MarginProblem, E: Array) -> Array:
    """The rows of E that depend on none before them, in rationals."""
    import flint

    R, _, rank = flint.fmpz_mat(integer_rows(problem, E)).transpose().rref()
    pivots = [next(j for j in range(len(E)) if R[i, j] != 0) for i in range(rank)]
    return E[pivots]


def _near_one(A: Array) -> Array:
    """The rows divided by powers of two, so that products of their entries neither over- nor
    underflow."""
    exponent = np.frexp(np.abs(A).max(axis=1))[1]
    return np.ldexp(A, -exponent[:, None])
