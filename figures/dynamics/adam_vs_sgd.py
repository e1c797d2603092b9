"""Adam lets the residual norm of a sink token grow almost linearly, gradient steps do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.dynamics.residual_toy import RATES, forced, forced_flow, train
from dsf.tools.style import BLACK, BLUE, GREEN, TEXT, VERMILLION

TITLE = "With a given gradient Adam lets the residual norm grow, gradient descent hardly moves it"
PAPER = (
    "With Adam the residual state of the start token grows linearly in a toy model with a given "
    "gradient (forced), with gradient steps it does not; changing Adam to SGD removes the residual "
    "peaks of a trained transformer (Guo et al. 2024, arXiv 2410.13835). No number is given for "
    "the toy."
)
DIFFERS = (
    "The two toy models of the public code, computed again: forced, and two equations for the "
    "scale y of the sink logit and the norm m. The closed form of the forced gradient flow, m = "
    "(m₀⁴ + 2 η log² t)^¼, and Adam without the ε = 10⁻⁸ in its denominator are added. No "
    "transformer of three layers is trained."
)
ORDER = 6
FORCED = ("sgd", "adam")  # without eps the first step, 0/0, is not defined
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"free": 2000, "forced": 2000, "points": 40},
    "default": {"free": 100_000, "forced": 10_000, "points": 160},
    "paper": {"free": 100_000, "forced": 10_000, "points": 160},
}
CLOSED_FORM = 1e-3  # how far steps may be from the flow that they follow


def one(optimiser: str, free: int, forced_steps: int, points: int) -> list[dict[str, Any]]:
    """Both toys with one optimiser, at logarithmically spaced steps."""
    rows: list[dict[str, Any]] = []
    path = train(optimiser, free)
    for t in np.unique(np.rint(np.geomspace(1, free, points)).astype(int)):
        rows.append({"toy": "two letters", "step": t, "y": path[t, 0], "m": path[t, 1]})
    if optimiser not in FORCED:
        return rows
    norm = forced(optimiser, forced_steps)
    for t in np.unique(np.rint(np.linspace(1, forced_steps, points)).astype(int)):
        flow = forced_flow(np.array(float(t)))
        rows.append({"toy": "forced", "step": t, "m": norm[t], "flow": flow})
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"free": p["free"], "forced_steps": p["forced"], "points": p["points"]}
    return sweep(one, [{"optimiser": o, **rest} for o in RATES])


def straightness(rows: Table) -> tuple[float, float]:
    """Slope and R^2 of a line through m over the second half of the steps."""
    late = rows[len(rows) // 2 :]
    t, m = np.array([r["step"] for r in late]), np.array([r["m"] for r in late])
    slope, level = np.polyfit(t, m, 1)
    return float(slope), float(1 - np.var(m - slope * t - level) / np.var(m))


def measured(table: Table) -> tuple[str, str]:
    ends = {o: table.where(toy="two letters", optimiser=o)[-1] for o in RATES}
    runs = {o: table.where(toy="forced", optimiser=o) for o in FORCED}
    bare = ends["adam without eps"]
    sgd, adam = (runs[o][-1]["m"] for o in ("sgd", "adam"))
    error = max(abs(r["m"] - r["flow"]) for r in runs["sgd"])
    slope, fit = straightness(runs["adam"])
    text = (
        f"Forced toy from 10, after {runs['sgd'][-1]['step']} steps: {sgd:.4f} (gradient; at most "
        f"{error:.0e} from the closed form) and {adam:.1f} (Adam; over the second half a line of "
        f"slope {slope:.2g} per step explains {100 * fit:.1f} % of the variance). Two equations, "
        f"after {ends['sgd']['step']} steps: (y, m) = ({ends['sgd']['y']:.2f}, "
        f"{ends['sgd']['m']:.2f}) with gradient steps, ({ends['adam']['y']:.1f}, "
        f"{ends['adam']['m']:.2f}) with Adam and ({bare['y']:.1f}, {bare['m']:.2f}) with ε = 0"
        f"{': the bend at the end comes from ε' if bare['m'] > 1.2 * ends['adam']['m'] else ''}."
    )
    holds = adam > sgd + 5 and fit > 0.98 and error < CLOSED_FORM
    return text, "agrees" if holds else "does not hold"


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
    left.xaxis.get_major_locator().set_params(nbins=4)
    middle.set(xscale="log", xlabel="step", ylabel="sink logit scale $y$")
    middle.set_title("Two equations: logit")
    right.set(xscale="log", xlabel="step", ylabel="residual norm $m$")
    right.set_title("Two equations: norm")
    left.legend(loc="upper left")
    middle.legend(loc="upper left")
    return figure
