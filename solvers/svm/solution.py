"""What the solvers of margin problems return: the answer, its bounds, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from dsf.core.certificate import Certificate, decode, encode
from dsf.core.result import Result, Rows, Section
from dsf.solvers.svm import certify, nuclear, printout
from dsf.solvers.svm.check.margin import Margin, MarginZero
from dsf.solvers.svm.problem import POSITIVE, Array, MarginProblem, scale

# relative slack up to which a row counts as met with equality, beside the proved gap: the nuclear
# norm is flat at its optimum, so a gap of 1e-8 leaves 1e-4 in the margins
ACTIVE = {"frobenius": 1e-6, "nuclear": 1e-4, "entrywise": 1e-6}
# fields that JSON holds as they are
STORED = (
    "norm", "p", "feasible", "W", "value", "multipliers", "lower", "upper", "title", "reference",
)  # fmt: skip
DEPENDENT = 1e-8  # unit rows with a null combination up to this count as dependent


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


@dataclass(frozen=True, eq=False, repr=False)
class MarginSolution(Result):
    """The answer to a margin problem.

    feasible     True (a W is given), False (a Gordan vector is given, checked exactly), or
                 None: undecided, the margin lies in [0, upper]
    W            [d e], scaled so that every <A_j, W> >= b_j; None unless feasible is True
    value        its norm (inf if infeasible, nan if undecided)
    margin       1/value, the margin that W has in the unit ball
    multipliers  [N], |sum_j lam_j A_j|' = 1 (Frobenius: W = sum_j lam_j A_j), or None; 0 for
                 rows that are zero (a duplicate of the chosen token in a sample not strict)
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

    @property
    def margin(self) -> float:
        """The margin of W in the unit ball: 1/value, 0 if there is none."""
        return 0.0 if self.feasible is False else 1.0 / self.value

    @property
    def gap(self) -> float:
        """upper/lower - 1, the proved relative accuracy of margin and norm."""
        return certify.gap(self.lower, self.upper)

    def holds(self, rtol: float) -> bool:
        """Whether the question was decided, and to the relative accuracy `rtol`."""
        return self.feasible is False or (self.feasible is True and self.gap <= rtol)

    @cached_property
    def slack(self) -> Array | None:
        """<A_j, W> - b_j, [N]."""
        return None if self.W is None else self.problem.margins(self.W) - self.problem.bound

    @cached_property
    def active(self) -> Array | None:
        """[N] bool: inequalities that W meets with equality, up to rounding and a tolerance.

            <A_j, W> <= b_j + (ACTIVE + gap) s_j,     s_j = b_j,  or |A_j| |W| where b_j = 0

        A float test: at least one row is active, but a row may be so for this W and not for the
        exact solution.  `dsf.solvers.svm.selections.inactive` gives the rows proved inactive.
        """
        if self.W is None:
            return None
        rows, bound = scale(self.problem), self.problem.bound
        W = np.ldexp(self.W, rows.exponent)  # in the units of the scaled rows
        m, error = certify.margins(rows.D, rows.Z, W)
        size = np.where(bound > 0.0, bound, rows.length * float(np.linalg.norm(W)))
        slack = m - error - bound
        return (slack <= (ACTIVE[self.norm] + self.gap) * size) & ~self.problem.equality

    @cached_property
    def unique(self) -> bool | None:
        """Whether W is the only solution: True, False with `other`, or None (not decided).

        Frobenius and entrywise norms are strictly convex: always True.  Nuclear norm, a float test:
        with the top singular spaces U, V of G = sum lam_j A_j every solution is U M V' with M >= 0
        symmetric and <U'A_jV, M> = b_j where lam_j > 0.  True if these equations determine M.  If
        they do not, M >= 0 and the other rows may still leave a single point.
        """
        if self.W is None or self.multipliers is None:
            return None
        if self.norm != "nuclear":
            return True
        problem, lam = self.stated
        if lam is not None and nuclear.face_is_a_point(problem, lam):
            return True
        return None if self.other is None else False

    @cached_property
    def other(self) -> Array | None:
        """Nuclear norm: another solution [d e], of the same norm up to the gaps of both; or None.

        It is looked for only along the equations of `unique`; None does not mean that W is unique.
        """
        if self.norm != "nuclear" or self.W is None or self.multipliers is None:
            return None
        return nuclear.second_optimum(self)

    @cached_property
    def multipliers_unique(self) -> bool | None:
        """Frobenius: whether W = sum lam_j A_j has no other lam >= 0 on the active rows (float).

        lam is unique if there is no d != 0 with sum d_j A_j = 0 and d_j >= 0 where lam_j = 0.
        Multipliers of zero rows are not counted.
        """
        if self.norm != "frobenius" or self.active is None or self.multipliers is None:
            return None
        used = (self.active | self.problem.equality) & ~self.problem.zero
        part = scale(self.problem.rows(used))
        weight = np.abs(self.multipliers[used]) * part.length
        positive = self.problem.equality[used] | (weight > POSITIVE * float(weight.max()))
        return _no_null_combination(part.matrix(), positive)

    @cached_property
    def stated(self) -> tuple[MarginProblem, Array | None]:
        """(problem, multipliers) of the certificates: equalities 0 = 0 say nothing, and are out."""
        keep = ~(self.problem.zero & self.problem.equality)
        if keep.all():
            return self.problem, self.multipliers
        return self.problem.rows(keep), None if self.multipliers is None else self.multipliers[keep]

    @cached_property
    def certificate(self) -> Certificate:
        """Both bounds of the margin, or the exact proof that it is 0."""
        if self.feasible is False and self.gordan is not None:
            rows, weights = self.gordan
            return MarginZero(
                support=rows, gordan=tuple(hex(x) for x in weights),
                **self.problem.arrays(),
            ).certificate()  # fmt: skip
        problem, multipliers = self.stated
        witnesses: dict[str, Any] = problem.arrays() | {"W": self.W, "lam": multipliers}
        return Margin(
            lower=self.lower, upper=self.upper, norm=self.norm, p=self.p,
            residuals=self.residuals, **witnesses,
        ).certificate()  # fmt: skip

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
        return nuclear.rank_certificate(self)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Both bounds of the margin; for the nuclear norm also the rank of every solution."""
        return (self.certificate, *([] if self.rank is None else [self.rank]))

    def headline(self) -> tuple[str, str]:
        return printout.headline(self)

    def sections(self) -> Sequence[Section]:
        return [Rows(printout.rows(self))]

    def to_data(self) -> dict[str, Any]:
        fields = {k: encode(getattr(self, k)) for k in STORED}
        support, weights = self.gordan or (None, [])
        return {
            "problem": {k: encode(x) for k, x in self.problem.arrays().items()},
            **fields,
            "gordan": None if support is None else [encode(support), [hex(x) for x in weights]],
            "attempts": [encode(asdict(a)) for a in self.attempts],
            "notes": list(self.notes),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        gordan = data["gordan"]
        return cls(
            problem=MarginProblem.of(**{k: decode(x) for k, x in data["problem"].items()}),
            gordan=gordan and (decode(gordan[0]), [int(x, 16) for x in gordan[1]]),
            attempts=tuple(Attempt(**decode(a)) for a in data["attempts"]),
            notes=tuple(map(str, data["notes"])),
            **{k: decode(data[k]) for k in STORED},
        )


def _no_null_combination(A: Array, free: Array) -> bool:
    """Whether d = 0 is the only d with A'd = 0 and d_j >= 0 outside `free`; unit rows A [N k].

    Rows outside, projected on the complement of the others, must have no null combination >= 0:
    the shortest vector of their convex hull has a positive length.
    """
    from scipy.optimize import nnls

    if np.linalg.matrix_rank(A, tol=DEPENDENT) == len(A):
        return True
    if np.linalg.matrix_rank(A[free], tol=DEPENDENT) < int(free.sum()):
        return False
    Q = np.linalg.qr(A[free].T)[0]
    P = A[~free] - (A[~free] @ Q) @ Q.T
    P -= (P @ Q) @ Q.T
    system = np.vstack([P.T, np.ones(len(P))])
    goal = np.append(np.zeros(P.shape[1]), 1.0)
    return bool(nnls(system, goal)[1] > DEPENDENT)
