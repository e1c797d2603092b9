"""The two figures with trajectories of W(k) z_i in the plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, unknown
from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import descend, descend_factors
from dsf.solvers.dynamics.outcomes import corr
from dsf.solvers.svm.instances import attention
from dsf.tools.style import BLUE, VERMILLION

Array = np.ndarray
# degrees between matrices.  The direction comes near its limit like 1/log of the steps at worst, so
# a few degrees are left; the two limits lie 7 degrees apart or more in these data, and the nearer
# one is named only if it is nearer by half.
PARALLEL, NEARER = 5.0, 0.5


def trajectories(X: Array, z: Array, v: Array, seed: int, steps: int) -> list[dict[str, Any]]:
    """Rows of the paths W(k) z_i, of the tokens, and of the rays of both solutions.

    X [2 T 2], z [2 2], v [2], labels 1.  W starts at 0; (K, Q) at K = 0.1 N(0, 1), Q = 0.  The
    solutions are those of the tokens that each run selects.
    """
    scores = X @ v
    data = X[None], z[None], scores[None]
    record = sorted({*range(0, min(200, steps) + 1, 2), *range(0, steps + 1, 20)})
    K0 = 0.1 * np.random.default_rng([seed, 1]).standard_normal((1, 2, 2))
    K, Q = descend_factors(K0, np.zeros((1, 2, 2)), *data, record=record)
    runs = {
        "W": descend(np.zeros((1, 2, 2)), *data, record=record)[0],
        "K, Q": (K @ np.swapaxes(Q, -1, -2))[0],
    }
    best = scores.argmax(axis=1)
    rows: list[dict[str, Any]] = []
    for i, t in np.ndindex(X.shape[:2]):
        rows.append({"kind": "token", "sample": i, "step": t, "x": X[i, t, 0], "y": X[i, t, 1],
                     "best": bool(t == best[i])})  # fmt: skip
    for mode, W in runs.items():
        picked = attention(W[-1], X, z).argmax(axis=1)
        norm = "frobenius" if mode == "W" else "nuclear"
        other = "nuclear" if mode == "W" else "frobenius"
        target = attention_svm(X, z, picked, norm=norm).W
        rival = attention_svm(X, z, picked, norm=other).W
        match = {"corr": corr(W[-1], target), "other": corr(W[-1], rival),
                 "best": bool(np.array_equal(picked, best))}  # fmt: skip
        for i in range(2):
            for k, step in enumerate(record):
                x, y = W[k] @ z[i]
                rows.append({"kind": mode, "sample": i, "step": step, "x": x, "y": y})
            x, y = target @ z[i]
            rows.append({"kind": f"ray {mode}", "sample": i, "step": 0, "x": x, "y": y, **match})
    return rows


def summary(table: Table) -> list[Finding]:
    """Which of the two solutions each training is parallel to, and whether that is decided."""
    found = []
    for mode, norm, other in (("W", "Frobenius", "nuclear"), ("K, Q", "nuclear", "Frobenius")):
        rays = table.where(kind=f"ray {mode}")
        own, rival = (float(np.degrees(np.arccos(min(1.0, rays[0][c])))) for c in ("corr", "other"))
        ends = [float(angles(table, mode, s)[1][-1]) for s in range(2)]
        paper = (
            f"Trained {mode}: the trajectories become parallel to the rays of the {norm} solution"
        )
        ours = (
            f"after {max(table.column('step'))} steps the weights are {own:.1f} degrees from the "
            f"{norm} solution and {rival:.1f} from the {other} one, W z is {ends[0]:.1f} and "
            f"{ends[1]:.1f} degrees from its rays; "
            f"{'the best tokens are' if rays[0]['best'] else 'a local selection is'} selected"
        )
        if own <= NEARER * rival and max(own, *ends) < PARALLEL:
            found.append(statement(paper, ours, True))
        elif rival <= NEARER * own:
            found.append(statement(paper, ours, False))
        else:
            found.append(unknown(paper, f"{ours}; not decided"))
    return found


def angles(table: Table, mode: str, sample: int) -> tuple[list[int], Array]:
    """Steps > 0, and the degrees between W(k) z and the ray of the solution."""
    ray = table.where(kind=f"ray {mode}", sample=sample)[0]
    path = [r for r in table.where(kind=mode, sample=sample) if r["x"] or r["y"]]
    turn = np.array([complex(r["x"], r["y"]) for r in path]) / complex(ray["x"], ray["y"])
    return [r["step"] for r in path], np.abs(np.degrees(np.angle(turn)))


def plane(
    axes: Any, table: Table, xlim: tuple[float, float], ylim: tuple[float, float],
    arrows: Iterable[int],
) -> None:  # fmt: skip
    """Tokens, paths and rays in one frame."""
    far = 10 * max(map(abs, (*xlim, *ylim)))
    for sample, hue in enumerate((BLUE, VERMILLION)):
        who = f"sample {sample + 1}"
        for best, fill in ((False, "none"), (True, hue)):
            t = table.where(kind="token", sample=sample, best=best)
            axes.scatter(t.column("x"), t.column("y"), s=30 if best else 18, facecolors=fill,
                         edgecolors=hue, marker="*" if best else "o", zorder=4, linewidths=0.8,
                         label=f"{who}, {'best token' if best else 'other tokens'}")  # fmt: skip
        for mode, line in (("W", "-"), ("K, Q", "--")):
            ray = table.where(kind=f"ray {mode}", sample=sample)[0]
            scale = far / np.hypot(ray["x"], ray["y"])
            axes.plot([0, ray["x"] * scale], [0, ray["y"] * scale], color=hue, linewidth=2.6,
                      alpha=0.3, linestyle="-" if mode == "W" else ":", zorder=1,
                      label=f"{who}, ray, {'Frobenius' if mode == 'W' else 'nuclear'}")  # fmt: skip
            path = table.where(kind=mode, sample=sample)
            x, y = np.array(path.column("x")), np.array(path.column("y"))
            axes.plot(x, y, color=hue, linestyle=line, linewidth=1.2, zorder=3,
                      label=f"{who}, training ${mode}$")  # fmt: skip
            steps = path.column("step")
            for k in (steps.index(s) for s in arrows if s in steps[1:]):
                axes.annotate("", xy=(x[k], y[k]), xytext=(x[k - 1], y[k - 1]),
                              arrowprops={"arrowstyle": "->", "color": hue, "lw": 0.9})  # fmt: skip
    axes.set(xlim=xlim, ylim=ylim, aspect="equal", xlabel="first coordinate",
             ylabel="second coordinate")  # fmt: skip


def legend(figure: Any, axes: Any) -> None:
    """Three columns: sample 1, sample 2, and the lines."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    one, two = (
        [k for k in handles if k.startswith(f"sample {i}") and "line" not in k] for i in (1, 2)
    )
    names = [*one, *two, *(k for k in handles if k not in (*one, *two))]
    rows = [handles[k] for k in names]
    while len(rows) < 3 * len(one):  # equal columns
        (empty,) = axes.plot([], [], color="none")
        names.append("")
        rows.append(empty)
    figure.legend(rows, names, loc="outside lower center", ncols=3)
