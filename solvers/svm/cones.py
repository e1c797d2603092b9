"""The margin problems as conic programs for cvxpy: cross-checks, and the nuclear norm.

    frobenius            minimise |W|_F^2   subject to   <G_j, W> >= h_j, = 0       (QP)
    nuclear, entrywise   maximise t   subject to   |W| <= 1,  <G_j, W> >= h_j t, = 0

G_j are the unit rows.  The second form is feasible and bounded whatever the data.  A status is
recorded and never believed: the bounds come from the witnesses (`certify`).
"""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

import numpy as np

from dsf.core.errors import SolverMissingError
from dsf.solvers.svm.problem import Array

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


def options(solver: str, seconds: float) -> dict[str, Any]:
    """Tolerances near the limit of each solver, and a time limit."""
    if solver == "CLARABEL":
        tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
        return {**tight, "max_iter": 200, "time_limit": seconds}
    if solver == "OSQP":
        return {
            "eps_abs": 1e-9,
            "eps_rel": 1e-9,
            "max_iter": 100_000,
            "polishing": True,
            "time_limit": seconds,
        }
    return {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 100_000, "time_limit_secs": seconds}


def solve_cone(
    solver: str,
    norm: str,
    G: Array,
    h: Array,
    equality: Array,
    shape: tuple[int, int],
    p: float | None = None,
    seconds: float = 60.0,
) -> dict[str, Any]:
    """What `solver` answers: W [d e], lam [N] (either may be None), status, iterations, version.

    G [N d*e] unit rows, h [N] >= 0, equality [N].
    """
    import cvxpy as cp

    W = cp.Variable(shape)
    product = G @ cp.vec(W, order="C")
    inequality = ~equality
    if norm == "frobenius":
        objective: Any = cp.Minimize(cp.sum_squares(W))
        rows = [product[inequality] >= h[inequality]]
    else:
        t = cp.Variable()
        objective = cp.Maximize(t)
        rows = [product[inequality] >= h[inequality] * t]
    if np.any(equality):
        rows.append(product[equality] == 0)
    if norm == "nuclear":
        ball = [cp.normNuc(W) <= 1]
    elif norm == "entrywise":
        ball = [cp.pnorm(cp.vec(W, order="C"), p, approx=False) <= 1]
    else:
        ball = []
    program = cp.Problem(objective, rows + ball)
    status, stats = "error", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the certificate decides
        try:
            program.solve(solver=solver, **options(solver, seconds))
            status, stats = program.status, program.solver_stats
        except Exception as e:  # whatever a solver raises is an answer that proves nothing
            status = f"error: {(str(e).splitlines() or [type(e).__name__])[0][:60]}"
    lam = np.full(len(h), np.nan)
    for chosen, constraint in zip((inequality, equality), rows, strict=False):
        if constraint.dual_value is not None:
            lam[chosen] = constraint.dual_value
    return {
        "W": None if W.value is None else np.asarray(W.value, dtype=np.float64),
        "lam": lam if np.all(np.isfinite(lam)) else None,
        "status": status,
        "iterations": None if stats is None else stats.num_iters,
        "version": metadata.version(PACKAGES[solver]),
    }
