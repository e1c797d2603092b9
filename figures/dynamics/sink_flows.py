"""A sink logit grows without bound if its value is held fixed, and stops if both are free."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, number, statement, sweep
from dsf.solvers.dynamics.active_dormant import draw as draw_sink
from dsf.solvers.dynamics.active_dormant import flow
from dsf.tools.style import BLACK, BLUE, GREEN, ORANGE, TEXT, VERMILLION

TITLE = "Sink logits grow like ½ log t if the sink value is held fixed; if both move, they stop"
PAPER = (
    "In the simplified dynamics of the Bigram-Backcopy task the sink logits grow like ½ log t at a "
    "fixed value of the first token, that value drains exponentially at fixed logits, and the "
    "logits of all tokens come together (Guo et al. 2024, arXiv 2410.13835; the theorems are "
    "quoted from memory, the loss is that of its code)."
)
DIFFERS = (
    "The transition matrix, the token weights and the other values are random; the flow is "
    "integrated, not stepped. Two statements are added: the constant, α = ½ log(2 π Var t), and "
    "that the logarithmic growth needs a value that is held fixed (pinned): in the joint flow the "
    "loss reaches zero at a finite logit and growth ends."
)
SEE = (
    "With the value of the first token held at zero the logits on the left climb along the dotted "
    "½ log t without an end, and with both free in the middle they meet and stop. On the right the "
    "value decays exponentially where the logits are held."
)
ORDER = 2
THEOREMS = ("training/sink_dynamics", "training/sink_stationary")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "points": 25, "last": 1e10, "joint": 1e6},
    "default": {"seeds": 3, "points": 160, "last": 1e10, "joint": 1e6},
    "paper": {"seeds": 3, "points": 160, "last": 1e10, "joint": 1e6},
}
V, U = 4, 8  # tokens and outputs of the simplified model
PINNED = (0.0, 1.5)  # sink logits at which the value drains
DRAINED = 15.0  # times of the slowest mode up to which it is followed
# growth has stopped: spread over tokens, last move of the logits, distance of the drained value
SPREAD, MOVE, DISTANCE = 1e-6, 1e-5, 1e-3
HALF = 0.01  # of the slope ½: at t = 10¹⁰ the next order of the law changes it by less
LAW = 2e-3  # how far the logits may then be from the law
RATE = 0.02  # of the decay rate: over the last fifth of the time faster modes still count a little


def one(seed: int, points: int, last: float, joint: float) -> list[dict[str, Any]]:
    """Rows per time and token: value pinned, both free from random logits, logits pinned."""
    sink = draw_sink(seed)
    rng = np.random.default_rng(seed)
    rng.random(V * U + V + U)  # skip the numbers that `draw` took
    start = rng.random(V)
    rows: list[dict[str, Any]] = []
    t = np.concatenate([[0.0], np.geomspace(1.0, last, points)])
    pinned = flow(sink, np.zeros(V), np.zeros(U), t, train="alpha")
    law = sink.logarithmic_law(t[1:])
    for i, time in enumerate(t[1:]):
        for v in range(V):
            a, b = pinned.alpha[i + 1, v], law[i, v]
            rows.append({"flow": "value pinned", "token": v, "t": time, "alpha": a, "law": b})
    t = np.concatenate([[0.0], np.geomspace(1.0, joint, points)])
    both = flow(sink, start, np.zeros(U), t)
    for i, time in enumerate(t[1:], 1):
        beta = both.beta[i]
        drained = sink.drained(float(both.alpha[i].mean()))
        for v in range(V):
            rows.append({
                "flow": "both free", "token": v, "t": time, "alpha": both.alpha[i, v],
                "value": np.linalg.norm(beta - beta.mean()), "drained": np.linalg.norm(drained),
                "loss": sink.loss(both.alpha[i], beta),
            })  # fmt: skip
    for a in PINNED:
        rate, limit = sink.drain_rate(a), sink.drained(a)
        t = np.linspace(0.0, DRAINED / rate, points)
        drain = flow(sink, np.full(V, a), np.zeros(U), t, train="beta")
        left = np.linalg.norm(drain.beta - limit, axis=1) / np.linalg.norm(limit)
        for time, share in zip(t, left, strict=True):
            rows.append({
                "flow": f"logits pinned at {a:g}", "token": 0, "t": time, "rate": rate,
                "left": share,
            })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    seeds = int(p.pop("seeds"))
    return sweep(one, [{"seed": s, **p} for s in range(seeds)])


def slopes(table: Table) -> list[float]:
    """d alpha / d log t over the last two times of the pinned flow."""
    found = []
    for seed in table.values("seed"):
        for v in range(V):
            a, b = table.where(seed=seed, flow="value pinned", token=v)[-2:]
            found.append((b["alpha"] - a["alpha"]) / np.log(b["t"] / a["t"]))
    return found


def drains(table: Table) -> list[float]:
    """Decay rate over the last fifth of the time over the theoretical one, for each run."""
    found = []
    for seed in table.values("seed"):
        for a in PINNED:
            rows = table.where(seed=seed, flow=f"logits pinned at {a:g}")
            first, last = rows[-max(2, len(rows) // 5)], rows[-1]
            decay = np.log(first["left"] / last["left"]) / (last["t"] - first["t"])
            found.append(float(decay / last["rate"]))
    return found


def findings(table: Table) -> list[Finding]:
    pinned, joint = table.where(flow="value pinned"), table.where(flow="both free")
    last, end = max(pinned.column("t")), max(joint.column("t"))
    error = max(abs(r["alpha"] - r["law"]) for r in pinned.where(t=last))
    slope, rates = slopes(table), drains(table)
    worst = max(slope, key=lambda s: abs(s - 0.5))
    stops, spread, late = [], 0.0, 0.0
    for seed in table.values("seed"):
        final = joint.where(seed=seed, t=end).column("alpha")
        stops.append(float(np.mean(final)))
        spread = max(spread, float(np.ptp(final)))
        # the last tenth of the logarithmic time: nothing moves there
        row = joint.where(seed=seed, token=0)
        late = max(late, abs(row[-1]["alpha"] - row[-max(2, len(row) // 10)]["alpha"]))
    final_rows = joint.where(t=end)
    drain = max(abs(r["value"] / r["drained"] - 1) for r in final_rows)
    return [
        number(
            "At a fixed value of the first token the sink logits grow like ½ log t",
            f"slope {min(slope):.4f} to {max(slope):.4f} in ln t at t = {last:.0e}",
            known=0.5, found=worst, within=HALF,
        ),
        statement(
            "At fixed logits the value drains exponentially",
            f"it approaches its limit at {min(rates):.3f} to {max(rates):.3f} times the least "
            "eigenvalue of the Hessian",
            max(abs(r - 1) for r in rates) < RATE,
        ),
        statement(
            "The logits of all tokens come together",
            f"both free, they meet at {', '.join(f'{a:.5f}' for a in stops)} (one value per seed), "
            f"with a spread over tokens of {spread:.0e}",
            spread < SPREAD,
        ),
        derived(
            "The constant of the law, α = ½ log(2 π Var t), is ours",
            f"the logits are within {error:.0e} of it at t = {last:.0e}",
            error < LAW,
        ),
        derived(
            "That growth ends where both are free is ours",
            f"the logits move by {late:.0e} over the last tenth of logarithmic time, the value "
            f"settles at e⁻ᵅ‖z̄ − mean‖ (relative difference {drain:.0e}), the loss is "
            f"{max(r['loss'] for r in final_rows):.0e}",
            late < MOVE and drain < DISTANCE,
        ),
    ]  # fmt: skip


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.4))
    hues = (BLUE, GREEN, ORANGE, VERMILLION)
    first = table.values("seed")[0]
    for v, hue in enumerate(hues):
        rows = table.where(seed=first, flow="value pinned", token=v)
        left.plot(rows.column("t"), rows.column("alpha"), color=hue, label=f"token {v}")
        late = [r for r in rows if r["t"] >= 100]
        x, y = [r["t"] for r in late], [r["law"] for r in late]
        left.plot(x, y, color=BLACK, linewidth=0.7, linestyle=":")
        rows = table.where(seed=first, flow="both free", token=v)
        middle.plot(rows.column("t"), rows.column("alpha"), color=hue)
    left.plot([], [], color=BLACK, linewidth=0.7, linestyle=":", label="the law")
    left.set(xscale="log", xlabel="time $t$", ylabel="sink logit $\\alpha_v$")
    left.set_title("Value pinned at 0: no bound")
    left.legend(loc="upper left")
    middle.set(xscale="log", xlabel="time $t$", ylabel="sink logit $\\alpha_v$")
    middle.set_title("Both free: a finite stop")
    for hue, style, a in zip((BLUE, ORANGE), ("-", "--"), PINNED, strict=True):
        rows = table.where(seed=first, flow=f"logits pinned at {a:g}")
        time = [r["t"] * r["rate"] for r in rows]
        right.plot(time, rows.column("left"), style, color=hue, label=f"$\\alpha_v$ = {a:g}")
        # the exponential through the end point
        line = [rows[-1]["left"] * np.exp(time[-1] - x) for x in time]
        right.plot(time, line, color=BLACK, linewidth=0.7, linestyle=":")
    right.plot([], [], color=BLACK, linewidth=0.7, linestyle=":", label="exponential")
    right.set(yscale="log", xlabel="time × rate", ylabel="distance of $\\beta$ to its limit")
    right.set_title("Logits pinned: the value drains")
    right.legend(loc="upper right")
    return figure
