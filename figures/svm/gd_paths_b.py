"""Trajectories of W(k) z_i in the plane, and the line that separates the best token."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep
from dsf.figures.svm._paths import legend, plane, summary, trajectories
from dsf.tools.style import BLUE, TEXT, VERMILLION

TITLE = "The max-margin direction separates the best token of every sample from its others"
PAPER = (
    "n = d = 2, T = 5, first tokens (1, 0.5) and (1, -0.5), the others 0.5 N(0, 1) shifted by "
    "(-1, 0): trajectories as in the figure before, and for every sample the line orthogonal to "
    "W z at distance 1/(2 |W z|) from the best token, with W the Frobenius solution (Tarzanagh et "
    "al. 2023, Transformers as SVMs, figure of trajectories). No number is given."
)
DIFFERS = (
    "The random data are ours (the same recipe, another generator); the head is v = (1, 0), so "
    "that the first tokens are the best ones."
)
SEE = (
    "Every path runs off along its pale ray, away from the other tokens. The thin dotted line of "
    "each colour has the star of that colour on one side and its circles on the other."
)
ORDER = 5
THEOREMS = ("svm/global_convergence", "svm/nuclear_path")
SEED = 3
PARAMETERS = {"smoke": {"steps": 2000}, "default": {"steps": 2000}, "paper": {"steps": 2000}}
ROUNDING = 1e-6  # of a margin that is 1 at the solution


def one(seed: int, steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    X = 0.5 * rng.standard_normal((2, 5, 2)) + np.array([-1.0, 0.0])
    X[:, 0] = [[1.0, 0.5], [1.0, -0.5]]
    z = rng.standard_normal((2, 2))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return trajectories(X, z, np.array([1.0, 0.0]), seed, steps)


def compute(profile: str) -> Table:
    return sweep(one, [{"seed": SEED, **PARAMETERS[profile]}])


def findings(table: Table) -> list[Finding]:
    gaps = [g for s in range(2) for g in margins(table, s)]
    return [
        *summary(table),
        statement(
            "The line of a sample separates its best token from all others",
            f"every other token lies at a margin of {min(gaps):.6f} or more, 1 is required",
            min(gaps) > 1 - ROUNDING,
        ),
    ]


def margins(table: Table, sample: int) -> list[float]:
    """(x_best - x_t)'W z for the other tokens of one sample, W the Frobenius solution."""
    ray = table.where(kind="ray W", sample=sample)[0]
    best = table.where(kind="token", sample=sample, best=True)[0]
    rest = table.where(kind="token", sample=sample, best=False)
    return [(best["x"] - r["x"]) * ray["x"] + (best["y"] - r["y"]) * ray["y"] for r in rest]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(TEXT, 4.2))
    plane(axes, table, (-3, 10), (-5, 5), (20, 40, 60, 80, 100, 120, 160, 200))
    for sample, hue in enumerate((BLUE, VERMILLION)):
        ray = table.where(kind="ray W", sample=sample)[0]
        best = table.where(kind="token", sample=sample, best=True)[0]
        Wz, x = np.array([ray["x"], ray["y"]]), np.array([best["x"], best["y"]])
        foot = x - Wz / (2 * Wz @ Wz)  # at distance 1/(2|Wz|) from the best token
        along = np.array([-Wz[1], Wz[0]]) / np.linalg.norm(Wz)
        ends = foot + np.array([[-20.0], [20.0]]) * along
        axes.plot(*ends.T, color=hue, linestyle=":", linewidth=1.0,
                  label=f"sample {sample + 1}, separating line")  # fmt: skip
    legend(figure, axes)
    return figure
