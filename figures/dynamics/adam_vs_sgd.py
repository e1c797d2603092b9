"""Adam lets the residual norm of a sink token grow, at no steady rate; gradient steps do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.dynamics.residual_toy import RATES, forced, forced_flow, train
from dsf.tools.style import BLACK, BLUE, GREEN, TEXT, VERMILLION

TITLE = (
    "With a given gradient Adam lets the residual norm grow, at no steady rate; gradient descent "
    "hardly moves it"
)
SEE = (
    "On the left Adam's norm first rises steeply, then at rates between 0.003 and 0.008 per step, "
    "and bends down for good once the gradient is below the ε of Adam's denominator, while "
    "gradient descent stays at its start. In the two equations on the right Adam overtakes "
    "gradient descent late, and its bend at the end is gone without ε."
)
PAPER = (
    "With Adam the residual state of the start token grows linearly in a toy model with a given "
    "gradient (forced), with gradient steps it does not; changing Adam to SGD removes the residual "
    "peaks of a trained transformer (Guo et al. 2024, arXiv 2410.13835). No number is given for "
    "the toy."
)
DIFFERS = (
    "The two toy models of the public code, computed again: forced, here over 100 000 steps, and "
    "two equations for the scale y of the sink logit and the norm m. The closed form of the forced "
    "gradient flow, m = (m₀⁴ + 2 η log² t)^¼, and Adam without the ε = 10⁻⁸ in its denominator are "
    "added. No transformer of three layers is trained."
)
ORDER = 6
THEOREMS = ("training/residual_toy",)
FORCED = ("sgd", "adam")  # without eps the first step, 0/0, is not defined
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"free": 100_000, "forced": 100_000, "points": 40},
    "default": {"free": 100_000, "forced": 100_000, "points": 160},
    "paper": {"free": 100_000, "forced": 100_000, "points": 160},
}
# A line is judged on the run of the public code after its start-up, in windows of equal length.
WINDOWS = (2500, 5000, 7500, 10_000)
LATER = (10_000, 20_000, 30_000, 100_000)  # what happens beyond
STEADY = 1.25  # largest over smallest slope: a line has 1, and a quarter more is still near a line
GROWN, STILL = 2.0, 1.01  # times the start: the norm has at least doubled, or moved by 1 % at most
CLOSED_FORM = 1e-3  # how far steps may be from the flow that they follow
BEND = 1.2  # times the norm with eps: without it the growth clearly goes on


def one(optimiser: str, free: int, forced_steps: int, points: int) -> list[dict[str, Any]]:
    """Both toys with one optimiser, at steps in equal ratios (free) or distances (forced)."""
    rows: list[dict[str, Any]] = []
    path = train(optimiser, free)
    for t in np.unique(np.rint(np.geomspace(1, free, points)).astype(int)):
        rows.append({"toy": "two letters", "step": t, "y": path[t, 0], "m": path[t, 1]})
    if optimiser not in FORCED:
        return rows
    norm = forced(optimiser, forced_steps)
    even = np.rint(np.linspace(1, forced_steps, points)).astype(int)
    for t in np.unique([*even, *WINDOWS, *LATER]):
        flow = forced_flow(np.array(float(t)))
        rows.append({"toy": "forced", "step": t, "m": norm[t], "flow": flow})
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"free": p["free"], "forced_steps": p["forced"], "points": p["points"]}
    return sweep(one, [{"optimiser": o, **rest} for o in RATES])


def slopes(rows: Table, marks: tuple[int, ...]) -> list[float]:
    """Mean growth of m per step between one mark and the next."""
    m = [rows.where(step=t)[0]["m"] for t in marks]
    return [float(x) for x in np.diff(m) / np.diff(marks)]


def findings(table: Table) -> list[Finding]:
    ends = {o: table.where(toy="two letters", optimiser=o)[-1] for o in RATES}
    runs = {o: table.where(toy="forced", optimiser=o) for o in FORCED}
    start = runs["sgd"][0]["m"]
    at = WINDOWS[-1]
    sgd, adam = (runs[o].where(step=at)[0]["m"] for o in FORCED)
    within, beyond = (slopes(runs["adam"], marks) for marks in (WINDOWS, LATER))
    error = max(abs(r["m"] - r["flow"]) for r in runs["sgd"])
    bare, eps = ends["adam without eps"], ends["adam"]
    listed = ["; ".join(f"{s:.4f}" for s in found) for found in (within, beyond)]
    return [
        statement(
            "With Adam the residual norm of the forced toy grows, with gradient steps it does not",
            f"after {at} steps from {start:.0f}: {adam:.1f} (Adam) and {sgd:.4f} (gradient)",
            adam > GROWN * start and sgd < STILL * start,
        ),
        statement(
            "With Adam it grows linearly",
            f"growth per step {listed[0]} between the steps {WINDOWS}, then {listed[1]} between "
            f"{LATER}",
            max(within) < STEADY * min(within),
        ),
        derived(
            "The closed form (m₀⁴ + 2 η log² t)^¼ of gradient steps is ours",
            f"gradient steps are within {error:.0e} of it",
            error < CLOSED_FORM,
        ),
        derived(
            "No numbers for the two equations, and nothing on the ε of Adam",
            f"after {eps['step']} steps (y, m) = ({ends['sgd']['y']:.2f}, {ends['sgd']['m']:.2f}) "
            f"with gradient steps, ({eps['y']:.1f}, {eps['m']:.2f}) with Adam and "
            f"({bare['y']:.1f}, {bare['m']:.2f}) with ε = 0, which causes the bend",
            bare["m"] > BEND * eps["m"],
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    names = {
        "sgd": ("gradient descent", BLUE, "-"),
        "adam": ("Adam", VERMILLION, "--"),
        "adam without eps": ("Adam, $\\epsilon$ = 0", GREEN, ":"),
    }
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.4))
    for optimiser, (name, hue, line) in names.items():
        if optimiser in FORCED:
            rows = table.where(toy="forced", optimiser=optimiser)
            left.plot(rows.column("step"), rows.column("m"), color=hue, linestyle=line, label=name)
        rows = table.where(toy="two letters", optimiser=optimiser)
        middle.plot(rows.column("step"), rows.column("y"), color=hue, linestyle=line, label=name)
        right.plot(rows.column("step"), rows.column("m"), color=hue, linestyle=line)
    rows = table.where(toy="forced", optimiser="sgd")
    left.plot(
        rows.column("step"), rows.column("flow"), color=BLACK, linestyle=":", label="closed form"
    )
    left.set(xlabel="step", ylabel="residual norm $m$", ylim=(0, None))
    left.set_title("Forced: the gradient is given")
    left.set_xticks([0, 50_000, 100_000], ["0", "50 000", "100 000"])
    middle.set(xscale="log", xlabel="step", ylabel="sink logit scale $y$")
    middle.set_title("Two equations: logit")
    right.set(xscale="log", xlabel="step", ylabel="residual norm $m$")
    right.set_title("Two equations: norm")
    left.legend(loc="center right", bbox_to_anchor=(1, 0.35))
    middle.legend(loc="upper left")
    return figure
