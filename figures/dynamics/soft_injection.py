"""What a mean over prompts says about the task: nothing for centred queries."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, sweep
from dsf.solvers.heads.task_embedding import embeddings, frames, output_size, state_size
from dsf.tools.style import BLACK, BLUE, GREEN, PURPLE, VERMILLION

TITLE = "For centred queries the mean output says nothing about the task; the mean state does"
PAPER = (
    "Task embeddings are head outputs at the last token, averaged over M = 50 prompts of N = 10 "
    "examples (arXiv 2507.20906). It gives no number for a model with a closed form."
)
DIFFERS = (
    "In-context regression by linear attention instead of a language model: outputs w'Σ̂x_q, d = 5, "
    "tasks w from random orthogonal frames with E[ww'] = I. Averaging the states Σ̂w instead of the "
    "outputs is a variant of ours."
)
SEE = (
    "At centred queries (distance 0) the mean of outputs has only the size of its noise, which "
    "falls with the number of prompts, and then it grows along the dotted line. The mean state has "
    "the size of the task at every distance."
)
ORDER = 10
THEOREMS = ("training/soft_injection", "training/mean_embedding")
D, N = 5, 10
FAR = 5.0  # standard errors: none of some thirty sizes should be further from the law
STATE = 0.02  # relative, of the size of the mean state
NEAR = 0.1  # of a coordinate of the task, which has variance 1: the mean state shows the task
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"frames": 4, "prompts": [50, 500], "distances": [0.0, 1.0, 3.0]},
    "default": {
        "frames": 20, "prompts": [50, 2000],
        "distances": [0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0],
    },
    "paper": {
        "frames": 100, "prompts": [50, 2000, 20000],
        "distances": [0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0],
    },
}  # fmt: skip


def one(prompts: int, distance: float, count: int) -> dict[str, Any]:
    tasks, mean = frames(D, count), np.full(D, distance / D**0.5)
    outputs, states = embeddings(tasks, mean, prompts, N)
    squares = outputs**2, np.sum(states**2, axis=1)
    root, state = (np.sqrt(s.mean()) for s in squares)
    # frames are independent, tasks of one frame are not; half the relative error of a mean square
    spread = squares[0].reshape(count, D).mean(axis=1).std(ddof=1)
    return {
        "output": root, "error": spread / np.sqrt(count) / (2 * root),
        "state": state, "law": output_size(distance, D, prompts, N),
        "state_law": state_size(D, prompts, N), "away": np.abs(states - tasks).mean(),
    }  # fmt: skip


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    grid = [
        {"prompts": m, "distance": x, "count": p["frames"]}
        for m in p["prompts"]
        for x in p["distances"]
    ]
    return sweep(one, grid)


def findings(table: Table) -> list[Finding]:
    last = max(table.values("prompts"))
    zero = [
        f"{table.where(prompts=m, distance=0.0)[0]['output']:.3f} (M = {m})"
        for m in table.values("prompts")
    ]
    unit = table.where(prompts=last, distance=1.0)[0]
    far = max(abs(r["output"] - r["law"]) / r["error"] for r in table)
    states = table.where(prompts=last)
    off = max(abs(r["state"] / r["state_law"] - 1) for r in states)
    away = max(states.column("away"))
    return [
        derived(
            "No number for a model with a closed form; the law of the mean output is ours",
            f"its size at centred queries is {', '.join(zero)}, which is the noise of 1/√M; at "
            f"|E[x_q]| = 1 and M = {last} it is {unit['output']:.3f} (law {unit['law']:.3f}); all "
            f"sizes lie within {far:.1f} standard errors of the law",
            far < FAR,
        ),
        derived(
            "Averaging states is a variant of ours",
            f"the mean state has size {unit['state']:.3f} at every distance (√{D} = {D**0.5:.3f}) "
            f"and differs from the task by {away:.3f} per coordinate on average",
            off < STATE and away < NEAR,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.0, 2.8))
    looks = ((BLUE, "o"), (VERMILLION, "s"), (PURPLE, "^"))
    far = max(table.values("distance"))
    x = np.linspace(0, far, 200)
    for m, (hue, marker) in zip(table.values("prompts"), looks, strict=False):
        rows = table.where(prompts=m)
        errors = [2 * e for e in rows.column("error")]
        axes.errorbar(
            rows.column("distance"), rows.column("output"), errors, color=hue, marker=marker,
            linestyle="none", label=f"mean of {m} outputs",
        )  # fmt: skip
        axes.plot(x, output_size(x, D, m, N), color=hue, linewidth=0.8)
    axes.plot(x, x, color=BLACK, linestyle=":", label="all prompts: $|E[x_q]|$")
    rows = table.where(prompts=max(table.values("prompts")))
    axes.plot(
        rows.column("distance"), rows.column("state"), color=GREEN, marker="D", linestyle="--",
        label="mean state, $|w|$",
    )  # fmt: skip
    axes.set(xlabel="distance of the mean query from 0, $|E[x_q]|$", ylabel="size over tasks")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    return figure
