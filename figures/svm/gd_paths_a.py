"""Trajectories of W(k) z_i in the plane, two samples of three tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, sweep
from dsf.figures.svm._paths import angles, legend, plane, summary, trajectories
from dsf.tools.style import BLUE, TEXT, VERMILLION

TITLE = "Both gradient methods become parallel to their max-margin ray"
PAPER = (
    "n = d = 2, T = 3, tokens 0.3 N(0, 1) shifted by (-1, 0) and (1, 0), labels 1, 2000 normalised "
    "steps of 0.1 from W = 0, or from K = 0.1 N(0, 1), Q = 0: the trajectories of W(k) z become "
    "parallel to the rays of the Frobenius (W) and the nuclear (K, Q) solution (Tarzanagh et al. "
    "2023, Transformers as SVMs, figure of trajectories). No number is given."
)
DIFFERS = (
    "The random data are ours (the same recipe, another generator). The rays belong to the tokens "
    "that each run selects."
)
SEE = (
    "The trajectories leave the origin and turn into the pale rays of their own colour, solid "
    "lines into the solid ray and dashed lines into the dotted one, which both samples share. The "
    "panel on the right shows how far each of them still is from its ray; there the dashed curves "
    "of the two samples coincide."
)
ORDER = 4
THEOREMS = ("svm/global_convergence", "svm/nuclear_path")
SEED = 1
PARAMETERS = {"smoke": {"steps": 2000}, "default": {"steps": 2000}, "paper": {"steps": 2000}}


def one(seed: int, steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    X = 0.3 * rng.standard_normal((2, 3, 2)) + np.array([[[-1.0, 0.0]], [[1.0, 0.0]]])
    z, v = rng.standard_normal((2, 2)), rng.standard_normal(2)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return trajectories(X, z, v / np.linalg.norm(v), seed, steps)


def compute(profile: str) -> Table:
    return sweep(one, [{"seed": SEED, **PARAMETERS[profile]}])


def findings(table: Table) -> list[Finding]:
    return summary(table)


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (near, far, turn) = plt.subplots(1, 3, figsize=(TEXT, 3.0), width_ratios=[1, 1, 1.1])
    size = 1.05 * max(abs(r[c]) for r in table.where(kind="W") for c in ("x", "y"))
    plane(near, table, (-4, 10), (-12, 2), (20, 40, 60, 80, 100))
    plane(far, table, (-0.3 * size, size), (-size, 0.3 * size), range(0, 2001, 200))
    far.set_ylabel("")
    for mode, line in (("W", "-"), ("K, Q", "--")):
        for sample, hue in enumerate((BLUE, VERMILLION)):
            turn.plot(*angles(table, mode, sample), color=hue, linestyle=line)
    turn.set(xscale="log", yscale="log", xlabel="step", ylabel="degrees to its ray")
    near.set_title("the start")
    far.set_title(f"all {max(table.column('step'))} steps of $W$")
    turn.set_title("angle to the ray")
    legend(figure, near)
    return figure
