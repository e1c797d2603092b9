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

from dsf.core.errors import DomainError, SolverMissingError, TooLargeError
from dsf.solvers.svm import certify, cones, gordan, isolated, least_distance, norms
from dsf.solvers.svm.nuclear import spans
from dsf.solvers.svm.problem import Array, MarginProblem, comparable, scale, shifted
from dsf.solvers.svm.solution import Attempt, MarginSolution

OWN = ("nnls", "ascent")
CONIC = ("CLARABEL", "OSQP", "SCS")
REPAIR_ABOVE = 1e-9
LARGEST = 4 * 2**30  # bytes of the rows written out, or of the Gram matrix
GOAL = {"frobenius": 1e-8, "nuclear": 1e-6, "entrywise": 1e-6}
# solver -> function that a child process calls; one place, so that tests can put a crash there
WORKERS = dict.fromkeys(CONIC, "dsf.solvers.svm.cones:solve_cone")
INFEASIBLE: dict[str, Any] = {"feasible": False, "value": float("inf")}
Proof = tuple[Array, list[int]]  # Gordan vector: rows and their integer weights


class State:
    """The best witnesses so far for the rows that are not zero, in the units of `rows`."""

    def __init__(self, given: MarginProblem, norm: str, p: float | None) -> None:
        self.problem = given.rows(~given.zero) if given.zero.any() else given
        self.place = np.flatnonzero(~given.zero)  # of its rows among the given ones
        self.rows, self.norm, self.p = scale(self.problem), norm, p
        self.W: Array | None = None
        self.lam: Array | None = None
        self.lower, self.upper = 0.0, float("inf")
        self.attempts: list[Attempt] = []

    def offer(self, W: Array | None, lam: Array | None) -> float:
        """Take over what proves more; the gap of these witnesses alone."""
        lower, upper = 0.0, float("inf")
        if W is not None and np.isfinite(W).all():
            found = certify.primal(self.problem, self.rows, W, self.norm, self.p)
            lower = found.lower
            if lower > self.lower:
                self.W, self.lower = W / found.least, lower
        for trial in self._signs(lam):
            bound = certify.dual(self.problem, self.rows, trial, self.norm, self.p)
            upper = min(upper, bound)
            if bound < self.upper:
                self.lam, self.upper = certify.clipped(self.problem, trial), bound
        return certify.gap(lower, upper)

    def _signs(self, lam: Array | None) -> list[Array]:
        """lam, and with equalities also under the other sign convention for their multipliers."""
        if lam is None:
            return []
        if self.problem.plain:
            return [lam]
        return [lam, np.where(self.problem.equality, -lam, lam)]

    def one_row(self) -> Array:
        """Each row alone bounds the margin by |A_j|'/b_j, so there always is a bound."""
        used = np.flatnonzero(self.problem.bound > 0.0)
        lam = np.zeros(self.problem.size)
        lam[used[np.argmin(self.rows.length[used] / self.problem.bound[used])]] = 1.0
        return lam

    @property
    def gap(self) -> float:
        """upper/lower - 1 of the best witnesses so far."""
        return certify.gap(self.lower, self.upper)


def solve(
    problem: MarginProblem,
    norm: str = "frobenius",
    p: float | None = None,
    *,
    solvers: Sequence[str] | None = None,
    goal: float | None = None,
    isolate: bool = False,
    time_limit: float = 60.0,
    title: str = "margin problem",
    reference: str = "",
) -> MarginSolution:
    """The W of least norm with <A_j, W> >= b_j, certified.

    norm      "frobenius", "nuclear" or "entrywise" (with p)
    solvers   names to try in this order and no others ("nnls", "ascent", "CLARABEL", "OSQP",
              "SCS"); default: own solvers for Frobenius, then Clarabel, and so on until the
              proved gap is at most `goal`
    goal      default 1e-8 (Frobenius), 1e-6 (nuclear, entrywise)
    isolate   run conic solvers in a child process, so that a crash or a hang of one of them is
              an attempt that failed
    time_limit   seconds for each conic solver, and for coordinate ascent

    Raises DomainError for an unknown norm or solver, a goal or time limit that is no number, rows
    whose lengths differ by more than 2^800; SolverMissingError; TooLargeError.
    """
    p = norms.checked(norm, p)
    goal = _number("goal", GOAL[norm] if goal is None else goal)
    time_limit = _number("time_limit", time_limit)
    names = order(norm, problem, solvers)
    _fits(problem)
    blank = MarginSolution(
        problem, norm, p, None, None, float("nan"), None, 0.0, 0.0, title=title, reference=reference
    )
    for j in np.flatnonzero(problem.zero & (problem.bound > 0.0)):
        why = (_why_zero(problem, int(j)),)
        return replace(blank, **INFEASIBLE, gordan=(np.array([j]), [1]), notes=why)
    with np.errstate(all="ignore"):  # what overflows proves nothing; the bounds decide
        state = State(problem, norm, p)
        comparable(state.problem, state.rows)
        proof = _own_solvers(state, names, solvers is not None, goal, time_limit)
        if proof is not None:
            gordan = state.place[proof[0]], proof[1]
            return replace(blank, **INFEASIBLE, gordan=gordan, attempts=tuple(state.attempts))
        for name in names:
            if name in CONIC and not (state.lower > 0.0 and state.gap <= goal):
                _conic(state, name, isolate, time_limit)
        return _finished(blank, state, goal)


def _own_solvers(
    state: State, names: tuple[str, ...], asked: bool, goal: float, time_limit: float
) -> Proof | None:
    """Ask the own solvers; the Gordan vector if that is what one led to."""
    own = [x for x in names if x in OWN]
    for name in own if own or asked else ["nnls"]:
        proof = _own(state, name, time_limit)
        if proof is not None:
            return proof
        if state.lower > 0.0 and (state.gap <= goal or state.norm != "frobenius"):
            return None
    if state.lower == 0.0 and asked and "nnls" not in own:
        # only the solvers asked for may give a W; infeasibility is proved all the same
        aside = State(state.problem, "frobenius", None)
        proof = _own(aside, "nnls", time_limit)
        state.attempts += aside.attempts if proof is not None else []
        return proof
    return None


def _number(name: str, x: Any) -> float:
    """A number >= 0 (infinity allowed), or DomainError."""
    if isinstance(x, (int, float, np.integer, np.floating)) and x >= 0.0:
        return float(x)
    raise DomainError(f"`{name}` must be a number >= 0 (infinity allowed); got {x!r}")


def _fits(problem: MarginProblem) -> None:
    d, e = problem.shape
    few = least_distance.default_method(problem) == "nnls"
    need = 8 * problem.size * (d * e if few else max(problem.size, d * e))
    if need > LARGEST:
        raise TooLargeError(
            f"{problem.size} constraints on W [{d} {e}] need a matrix of {need / 2**30:.1f} GiB, "
            f"more than {LARGEST / 2**30:.0f}.  Drop tokens that cannot compete, or samples."
        )


def order(norm: str, problem: MarginProblem, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The solvers to try, in order."""
    if asked is not None:
        if isinstance(asked, str):
            raise DomainError(
                f"`solvers` must be a list of names; got {asked!r}: write [{asked!r}]"
            )
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
    if not problem.plain and problem.equality.any():
        return ("nnls", *CONIC)
    first = least_distance.default_method(problem)
    return (first, "nnls" if first == "ascent" else "ascent", *CONIC)


def _installed() -> set[str]:
    return cones.installed()


def _install(names: Sequence[str]) -> str:
    packages = " ".join(cones.PACKAGES[name] for name in names)
    return f"{', '.join(names)} is not installed: `pip install cvxpy {packages}`."


def _own(state: State, name: str, time_limit: float) -> Proof | None:
    """One own solver; returns the Gordan vector if that is what it led to."""
    start = time.perf_counter()
    if name == "ascent" and 8 * state.problem.size**2 > LARGEST:
        status = "not asked: its Gram matrix is too large"
        state.attempts.append(Attempt("coordinate ascent", status, float("inf"), 0.0))
        return None
    found = least_distance.solve(state.problem, state.rows, name, time_limit)
    gap = state.offer(found.W, found.lam)
    if found.lam is not None and not state.problem.equality.any() and not gap <= REPAIR_ABOVE:
        gap = min(gap, state.offer(*least_distance.least_squares(state.rows, found.lam)))
    spent = time.perf_counter() - start
    state.attempts.append(
        Attempt(found.solver, found.status, gap, spent, iterations=found.iterations)
    )
    if state.lower > 0.0 or found.lam is None:
        return None
    return gordan.gordan_vector(state.problem, found.lam)


def _conic(state: State, name: str, isolate: bool, time_limit: float) -> None:
    start = time.perf_counter()
    answer = _ask(state, name, isolate, time_limit)
    W, lam = answer.get("W"), answer.get("lam")
    gap = state.offer(W, lam)
    if W is not None and not gap <= REPAIR_ABOVE:
        repaired = least_distance.repaired(state.problem, state.rows, W, state.upper)
        gap = min(gap, state.offer(repaired, lam))
    spent, version = time.perf_counter() - start, answer.get("version", "")
    state.attempts.append(
        Attempt(name, answer["status"], gap, spent, version, answer.get("iterations"))
    )


def _ask(state: State, name: str, isolate: bool, time_limit: float) -> dict[str, Any]:
    """The answer of a conic solver in the units of the scaled rows."""
    rows = state.rows
    try:
        ready = name in _installed()
    except SolverMissingError:  # cvxpy: what the own solvers found stands
        ready = False
    if not ready:
        return {"status": "not installed"}
    left, right = rows.unit_D, rows.unit_Z
    d, e = left.shape[1], right.shape[1]
    B, C = spans(rows) if state.norm == "nuclear" else (np.eye(d), np.eye(e))
    left, right = left @ B, right @ C
    h = rows.h / float(rows.h.max())
    arguments: dict[str, Any] = {
        "solver": name,
        "norm": state.norm,
        "G": (left[:, :, None] * right[:, None, :]).reshape(len(left), -1),
        "h": h,
        "equality": state.problem.equality,
        "shape": (B.shape[1], C.shape[1]),
        "p": state.p,
        "time_limit": time_limit,
    }
    try:
        if isolate:
            answer = isolated.call(WORKERS[name], time_limit + 60.0, **arguments)
        else:
            answer = cones.solve_cone(**arguments)
        W, lam = (_numbers(answer[k], s) for k, s in (("W", arguments["shape"]), ("lam", h.shape)))
    except isolated.SolverFailure as failure:
        return {"status": str(failure)}
    except Exception as e:  # whatever a solver does wrong is recorded, and the next one asked
        return {"status": f"failed: {type(e).__name__}: {str(e)[:60]}"}
    W = None if W is None else B @ W @ C.T
    return answer | {"W": W, "lam": None if lam is None else lam / rows.length}


def _numbers(x: Any, shape: tuple[int, ...]) -> Array | None:
    """A witness as float64, or ValueError if it is none."""
    if x is None:
        return None
    x = np.asarray(x)
    if x.shape != shape or x.dtype.kind not in "iuf":
        raise ValueError(f"an answer of shape {x.shape} and dtype {x.dtype}, not {shape}")
    return x.astype(np.float64)


def _why_zero(problem: MarginProblem, j: int) -> str:
    if not np.any(problem.right[j]):
        return f"row {j}: query {problem.query[j]} is zero, so no W gives its tokens a margin"
    return (
        f"row {j}: key {problem.plus[j]} is to beat key {problem.minus[j]}, which is the same "
        "vector (duplicated tokens)"
    )


def _finished(blank: MarginSolution, state: State, goal: float) -> MarginSolution:
    """The best witnesses in the units of the problem; the bounds belong to exactly these arrays."""
    exponent, given = state.rows.exponent, blank.problem
    if state.lam is None:
        state.offer(None, state.one_row())
    part = state.one_row() if state.lam is None else state.lam
    size = 1.0 if state.W is None else norms.value(state.W, state.norm, state.p)
    # |sum lam_j A_j|_F = |W|_F at the optimum: b'lam = |W|^2; other norms: b'lam = |W|
    power = 0 if state.W is None else 2 if state.norm == "frobenius" else 1
    lam = np.zeros(given.size)  # the multipliers of zero rows are 0
    lam[state.place] = part * (size**power / float(state.problem.bound @ part))
    found = replace(
        blank,
        multipliers=shifted(lam, -power * exponent, "multipliers"),
        lower=float(np.ldexp(state.lower, exponent)),
        upper=float(np.ldexp(state.upper, exponent)),
        attempts=tuple(state.attempts),
    )
    if state.W is None:
        return found
    W, value = shifted(state.W, -exponent, "W"), float(np.ldexp(size, -exponent))
    notes: tuple[str, ...] = ()
    if not state.gap <= goal:
        missed = f"the proved gap {state.gap:.1e} misses the goal {goal:.0e}"
        notes = (f"{missed}: the data are badly scaled",)
    return replace(found, feasible=True, W=W, value=value, notes=notes)
