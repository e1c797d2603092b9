"""Two samples, one with C times the score: how the loss shapes the path of the prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.ops import sigmoid
from dsf.figures import Table, sweep
from dsf.solvers.svm.instances import slope
from dsf.tools.style import TEXT

TITLE = "The linear loss first follows the sample of large score, the logistic one the other"
PAPER = (
    "Tokens (0, 0, 0) against (1, 1, C) and (1, -1, 1), the head reads the third coordinate, C in "
    "{1, ..., 10, 100}: with the loss -x the path first bends to the sample of score C, with the "
    "logistic loss far less, and both end along the same max-margin ray (Tarzanagh et al. 2023, "
    "Max-Margin Token Selection). No number is given."
)
DIFFERS = "p starts at 0 and takes 1000 normalised steps of 0.1."
ORDER = 10
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"C": [1, 10], "steps": 200},
    "default": {"C": [*range(1, 11), 100], "steps": 1000},
    "paper": {"C": [*range(1, 11), 100], "steps": 1000},
}
KEYS = np.array([[1.0, 1.0], [1.0, -1.0]])
LOSSES = ("logistic", "linear")


def one(loss: str, C: float, steps: int) -> list[dict[str, Any]]:
    """The path of p.  With two tokens, 0 and k, s = sigmoid(k'p) and

    grad = (1/n) sum_i l'(C_i s_i) C_i s_i (1 - s_i) k_i.
    """
    scores, p = np.array([C, 1.0]), np.zeros(2)
    rows = []
    for step in range(steps + 1):
        if step <= 100 or step % 10 == 0:
            rows.append({"step": step, "x": p[0], "y": p[1]})
        a = KEYS @ p
        s, rest = sigmoid(a), sigmoid(-a)
        G = (slope(scores * s, loss) * scores * s * rest) @ KEYS
        p = p - 0.1 * G / np.linalg.norm(G)
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(one, [{"loss": k, "C": c, "steps": p["steps"]} for k in LOSSES for c in p["C"]])


def bend(rows: Table) -> tuple[float, float]:
    """The signed angle to the max-margin ray (1, 0) where it is largest, and at the end; degrees.

    Positive is the side of the sample of score C.
    """
    angles = [float(np.degrees(np.arctan2(r["y"], r["x"]))) for r in rows[1:]]
    return max(angles, key=abs), angles[-1]


def measured(table: Table) -> tuple[str, str]:
    found = {(k, c): bend(table.where(loss=k, C=c)) for k in LOSSES for c in table.values("C")}
    shown = [c for c in (2, 3, 5, 10, 100) if c in table.values("C")]
    parts = [f"{k}: {', '.join(f'{found[k, c][0]:.1f} (C = {c})' for c in shown)}" for k in LOSSES]
    last, (name, C) = max((abs(v[1]), key) for key, v in found.items())
    text = (
        "Largest signed angle between p and the max-margin ray in degrees, positive towards the "
        f"sample of score C, {'; '.join(parts)}. The logistic loss saturates on that sample, so "
        f"for large C its path bends to the other one. After {max(table.column('step'))} steps the "
        f"largest angle left is {last:.1f} degrees ({name} loss, C = {C})."
    )
    less = all(found["logistic", c][0] < found["linear", c][0] for c in shown)
    return text, "agrees" if less and last < 5 else "agrees in part"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(TEXT, 2.5), sharex=True, sharey=True)
    levels = table.values("C")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(levels)))
    for axes, loss in zip(panels, LOSSES, strict=True):
        for c, hue in zip(levels, colors, strict=True):
            rows = table.where(loss=loss, C=c)
            axes.plot(rows.column("x"), rows.column("y"), color=hue, label=f"$C = {c}$")
        axes.axhline(0.0, color="black", linestyle="--", linewidth=0.8)
        axes.set(title=f"{loss} loss", xlabel="$p_1$", xlim=(0, 12), ylim=(-6, 6))
    panels[0].set_ylabel("$p_2$")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure
