"""The rank of the solutions: what a loose solver reports, and what is proved."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep
from dsf.solvers import attention_svm
from dsf.solvers.svm.instances import draw as instance
from dsf.tools.style import BLUE, GREY, TEXT, VERMILLION

TITLE = (
    "The proved rank of the nuclear solution is far below min(n, d), that of a loose solver near"
)
PAPER = (
    "Mean rank of the Frobenius and the nuclear solution against d, for n in {5, 10, 15} at T = 5 "
    "and T in {5, 10, 15} at n = 5, 100 trials; the rank counts singular values above 1e-7. The "
    "nuclear curve stays close to the Frobenius one, and points at small d lie at 1 (Tarzanagh et "
    "al. 2023, Transformers as SVMs; the caption bounds the rank by max(n, d))."
)
DIFFERS = (
    "The nuclear problem is also solved with a proof: k singular values of G = sum of λ_j A_j "
    "are close to the largest, and every optimal W has rank at most k up to a proved tail. "
    "Draws that are not separable are left out: they have no solution, and numpy gives a missing "
    "one the rank 1. Whether the published points at 1 and the published nuclear curve come from "
    "this and from a loose solver is not known: the published script and its versions were not "
    "run. The bound that is proved is min(n, d)."
)
SEE = (
    "In the upper row the blue curve and the grey one, which a loose solver gives, follow min(n, "
    "d), the black dotted line, while the red one, the proved rank, flattens out early. The lower "
    "row shows which share of the draws is separable: almost none in very low dimensions."
)
ORDER = 3
THEOREMS = ("svm/rank_lemma",)
SEED = 0
SETTINGS = [(5, 5), (10, 5), (15, 5), (5, 10), (5, 15)]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"settings": [(5, 5), (10, 5)], "d": [1, 10], "trials": 3},
    "default": {"settings": SETTINGS, "d": [2, 5, 10, 20], "trials": 10},
    "paper": {"settings": SETTINGS, "d": [1, 2, 3, 4, 5, 10, 15, 20], "trials": 100},
}
RANK_TOLERANCE = 1e-7  # as published
CLOSE = 0.2  # relative, between two mean ranks: two curves that cannot be told apart at first sight


def one(n: int, T: int, d: int, trials: int, seed: int) -> list[dict[str, Any]]:
    """Three ranks of every draw; None for a draw that is not separable."""
    rows: list[dict[str, Any]] = []
    for trial in range(trials):
        i = instance(seed + trial, n, T, d)
        s = attention_svm(i.X, i.z, i.optimal)
        row: dict[str, Any] = {"trial": trial, "separable": s.feasible}
        if s.W is not None:
            t = attention_svm(i.X, i.z, i.optimal, norm="nuclear")
            proof = t.rank
            row |= {
                "Frobenius": int(np.linalg.matrix_rank(s.W, tol=RANK_TOLERANCE)),
                "loose": loose_rank(s.problem.matrix(), d),
                "proved": None if proof is None else int(proof.witnesses["k"]),
                "gap": t.gap if t.W is not None else None,
            }
        rows.append(row)
    return rows


def loose_rank(A: np.ndarray, d: int) -> int | None:
    """Singular values above 1e-7 of what SCS returns at its default accuracy, as published."""
    import cvxpy as cp

    W = cp.Variable((d, d))
    problem = cp.Problem(cp.Minimize(cp.normNuc(W)), [A @ cp.vec(W, order="C") >= 1])
    problem.solve(solver="SCS")
    return None if W.value is None else int(np.linalg.matrix_rank(W.value, tol=RANK_TOLERANCE))


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"trials": p["trials"], "seed": SEED}
    return sweep(one, [{"n": n, "T": T, "d": d, **rest} for n, T in p["settings"] for d in p["d"]])


def mean(rows: Table, column: str) -> float:
    """The mean over the draws that have a value; nan if none has."""
    values = [v for v in rows.column(column) if v is not None]
    return float(np.mean(values)) if values else float("nan")


def findings(table: Table) -> list[Finding]:
    solved = [r for r in table if r["Frobenius"] is not None]
    bounds = {
        c: [(r[c], min(r["n"], r["d"]), max(r["n"], r["d"])) for r in solved if r[c] is not None]
        for c in ("Frobenius", "loose", "proved")
    }
    over = {c: sum(k > low for k, low, _ in v) for c, v in bounds.items()}
    gap = max((r["gap"] for r in solved if r["proved"] is not None), default=float("nan"))
    points = [table.where(n=n, T=T, d=d) for n, T, d in dict.fromkeys(
        (r["n"], r["T"], r["d"]) for r in solved)]  # fmt: skip
    curves = {c: [mean(p, c) for p in points] for c in bounds}
    far = {
        c: max(1 - y / x for x, y in zip(curves["Frobenius"], curves[c], strict=True))
        for c in ("loose", "proved")
    }
    where = {(p[0]["n"], p[0]["d"]): k for k, p in enumerate(points) if p[0]["T"] == 5}
    shown = [key for key in ((5, 10), (10, 10), (15, 20)) if key in where]

    def listed(column: str) -> str:
        return ", ".join(
            f"{curves[column][where[n, d]]:.1f} against {curves['Frobenius'][where[n, d]]:.1f} "
            f"(n = {n}, d = {d})"
            for n, d in shown
        )

    close = "The mean rank of the nuclear solution stays close to that of the Frobenius one"
    low = table.where(d=min(table.values("d")))
    lost = float(np.mean([r["separable"] is not True for r in low]))
    return [
        statement(
            f"{close}, as a loose solver gives it",
            f"SCS at default accuracy: {listed('loose')}, at most {far['loose']:.0%} below",
            far["loose"] < CLOSE,
        ),
        statement(
            f"{close}, proved",
            f"proved: {listed('proved')}, up to {far['proved']:.0%} below; the relative gap of the "
            f"proof is at most {gap:.0e}",
            far["proved"] < CLOSE,
        ),
        statement(
            "The rank is at most max(n, d)",
            f"it is, in all draws; min(n, d) is exceeded by the loose rank in {over['loose']} of "
            f"{len(solved)} draws, by the proved one in {over['proved']}"
            if (held := all(k <= top for v in bounds.values() for k, _, top in v))
            else "exceeded in some draws",
            held and not over["Frobenius"] and not over["proved"],
        ),
        statement(
            "Points at small d lie at rank 1",
            f"at d = {low[0]['d']}, {lost:.0%} of the draws are not separable: they have no "
            "solution, and so no rank",
            lost == 0 and all(r["Frobenius"] == 1 for r in low),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    curves = {
        "Frobenius": ("Frobenius", BLUE, "-", "o"),
        "loose": ("nuclear, SCS at default accuracy", GREY, "--", "s"),
        "proved": ("nuclear, proved", VERMILLION, "-", "^"),
    }
    settings = list(dict.fromkeys((r["n"], r["T"]) for r in table))
    figure, grid = plt.subplots(
        2, len(settings), figsize=(TEXT, 3.2), sharex=True, sharey="row", squeeze=False,
        height_ratios=[2.2, 1],
    )  # fmt: skip
    for column, (n, T) in enumerate(settings):
        top, bottom = grid[:, column]
        rows = {d: table.where(n=n, T=T, d=d) for d in table.values("d")}
        x = list(rows)
        for name, (label, hue, line, marker) in curves.items():
            y = [mean(r, name) for r in rows.values()]
            top.plot(x, y, color=hue, linestyle=line, marker=marker, label=label)
        top.plot(x, [min(n, d) for d in x], color="black", linestyle=":", label="$\\min(n, d)$",
                 zorder=3, linewidth=1.0)  # fmt: skip
        share = [np.mean([r["separable"] is True for r in part]) for part in rows.values()]
        bottom.plot(x, share, color="black", marker="o")
        top.set(title=f"$n = {n}$, $T = {T}$")
        bottom.set(xlabel="dimension $d$", ylim=(-0.05, 1.05))
        bottom.set_xticks([d for d in x if d >= 5 or d == x[0]])
    grid[0, 0].set_ylabel("mean rank")
    grid[1, 0].set_ylabel("separable")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
