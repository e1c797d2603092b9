"""The margin problems as conic programs for cvxpy: cross-checks, and the nuclear norm.

    frobenius            minimise |W|_F^2   subject to   <G_j, W> >= h_j, = 0       (QP)
    nuclear, entrywise   maximise t   subject to   |W| <= 1,  <G_j, W> >= h_j t, = 0

G_j are the unit rows.  The second form is feasible and bounded whatever the data.  A
solver's status is recorded but proves nothing: the bounds come from the witnesses (`certify`).
"""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

import numpy as np

from dsf.core.errors import SolverMissingError
from dsf.solvers.svm.problem import Array

TIGHT = {"CLARABEL": 1e-11, "OSQP": 1e-9, "SCS": 1e-9}  # near the limit of each
PACKAGES = {"CLARABEL": "clarabel", "OSQP": "osqp", "SCS": "scs"}


def installed() -> set[str]:
    """The conic solvers that cvxpy can reach; SolverMissingError without cvxpy."""
    try:
        import cvxpy
    except ImportError as e:
        raise SolverMissingError(
            "this problem needs a conic solver through cvxpy, which is not installed: "
            "`pip install cvxpy clarabel`."
        ) from e
    return set(cvxpy.installed_solvers()) & set(PACKAGES)


def options(solver: str, time_limit: float) -> dict[str, Any]:
    """Tolerances near the limit of each solver, and the time limit in seconds."""
    if solver == "CLARABEL":
        tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), TIGHT[solver])
        return {**tight, "max_iter": 200, "time_limit": time_limit}
    tight = dict.fromkeys(("eps_abs", "eps_rel"), TIGHT[solver])
    if solver == "OSQP":
        return {**tight, "max_iter": 100_000, "polishing": True, "time_limit": time_limit}
    return {**tight, "max_iters": 100_000, "time_limit_secs": time_limit}


def solve_cone(
    solver: str,
    norm: str,
    G: Array,
    h: Array,
    equality: Array,
    shape: tuple[int, int],
    p: float | None = None,
    time_limit: float = 60.0,
) -> dict[str, Any]:
    """What `solver` answers: W [d e], lam [N] (either may be None), status, iterations, version.

    G [N d*e] unit rows, h [N] >= 0, equality [N].
    """
    import cvxpy as cp

    W = cp.Variable(shape)
    objective, rows, ball = _program(W, norm, G, h, equality, p)
    program = cp.Problem(objective, rows + ball)
    status, stats = "error", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the certificate decides
        try:
            program.solve(solver=solver, **options(solver, time_limit))
            status, stats = program.status, program.solver_stats
        except Exception as e:  # whatever a solver raises is an answer that proves nothing
            status = f"error: {(str(e).splitlines() or [type(e).__name__])[0][:60]}"
    lam = np.full(len(h), np.nan)
    for chosen, constraint in zip((~equality, equality), rows, strict=False):
        if constraint.dual_value is not None:
            lam[chosen] = constraint.dual_value
    return {
        "W": None if W.value is None else np.asarray(W.value, dtype=np.float64),
        "lam": lam if np.all(np.isfinite(lam)) else None,
        "status": status,
        "iterations": None if stats is None else stats.num_iters,
        "version": metadata.version(PACKAGES[solver]),
    }


def _program(
    W: Any, norm: str, G: Array, h: Array, equality: Array, p: float | None
) -> tuple[Any, list[Any], list[Any]]:
    """(objective, rows, constraint on the norm) in the variable W; the inequalities come first."""
    import cvxpy as cp

    entries = cp.vec(W, order="C")
    product, t = G @ entries, cp.Variable()
    plain = norm == "frobenius"
    least = h[~equality] if plain else h[~equality] * t
    rows = [product[~equality] >= least]
    if np.any(equality):
        rows.append(product[equality] == 0)
    if plain:
        return cp.Minimize(cp.sum_squares(W)), rows, []
    size = cp.normNuc(W) if norm == "nuclear" else cp.pnorm(entries, p, approx=False)
    return cp.Maximize(t), rows, [size <= 1]
