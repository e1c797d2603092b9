"""Two samples, one with C times the score: how the loss shapes the path of the prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.ops import sigmoid
from dsf.figures import Finding, Table, statement, sweep, unknown
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
SEE = (
    "On the right, with the linear loss, the paths first run up, to the sample of score C; on the "
    "left, with the logistic loss, those of large C run down, to the other sample. All of them "
    "become parallel to the dashed ray, those of large C last and some only beyond the frame."
)
ORDER = 10
THEOREMS = ("svm/losses",)
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"C": [1, 2, 10], "steps": 1000},
    "default": {"C": [*range(1, 11), 100], "steps": 1000},
    "paper": {"C": [*range(1, 11), 100], "steps": 1000},
}
KEYS = np.array([[1.0, 1.0], [1.0, -1.0]])
LOSSES = ("logistic", "linear")
FAR = (
    0.5  # "far less": at most half, for the C of FROM and above; below, both losses are much alike
)
FROM = 10
FALLEN = 0.9  # of its largest value: an angle below that is on its way down
ENDED = 5.0  # degrees: the angle falls like 1/steps once both samples have saturated


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


def findings(table: Table) -> list[Finding]:
    levels = [c for c in table.values("C") if c > 1]  # at C = 1 the path is straight
    found = {(k, c): bend(table.where(loss=k, C=c)) for k in LOSSES for c in levels}
    towards = {key: max(0.0, v[0]) for key, v in found.items()}
    shown = [c for c in (2, 3, 5, 10, 100) if c in levels]

    def listed(loss: str, values: dict[tuple[str, int], float]) -> str:
        return ", ".join(f"{values[loss, c]:.1f} (C = {c})" for c in shown)

    last, (name, C) = max((abs(v[1]), key) for key, v in found.items())
    straight = "Both losses end along the same max-margin ray"
    ours = (
        f"after {max(table.column('step'))} steps the largest angle left is {last:.1f} degrees "
        f"({name} loss, C = {C})"
    )
    falling = all(abs(v[1]) < FALLEN * abs(v[0]) for v in found.values())
    return [
        statement(
            "With the loss -x the path first bends to the sample of score C",
            f"by {listed('linear', towards)} degrees",
            all(towards["linear", c] > 0 for c in levels),
        ),
        statement(
            "With the logistic loss it bends there far less",
            f"by {listed('logistic', towards)} degrees",
            all(
                towards["logistic", c] < (FAR if c >= FROM else 1.0) * towards["linear", c]
                for c in levels
            ),
        ),
        unknown(
            "No value of the bend is given",
            "the largest signed angle with the logistic loss is "
            f"{listed('logistic', {k: v[0] for k, v in found.items()})} degrees, negative away "
            "from the sample of score C",
        ),
        unknown(straight, f"{ours}, and it still falls")
        if last >= ENDED and falling
        else statement(straight, ours, last < ENDED),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    figure, panels = plt.subplots(1, 2, figsize=(TEXT, 2.5), sharex=True, sharey=True)
    levels = table.values("C")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(levels)))
    scale = ScalarMappable(
        BoundaryNorm(np.arange(len(levels) + 1) - 0.5, len(levels)), ListedColormap(colors)
    )
    for axes, loss in zip(panels, LOSSES, strict=True):
        for c, hue in zip(levels, colors, strict=True):
            rows = table.where(loss=loss, C=c)
            axes.plot(rows.column("x"), rows.column("y"), color=hue)
        axes.axhline(0.0, color="black", linestyle="--", linewidth=0.8)
        axes.set(title=f"{loss} loss", xlabel="$p_1$", xlim=(0, 12), ylim=(-6, 6))
    panels[0].set_ylabel("$p_2$")
    bar = figure.colorbar(scale, ax=panels, label="score $C$ of the first sample")
    bar.set_ticks(range(len(levels)), labels=[f"{c}" for c in levels])
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    return figure
