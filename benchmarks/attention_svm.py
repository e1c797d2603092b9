"""The Frobenius attention-SVM against conic solvers: interleaved medians of ratios, one thread.

Instances `draw(0, n, T, d)`.  Building the constraint matrix A [N d*d] is excluded for all (ours
never builds it), and so is the import of anything.

    ours                scaling, Gram matrix, coordinate ascent or NNLS: W and multipliers, like the
                        peers; the goals are about this
    ours, proved        `chain.solve`: the same and both bounds, rounded outward
    cvxpy rebuilt       a new cvxpy problem with A as a constant, every time
    cvxpy re-solved     A as a parameter of one problem, canonicalised only once; solved cold
    dual, direct        min lam'K lam/2 - 1'lam over lam >= 0, given to Clarabel without cvxpy,
                        the Gram matrix K included

Run `python benchmarks/attention_svm.py` (two minutes); `--small` leaves out the largest instance.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from threadpoolctl import threadpool_limits

from dsf.solvers.svm import certify, least_distance
from dsf.solvers.svm.chain import solve
from dsf.solvers.svm.instances import draw
from dsf.solvers.svm.problem import MarginProblem, attention_problem, scale

SIZES = [(5, 8, 10), (15, 11, 20), (20, 32, 40)]
GOALS = {35: (20, 3), 150: (50, 20), 620: (100, 30)}  # over cvxpy, over the direct dual
Contestant = Callable[[], np.ndarray]  # returns the multipliers of the rows


def peers(problem: MarginProblem) -> dict[str, Contestant]:
    import cvxpy as cp

    A, shape = problem.matrix(), problem.shape

    def program(rows, **options):
        W = cp.Variable(shape)
        constraint = rows @ cp.vec(W, order="C") >= 1
        return cp.Problem(cp.Minimize(cp.sum_squares(W)), [constraint]), options

    def run(problem, options):
        problem.solve(warm_start=False, **options)
        return np.asarray(problem.constraints[0].dual_value)

    def rebuilt(**options):
        return lambda: run(*program(A, **options))

    def resolved(**options):
        rows = cp.Parameter(A.shape)
        made = program(rows, **options)

        def again():
            rows.value = A
            return run(*made)

        return again

    osqp = {"solver": "OSQP", "eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 100_000}
    interior = {"solver": "CLARABEL"}
    return {
        "cvxpy + OSQP 1e-9, rebuilt": rebuilt(**osqp),
        "cvxpy + OSQP 1e-9, re-solved": resolved(**osqp),
        "cvxpy + Clarabel, rebuilt": rebuilt(**interior),
        "cvxpy + Clarabel, re-solved": resolved(**interior),
        "Clarabel on the dual, direct": lambda: direct_dual(problem),
    }


def direct_dual(problem: MarginProblem) -> np.ndarray:
    """min lam'K lam/2 - 1'lam over lam >= 0 by Clarabel, K included."""
    import clarabel
    from scipy import sparse

    D, Z = problem.left, problem.right
    N = len(D)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix(np.triu((D @ D.T) * (Z @ Z.T))), -np.ones(N),
        sparse.csc_matrix(-np.eye(N)), np.zeros(N), [clarabel.NonnegativeConeT(N)], settings,
    )  # fmt: skip
    return np.asarray(solver.solve().x)


def proved_gap(problem: MarginProblem, lam: np.ndarray) -> float:
    """The gap that multipliers and W = sum lam_j A_j prove."""
    rows = scale(problem)
    lam = np.maximum(lam, 0.0)
    W = rows.D.T @ (lam[:, None] * rows.Z)
    lower = certify.primal(problem, rows, W, "frobenius").lower
    return certify.gap(lower, certify.dual(problem, rows, lam, "frobenius"))


def measure(n: int, T: int, d: int, repeats: int) -> list[tuple[str, float, float, float]]:
    """Rows (name, least ms, median ratio to ours, proved gap)."""
    instance = draw(0, n, T, d)
    problem = attention_problem(instance.X, instance.z, instance.optimal)
    found = solve(problem)
    contestants: dict[str, Contestant] = {
        "ours": lambda: least_distance.solve(problem, scale(problem)).lam,
        "ours, proved": lambda: solve(problem).multipliers,
    }
    contestants |= peers(problem)
    gaps = {name: proved_gap(problem, f()) for name, f in contestants.items()}
    gaps["ours, proved"] = found.gap
    times = {name: np.empty(repeats) for name in contestants}
    for r in range(repeats):
        for name, f in contestants.items():
            inner = 20 if name.startswith("ours") else 1
            start = time.process_time()
            for _ in range(inner):
                f()
            times[name][r] = (time.process_time() - start) / inner * 1e3
    return [
        (name, t.min(), float(np.median(t / times["ours"])), gaps[name])
        for name, t in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="without the largest instance")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    names = ("numpy", "scipy", "numba", "cvxpy", "osqp", "clarabel")
    print("one thread, CPU time; " + ", ".join(f"{name} {version(name)}" for name in names))
    for n, T, d in SIZES[:2] if args.small else SIZES:
        N = n * (T - 1)
        repeats = args.repeats if N < 600 else max(3, args.repeats // 5)
        with threadpool_limits(1):
            rows = measure(n, T, d, repeats)
        print(f"\n(n, T, d) = ({n}, {T}, {d}), N = {N} constraints, {repeats} repetitions")
        for name, least, ratio, gap in rows:
            print(f"  {name:<30} {least:10.3f} ms   x {ratio:8.1f}   proved gap {gap:.1e}")
        best = min(ratio for name, _, ratio, _ in rows if name.startswith("cvxpy"))
        direct = min(ratio for name, _, ratio, _ in rows if name.startswith("Clarabel"))
        over, straight = GOALS[N]
        print(
            f"  fastest cvxpy {best:.0f}x (goal {over}x)   direct dual {direct:.1f}x "
            f"(goal {straight}x)"
        )


if __name__ == "__main__":
    main()
