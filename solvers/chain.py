"""Scale, solve, certify: the chain that every margin problem goes through.

1. A zero row, or a Gordan vector found by least-distance programming and proved in rationals:
   infeasible.
2. Own Frobenius solvers; for other norms a conic solver.  Each answer is turned into bounds by
   `certify` alone; the best W and the best multipliers are kept, whoever found them.
3. The next solver is asked while the gap exceeds `goal`.  Every attempt is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dsf.errors import DomainError, SolverMissingError
from dsf.solvers import certify, least_distance, norms
from dsf.solvers.problem import Array, MarginProblem, ScaledRows, scale
from dsf.solvers.solution import Attempt, MarginSolution

OWN = ("nnls", "ascent")
CONIC = ("CLARABEL", "OSQP", "SCS")
GOAL = {"frobenius": 1e-8, "nuclear": 1e-6, "entrywise": 1e-6}
# solver -> function that a child process calls; one place, so that tests can put a crash there
WORKERS = dict.fromkeys(CONIC, "dsf.solvers.cones:solve_cone")


class State:
    """The best witnesses so far, in the units of the scaled rows."""

    def __init__(self, problem: MarginProblem, rows: ScaledRows, norm: str, p: float | None):
        self.problem, self.rows, self.norm, self.p = problem, rows, norm, p
        self.W: Array | None = None
        self.lower, self.upper = 0.0, float("inf")
        # each row alone bounds the margin by |A_j|'/b_j, so there always is a bound
        used = np.flatnonzero(problem.bound > 0.0)
        self.lam = np.zeros(problem.size)
        self.lam[used[np.argmin(rows.length[used] / problem.bound[used])]] = 1.0
        self.attempts: list[Attempt] = []
        self.offer(None, self.lam)

    def offer(self, W: Array | None, lam: Array | None) -> float:
        """Take over what proves more; the gap of these witnesses alone."""
        lower, upper = 0.0, float("inf")
        if W is not None and np.all(np.isfinite(W)):
            found = certify.primal(self.problem, self.rows, W, self.norm, self.p)
            lower = found.lower
            if lower > self.lower:
                self.W, self.lower = W / found.least, lower
        for trial in (lam, None if lam is None else self._flipped(lam)):
            if trial is not None:
                bound = certify.dual(self.problem, self.rows, trial, self.norm, self.p).upper
                upper = min(upper, bound)
                if bound < self.upper:
                    self.lam, self.upper = trial, bound
        return certify.gap(lower, upper)

    def _flipped(self, lam: Array) -> Array | None:
        """The other sign convention for the multipliers of equalities."""
        if not np.any(self.problem.equality):
            return None
        return np.where(self.problem.equality, -lam, lam)

    @property
    def gap(self) -> float:
        return certify.gap(self.lower, self.upper)


def solve(
    problem: MarginProblem,
    norm: str = "frobenius",
    p: float | None = None,
    *,
    solvers: Sequence[str] | None = None,
    goal: float | None = None,
    isolate: bool = False,
    seconds: float = 60.0,
    title: str = "margin problem",
    reference: str = "",
) -> MarginSolution:
    """The W of least norm with <A_j, W> >= b_j, certified.

    norm      "frobenius", "nuclear" or "entrywise" (with p)
    solvers   names to try in this order and no others ("nnls", "ascent", "CLARABEL", "OSQP",
              "SCS"); default: own solvers for Frobenius, then Clarabel, and so on until the
              proved gap is at most `goal`
    goal      default 1e-8 (Frobenius), 1e-6 (nuclear, entrywise)
    isolate   run conic solvers in a child process: a crash or hang is recorded, not suffered
    seconds   time limit of each conic solver

    Raises DomainError for an unknown norm or solver, SolverMissingError.
    """
    p = norms.checked(norm, p)
    goal = GOAL[norm] if goal is None else goal
    names = order(norm, problem, solvers)
    from dsf.solvers import gordan

    unsolved = MarginSolution(
        problem, norm, p, None, None, float("nan"), None, 0.0, float("inf"),
        title=title, reference=reference,
    )  # fmt: skip
    j = gordan.zero_row(problem)
    if j is not None:
        return _infeasible(unsolved, (np.array([j]), [1]), (), (_why_zero(problem, j),))
    keep = np.any(problem.left(), axis=1) & np.any(problem.right(), axis=1)
    if not np.all(keep):  # rows 0 >= 0 and 0 = 0
        problem = problem.rows(keep)
        unsolved = replace(unsolved, problem=problem)
    rows = scale(problem)
    state = State(problem, rows, norm, p)

    for name in [x for x in names if x in OWN] or ["nnls"]:
        u = _own(state, name)
        if state.lower == 0.0 and u is not None:
            proof = gordan.gordan_vector(problem, u)
            if proof is not None:
                return _infeasible(unsolved, proof, tuple(state.attempts), ())
        if state.gap <= goal or (state.lower > 0.0 and norm != "frobenius"):
            break
    for name in names:
        if name in CONIC and not state.gap <= goal:
            _conic(state, name, isolate, seconds)
    return _finished(unsolved, state, goal)


def order(norm: str, problem: MarginProblem, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The solvers to try, in order."""
    if asked is not None:
        for name in asked:
            if name not in OWN + CONIC:
                raise DomainError(f"unknown solver {name!r}; known: {', '.join(OWN + CONIC)}")
            if norm != "frobenius" and name in (*OWN, "OSQP"):
                raise DomainError(
                    f"{name} solves the Frobenius problem only; for norm={norm!r} ask for "
                    "CLARABEL or SCS"
                )
            if name == "ascent" and np.any(problem.equality):
                raise DomainError('"ascent" takes no equalities; ask for "nnls"')
        missing = [name for name in asked if name in CONIC and name not in _installed()]
        if missing:
            raise SolverMissingError(_install(missing))
        return tuple(asked)
    if norm != "frobenius":
        ready = [name for name in ("CLARABEL", "SCS") if name in _installed()]
        if not ready:
            raise SolverMissingError(_install(["CLARABEL"]))
        return tuple(ready)
    large = problem.size > least_distance.ASCENT_FROM
    if np.any(problem.equality):
        first: tuple[str, ...] = ("nnls",)
    else:
        first = ("ascent", "nnls") if large else ("nnls", "ascent")
    return first + CONIC


def _installed() -> set[str]:
    from dsf.solvers import cones

    return cones.installed()


def _install(names: Sequence[str]) -> str:
    from dsf.solvers.cones import PACKAGES

    packages = " ".join(PACKAGES[name] for name in names)
    return f"{', '.join(names)} is not installed: `pip install cvxpy {packages}`."


def _own(state: State, name: str) -> Array | None:
    """One own solver; returns the vector that may prove infeasibility."""
    start = time.perf_counter()
    if not np.all(np.isfinite(state.rows.h)):
        return None
    found = least_distance.solve(state.problem, state.rows, name)
    gap = state.offer(found.W, found.lam)
    spent = time.perf_counter() - start
    state.attempts.append(
        Attempt(found.solver, found.status, gap, spent, iterations=found.iterations)
    )
    return found.lam


def _conic(state: State, name: str, isolate: bool, seconds: float) -> None:
    start = time.perf_counter()
    answer = _ask(state, name, isolate, seconds)
    gap = state.offer(answer.get("W"), answer.get("lam"))
    state.attempts.append(
        Attempt(
            name,
            answer["status"],
            gap,
            time.perf_counter() - start,
            answer.get("version", ""),
            answer.get("iterations"),
        )
    )


def _ask(state: State, name: str, isolate: bool, seconds: float) -> dict[str, Any]:
    """The answer of a conic solver in the units of the scaled rows."""
    from dsf.solvers import isolated
    from dsf.solvers.nuclear import spans

    rows = state.rows
    if name not in _installed():
        return {"status": "not installed"}
    if not np.all(np.isfinite(rows.h)):
        return {"status": "not asked: a row is too short for float64"}
    left, right = rows.unit_D, rows.unit_Z
    d, e = left.shape[1], right.shape[1]
    B, C = spans(rows) if state.norm == "nuclear" else (np.eye(d), np.eye(e))
    left, right = left @ B, right @ C
    top = float(rows.h.max())
    arguments: dict[str, Any] = {
        "solver": name,
        "norm": state.norm,
        "G": (left[:, :, None] * right[:, None, :]).reshape(len(left), -1),
        "h": rows.h / top,
        "equality": state.problem.equality,
        "shape": (B.shape[1], C.shape[1]),
        "p": state.p,
        "seconds": seconds,
    }
    if isolate:
        try:
            answer = isolated.call(WORKERS[name], seconds + 60.0, **arguments)
        except isolated.SolverFailure as failure:
            return {"status": str(failure)}
    else:
        from dsf.solvers.cones import solve_cone

        answer = solve_cone(**arguments)
    if answer["W"] is not None:
        answer["W"] = B @ answer["W"] @ C.T
    if answer["lam"] is not None:
        answer["lam"] = answer["lam"] / rows.length
    return answer


def _infeasible(
    s: MarginSolution,
    proof: tuple[Array, list[int]],
    attempts: tuple[Attempt, ...],
    notes: tuple[str, ...],
) -> MarginSolution:
    return replace(
        s,
        feasible=False,
        value=float("inf"),
        lower=0.0,
        upper=0.0,
        gordan=proof,
        attempts=attempts,
        notes=notes,
    )


def _why_zero(problem: MarginProblem, j: int) -> str:
    if not np.any(problem.right()[j]):
        return f"row {j}: query {problem.query[j]} is zero, so no W gives its tokens a margin"
    return (
        f"row {j}: key {problem.plus[j]} is to beat key {problem.minus[j]}, which is the same "
        "vector (duplicated tokens)"
    )


def _finished(s: MarginSolution, state: State, goal: float) -> MarginSolution:
    """The best witnesses in the units of the problem; the bounds belong to exactly these arrays."""
    exponent = state.rows.exponent
    lam = np.where(state.problem.equality, state.lam, np.maximum(state.lam, 0.0))
    weight = float(state.problem.bound @ lam)
    value = float("nan")
    if state.W is None:
        lam, power = lam / weight, 0
    elif state.norm == "frobenius":
        # |sum lam_j A_j|_F = |W|_F at the optimum: b'lam = |W|^2
        lam, power = lam / weight * norms.value(state.W, "frobenius") ** 2, 2
    else:
        lam, power = lam / weight * norms.value(state.W, state.norm, state.p), 1
    upper = certify.dual(state.problem, state.rows, lam, state.norm, state.p).upper
    W, lower = None, 0.0
    if state.W is not None:
        found = certify.primal(state.problem, state.rows, state.W, state.norm, state.p)
        W, lower = _shifted(state.W, -exponent, "W"), found.lower
        value = norms.value(W, state.norm, state.p)
    gap = certify.gap(lower, upper)
    notes = ()
    if W is not None and not gap <= goal:
        notes = (f"the proved gap {gap:.1e} misses the goal {goal:.0e}: the data are badly scaled",)
    return replace(
        s,
        feasible=True if W is not None else None,
        W=W,
        value=value,
        multipliers=_shifted(lam, -power * exponent, "the multipliers"),
        lower=float(np.ldexp(lower, exponent)),
        upper=float(np.ldexp(upper, exponent)),
        attempts=tuple(state.attempts),
        notes=notes,
    )


def _shifted(A: Array, exponent: int, name: str) -> Array:
    """A times a power of two, exactly."""
    with np.errstate(over="ignore", under="ignore"):
        out = np.ldexp(A, exponent)
        back = np.ldexp(out, -exponent)
    if not np.allclose(back, A, rtol=2.0**-50, atol=2.0**-60 * float(np.abs(A).max())):
        raise DomainError(
            f"{name} leaves the range of float64 (a factor 2^{exponent} is needed): the data are "
            "too small or too large.  Multiply X or z by one common factor; the answer is W over "
            "that factor."
        )
    return out
