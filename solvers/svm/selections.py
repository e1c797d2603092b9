"""Which choices of one token per sample can attract training: local optimality, enumerated.

For a selection a let W_a be its Frobenius attention-SVM solution and T_i = {t : (x_{i,a_i} -
x_{it})' W_a z_i = 1} the active rivals.  a is locally optimal if the chosen token scores strictly
higher than every active one: scores[i, a_i] > scores[i, t] for t in T_i.  Gradient descent started
close to the direction of W_a, far out, stays if a is locally optimal (tarzanagh2023).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.certificate import Certificate, Strength
from dsf.core.errors import DomainError, EmptyProblemError, ShapeError, TooManySelectionsError
from dsf.solvers.svm import certify, printout
from dsf.solvers.svm.attention import attention_svm
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.check.selection import LocalOptimality as Claim
from dsf.solvers.svm.problem import Array, MarginProblem, real, scale, selection
from dsf.solvers.svm.solution import MarginSolution
from dsf.states.rounding import UP, gamma

LIMIT = 10_000
GAP = 2.0**-50  # room for the rounding of U^2 - L^2, relative to U^2


@dataclass(frozen=True, eq=False)
class LocalOptimality:
    """Whether one selection is locally optimal.

    selection         one token per sample
    solution          its attention-SVM solution
    locally_optimal   True, False (proved either way; an infeasible selection is not), or None
    rivals            [(sample, token)] that decide against it, or that stay undecided
    certificate       None if undecided
    """

    selection: tuple[int, ...]
    solution: MarginSolution
    locally_optimal: bool | None
    rivals: tuple[tuple[int, int], ...]
    certificate: Certificate | None

    def check(self) -> bool:
        """Recompute the certificates; True, or CertificateError."""
        self.solution.certificate.check()
        return self.certificate is None or self.certificate.check()

    def __repr__(self) -> str:
        return printout.local_optimality(self)


def local_optimality(X: Any, z: Any, chosen: Any, scores: Any) -> LocalOptimality:
    """Whether the selection `chosen` [n] is locally optimal under `scores` [n T].

    Tokens that score lower than the chosen one cannot decide.  The others are shown inactive by the
    distance of the computed W from the optimal one, |W - W_a|^2 <= U^2 - L^2; or some of them are
    shown active by a W of smaller norm than L that meets all other constraints.

    X [n T d], z [n e]; errors as `attention_svm`.  Source: tarzanagh2023, locally optimal tokens.

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> local_optimality(i.X, i.z, [2, 2], i.scores).locally_optimal
    True
    >>> local_optimality(i.X, i.z, [0, 2], i.scores).rivals
    ((0, 1),)
    """
    X, scores = real(X, "X", 3), real(scores, "scores", 2)
    n, T, _ = X.shape
    if scores.shape != (n, T):
        raise ShapeError(
            f"`scores` must be [n T] = [{n} {T}], one per token of X; got {list(scores.shape)}"
        )
    picked = selection(chosen, n, T, "chosen")
    s = attention_svm(X, z, picked)
    name = tuple(int(a) for a in picked)
    if s.W is None:
        verdict = False if s.feasible is False else None
        return LocalOptimality(name, s, verdict, (), s.certificate if verdict is False else None)
    sample, token = np.nonzero(np.arange(T) != picked[:, None])
    rival = scores[sample, token] >= scores[sample, picked[sample]]
    open_ = np.flatnonzero(rival & ~inactive(s, s.W))
    who = tuple((int(sample[j]), int(token[j])) for j in open_)
    if len(open_) == 0:
        return LocalOptimality(name, s, True, (), _certificate(s, scores))
    keep = np.setdiff1d(np.arange(s.problem.size), open_)
    without = _without(s.problem, keep)
    if without is None:
        return LocalOptimality(name, s, None, who, None)
    low = certify_norm(s.problem, keep, without)
    if not low < 1.0 / s.upper:
        return LocalOptimality(name, s, None, who, None)
    shorter = {"W_without": without, "kept": keep, "norm_without": low}
    return LocalOptimality(name, s, False, who, _certificate(s, scores, **shorter))


def inactive(s: MarginSolution, solution: Array) -> Array:
    """Rows [N] that the optimal W provably exceeds: m_j - |A_j| sqrt(U^2 - L^2) > 1."""
    rows = scale(s.problem)
    W = np.ldexp(solution, rows.exponent)  # in the units of the scaled rows
    m, error = certify.margins(rows.D, rows.Z, W)
    U = float(np.ldexp(1.0 / s.lower, rows.exponent)) * UP
    off = U * np.sqrt(max(s.gap, 0.0) * (2.0 + s.gap) + GAP)  # U^2 - L^2 <= U^2 gap (2 + gap)
    d, e = s.problem.shape
    return m - error - rows.length * (1.0 + gamma(d + e + 8)) * off > s.problem.bound * UP


def _without(problem: MarginProblem, keep: Array) -> Array | None:
    if len(keep) == 0:
        return np.zeros(problem.shape)
    return solve(problem.rows(keep)).W


def certify_norm(problem: MarginProblem, keep: Array, W: Array) -> float:
    """An upper bound of the least norm under the rows `keep`, from W; 0.0 if there are none."""
    if len(keep) == 0:
        return 0.0
    part = problem.rows(keep)
    rows = scale(part)
    lower = certify.primal(part, rows, np.ldexp(W, rows.exponent), "frobenius").lower
    return float(np.ldexp(1.0 / lower, -rows.exponent)) if lower > 0.0 else float("inf")


def _certificate(s: MarginSolution, scores: Array, **shorter: Any) -> Certificate:
    problem, lam = s.stated
    witnesses: dict[str, Any] = problem.arrays() | {"W": s.W, "lam": lam, "scores": scores.ravel()}
    claim = Claim(lower=s.lower, upper=s.upper, norm=s.norm, **witnesses, **shorter)
    return claim.certificate()


@dataclass(frozen=True, eq=False)
class Enumeration:
    """The selections visited: all of them, or a sample (then labelled so)."""

    entries: tuple[LocalOptimality, ...]
    total: int
    sampled: bool

    @property
    def locally_optimal(self) -> list[tuple[int, ...]]:
        """The selections proved to be locally optimal."""
        return [e.selection for e in self.entries if e.locally_optimal]

    @property
    def undecided(self) -> list[tuple[int, ...]]:
        """The selections of which nothing is proved."""
        return [e.selection for e in self.entries if e.locally_optimal is None]

    @property
    def strength(self) -> Strength:
        """What "these are all locally optimal selections" rests on."""
        return Strength.SAMPLED if self.sampled or self.undecided else Strength.ENCLOSED

    def check(self) -> bool:
        """Recompute every certificate; True, or CertificateError."""
        return all(e.check() for e in self.entries)

    def __repr__(self) -> str:
        how = f"{len(self.entries)} sampled of" if self.sampled else "all"
        yes = {True: "locally optimal", False: "not", None: "undecided"}
        lines = [f"Selections({how} {self.total}, {len(self.locally_optimal)} locally optimal)"]
        shown = self.entries if len(self.entries) <= 20 else self._best(20)
        for e in shown:
            word = "infeasible" if e.solution.feasible is False else "?"
            norm = f"{e.solution.value:.6f}" if e.solution.feasible else word
            what = "active rivals" if e.locally_optimal is False else "rivals that may be active"
            rivals = "" if not e.rivals else f"   {what} {list(e.rivals)}"
            lines.append(f"  {e.selection!s:16} {norm:>12}  {yes[e.locally_optimal]}{rivals}")
        if len(shown) < len(self.entries):
            lines.append(f"  ... {len(self.entries) - len(shown)} more, of larger norm")
        return "\n".join(lines)

    def _best(self, count: int) -> list[LocalOptimality]:
        """Locally optimal ones first, then by norm."""
        key = {True: 0, None: 1, False: 2}
        return sorted(self.entries, key=lambda e: (key[e.locally_optimal], -e.solution.margin))[
            :count
        ]


def enumerate_selections(
    X: Any, z: Any, scores: Any, *, sample: int | None = None, seed: int = 0, limit: int = LIMIT
) -> Enumeration:
    """The local optimality of all T^n selections, or of `sample` random ones.

    X [n T d], z [n e], scores [n T].  Raises TooManySelectionsError above `limit` (10^4) unless a
    sample is asked for; a sample says nothing about the selections it did not visit.

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> enumerate_selections(i.X, i.z, i.scores).locally_optimal
    [(1, 2), (2, 2)]
    """
    X = real(X, "X", 3)
    n, T, _ = X.shape
    if n == 0 or T < 2:
        raise EmptyProblemError(
            f"enumerate_selections: X [{n} {T} ...] leaves nothing to choose; it needs a sample "
            "and two tokens"
        )
    if not isinstance(limit, (int, float, np.integer)):
        raise DomainError(f"limit must be a number; got {limit!r}")
    total = T**n
    if sample is None:
        if total > limit:
            raise TooManySelectionsError(
                f"there are T^n = {T}^{n} = {total:.3g} selections, more than {limit}.  Pass "
                "sample=1000 to visit that many random ones (labelled `sampled`), or raise limit="
            )
        visit: Any = itertools.product(range(T), repeat=n)
    else:
        if not isinstance(sample, (int, np.integer)) or sample < 1:
            raise DomainError(f"sample must be at least 1, an integer; got {sample!r}")
        visit = np.random.default_rng(seed).integers(0, T, (sample, n))
    entries = tuple(local_optimality(X, z, np.asarray(a), scores) for a in visit)
    return Enumeration(entries, total, sample is not None)
