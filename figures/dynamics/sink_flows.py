"""A sink logit grows without bound if its value is pinned, and stops if both are free."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.active_dormant import draw as draw_sink
from dsf.solvers.active_dormant import flow

TITLE = "Sink logits grow like ½ log t if the sink value is pinned; if both move, they stop"
PAPER = (
    "In the simplified dynamics of the Bigram-Backcopy task the sink logits grow like ½ log t at a "
    "fixed value of the first token, that value drains exponentially at fixed logits, and the "
    "logits of all tokens come together (Guo et al. 2024, arXiv 2410.13835; the theorems are "
    "quoted from memory, the loss is that of its code)."
)
DIFFERS = (
    "The transition matrix, the token weights and the other values are random; the flow is "
    "integrated, not stepped. Two statements are added: the constant, α = ½ log(2 π Var t), and "
    "that the logarithmic growth needs the pinned value: in the joint flow the loss reaches zero "
    "at a finite logit and growth ends."
)
ORDER = 2
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "points": 25, "last": 1e10, "joint": 1e6},
    "default": {"seeds": 3, "points": 160, "last": 1e10, "joint": 1e6},
    "paper": {"seeds": 10, "points": 160, "last": 1e10, "joint": 1e6},
}
V, U = 4, 8  # tokens and outputs of the simplified model


def one(seed: int, points: int, last: float, joint: float) -> list[dict[str, Any]]:
    """Rows per time and token: the pinned flow from 0, and the joint flow from random logits."""
    sink = draw_sink(seed)
    rng = np.random.default_rng(seed)
    rng.random(V * U + V + U)  # what `draw` took
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


def measured(table: Table) -> tuple[str, str]:
    pinned, joint = table.where(flow="value pinned"), table.where(flow="both free")
    last = max(pinned.column("t"))
    error = max(abs(r["alpha"] - r["law"]) for r in pinned.where(t=last))
    slope = slopes(table)
    end = max(joint.column("t"))
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
    loss = max(r["loss"] for r in final_rows)
    text = (
        f"Value pinned: slope {min(slope):.4f} to {max(slope):.4f} in ln t at the end (paper: 1/2) "
        f"and at most {error:.0e} from ½ log(2 π Var t) at t = {last:.0e}. Both free: the logits "
        f"meet at {', '.join(f'{a:.5f}' for a in stops)} (one value per seed; spread over tokens "
        f"{spread:.0e}), move by {late:.0e} over the last tenth of logarithmic time, the centred "
        f"value settles at e⁻ᵅ‖z̄ − mean‖ (relative difference {drain:.0e}), and the loss is "
        f"{loss:.0e}. So ½ log t describes the growth with the value pinned only."
    )
    ok = error < 2e-3 and max(abs(s - 0.5) for s in slope) < 5e-3
    stopped = spread < 1e-6 and late < 1e-5 and drain < 1e-3
    return text, ("agrees in part" if stopped else "agrees") if ok else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    from dsf.style import BLACK, BLUE, GREEN, ORANGE, TEXT, VERMILLION

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
    for hue, seed in zip((BLUE, GREEN, ORANGE), table.values("seed"), strict=False):
        rows = table.where(seed=seed, flow="both free", token=0)
        right.plot(rows.column("t"), rows.column("value"), color=hue, label=f"seed {seed}")
        stop = rows[-1]["drained"]
        right.axhline(stop, color=hue, linewidth=0.7, linestyle=":")
    right.set(xscale="log", xlabel="time $t$", ylabel="size of the centred sink value")
    right.set_title("Both free: the value")
    right.legend(loc="lower right")
    return figure
