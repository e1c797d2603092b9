"""What the solvers of margin problems return: the answer, its bounds, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dsf.certificate import Certificate, Scope, Strength
from dsf.solvers.problem import Array, MarginProblem

ACTIVE = 1e-6  # relative slack up to which a row counts as met with equality


@dataclass(frozen=True)
class Attempt:
    """One solver's turn: what it said, and the gap that its own witnesses prove."""

    solver: str
    status: str
    gap: float
    seconds: float
    version: str = ""
    iterations: int | None = None

    def __str__(self) -> str:
        name = f"{self.solver} {self.version}".strip()
        steps = "" if self.iterations is None else f", {self.iterations} iterations"
        return f"{name}, status {self.status}{steps}, gap {self.gap:.1e}"


@dataclass(frozen=True, eq=False)
class MarginSolution:
    """The answer to a margin problem.

    feasible     True (a W is given), False (a Gordan vector is given, checked exactly), or
                 None: undecided, the margin lies in [0, upper]
    W            [d e], scaled so that every <A_j, W> >= b_j; None unless feasible is True
    value        its norm (inf if infeasible, nan if undecided)
    margin       1/value, the margin that W has in the unit ball
    multipliers  [N], |sum_j lam_j A_j|' = 1 (Frobenius: W = sum_j lam_j A_j), or None
    lower, upper proved bounds of the best margin g* (1/g* is the least norm)
    gordan       (rows, integers) with sum_j integer_j A_j = 0, if feasible is False
    attempts     the solvers that were asked, in order
    """

    problem: MarginProblem
    norm: str
    p: float | None
    feasible: bool | None
    W: Array | None
    value: float
    multipliers: Array | None
    lower: float
    upper: float
    gordan: tuple[Array, list[int]] | None = None
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = "margin problem"
    reference: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def margin(self) -> float:
        return 0.0 if self.feasible is False else 1.0 / self.value

    @property
    def gap(self) -> float:
        """upper/lower - 1, the proved relative accuracy of margin and norm."""
        return self.upper / self.lower - 1.0 if self.lower > 0.0 else float("inf")

    def holds(self, rtol: float) -> bool:
        """Whether the question was decided, and to the relative accuracy `rtol`."""
        return self.feasible is False or (self.feasible is True and self.gap <= rtol)

    def check(self) -> bool:
        """Recompute the certificates; True, or CertificateError."""
        return self.certificate.check() and (self.rank is None or self.rank.check())

    @cached_property
    def slack(self) -> Array | None:
        """<A_j, W> - b_j, [N]."""
        return None if self.W is None else self.problem.margins(self.W) - self.problem.bound

    @cached_property
    def active(self) -> Array | None:
        """[N] bool: inequalities met with equality, up to a relative slack of 1e-6."""
        if self.slack is None:
            return None
        scale = np.where(self.problem.bound > 0.0, self.problem.bound, 1.0)
        return (self.slack <= ACTIVE * scale) & ~self.problem.equality

    @cached_property
    def unique(self) -> bool | None:
        """Whether W is the only solution: always, but for the nuclear norm, where it is computed.

        With the top singular spaces U, V (dimension k) of G = sum lam_j A_j, every solution is
        U M V' with M >= 0 symmetric and <U'A_jV, M> = b_j where lam_j > 0: unique if these
        equations determine M.  None if the question does not arise.
        """
        if self.W is None or self.multipliers is None:
            return None
        if self.norm != "nuclear":
            return True
        from dsf.solvers.nuclear import face_is_a_point

        return face_is_a_point(self.problem, self.multipliers)

    @cached_property
    def multipliers_unique(self) -> bool | None:
        """Frobenius: whether the active rows are independent (else the dual is degenerate)."""
        if self.norm != "frobenius" or self.active is None:
            return None
        rows = self.problem.rows(self.active | self.problem.equality).matrix()
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return bool(np.linalg.matrix_rank(rows, tol=1e-9) == len(rows))

    @cached_property
    def certificate(self) -> Certificate:
        """Both bounds of the margin, or the exact proof that it is 0."""
        from dsf.check import margin as check

        w: dict[str, Any] = self.problem.arrays()
        if self.feasible is False and self.gordan is not None:
            rows, weights = self.gordan
            w |= {"rows": rows, "gordan": [hex(x) for x in weights]}
            return Certificate(
                "margin-zero",
                check.zero_sentence(w),
                Scope.OPERATOR,
                Strength.EXACT,
                0.0,
                0.0,
                w,
                {},
                self.reference,
            )
        w["norm"] = self.norm
        if self.p is not None:
            w["p"] = self.p
        if self.W is not None:
            w["W"] = self.W
        w["lam"] = self.multipliers
        return Certificate(
            "margin",
            check.margin_sentence(w, self.lower, self.upper),
            Scope.OPERATOR,
            Strength.ENCLOSED,
            self.lower,
            self.upper,
            w,
            self.residuals,
            self.reference,
        )

    @cached_property
    def residuals(self) -> dict[str, float]:
        """How the gap splits: lower/upper = (1 - complementarity)(1 - stationarity).

        complementarity  weight of the multipliers on rows that W exceeds
        stationarity     1 - <G, W>/(|G|' |W|), G = sum lam_j A_j
        """
        if self.W is None or self.multipliers is None:
            return {}
        m, lam, b = self.problem.margins(self.W), self.multipliers, self.problem.bound
        inner, dual = float(lam @ m), float(lam @ b)
        if not (inner > 0.0 and dual > 0.0):
            return {}
        least = float(np.min(m[b > 0] / b[b > 0]))
        size = dual * self.upper  # |G|', rounded up
        return {
            "complementarity": max(0.0, 1.0 - least * dual / inner),
            "stationarity": max(0.0, 1.0 - inner / (size * self.value)),
        }

    @cached_property
    def rank(self) -> Certificate | None:
        """Nuclear norm: a proved bound on the rank of every solution, up to a tail."""
        if self.norm != "nuclear" or self.feasible is not True:
            return None
        from dsf.solvers.nuclear import rank_certificate

        return rank_certificate(self)

    def __repr__(self) -> str:
        from dsf.solvers.printout import solution

        return solution(self)
