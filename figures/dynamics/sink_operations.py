"""Which operations of attention grow a sink on Bigram-Backcopy, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.dynamics.backcopy_training import train
from dsf.solvers.dynamics.bigram_backcopy import draw_task
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, TEXT, VERMILLION

TITLE = "Attention sinks with other normalisations, key biases, clipping and gates"
PAPER = (
    "The share α₁ of the first token: softmax and normalised sigmoid attention have a sink, "
    "sigmoid without normalisation has none (share of heads with α₁ > 0.3: 18 %, 30 % and 0.4 %), "
    "and a key bias takes the mass from the first token (73 % on it, 0 % on the first token; Gu "
    "et al. 2024, arXiv 2410.10781). Clipped softmax (α from 2 to 4) and gates reduce outliers: "
    "kurtosis 3076 to 80 and 201 in BERT (Bondarenko et al. 2023, arXiv 2306.12929); a gate after "
    "attention reduces the first-token share from 0.47 to 0.05 (Qiu et al. 2025, arXiv "
    "2505.06708), a gate on values removes sink and drained value on this task (arXiv 2510.09017)."
)
DIFFERS = (
    "One layer of width 64 with one head on Bigram-Backcopy with a random chain, in place of "
    "language models of 60 million parameters and more; α₁ itself is drawn, because the rate of "
    "a single head is 0 or 1. For ReLU and sigmoid without normalisation α₁ is that of |A| with "
    "rows scaled to sum to one; for the others that of A as it is, after clipping and before "
    "gates. All kinds start from the same weights and see the same batches."
)
ORDER = 4.3
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"kinds": ["softmax", "ReLU", "key bias"], "steps": 12, "batch": 8, "seeds": 1},
    "default": {
        "kinds": [
            "softmax", "sigmoid, normalised", "ReLU", "sigmoid", "key bias", "clipped, α = 3",
            "gate", "gate per head",
        ],
        "steps": 500, "batch": 16, "seeds": 1,
    },
    "paper": {
        "kinds": [
            "softmax", "sigmoid, normalised", "ReLU", "sigmoid", "key bias", "clipped, α = 2",
            "clipped, α = 3", "clipped, α = 4", "gate", "gate per head", "gate on values",
        ],
        "steps": 1500, "batch": 64, "seeds": 3,
    },
}  # fmt: skip
LENGTH = 48
MARKS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # parts of the run at which we measure
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"attention": "softmax"},
    "sigmoid, normalised": {"attention": "normalised sigmoid"},
    "ReLU": {"attention": "relu"},
    "sigmoid": {"attention": "sigmoid"},
    "key bias": {"attention": "key bias"},
    "clipped, α = 2": {"attention": "clipped", "alpha": 2.0},
    "clipped, α = 3": {"attention": "clipped", "alpha": 3.0},
    "clipped, α = 4": {"attention": "clipped", "alpha": 4.0},
    "gate": {"attention": "gate"},
    "gate per head": {"attention": "gate per head"},
    "gate on values": {"attention": "value gate"},
}
EPSILON = 0.3  # Gu et al. call a head with a larger share a sink
UNIFORM = float(np.mean(1 / np.arange(1, LENGTH + 1)))  # alpha_1 of uniform causal rows


def one(kind: str, seed: int, steps: int, batch: int) -> list[dict[str, Any]]:
    record = tuple(round(m * steps) for m in MARKS)
    keep = (
        "step", "alpha_1", "weight_1", "row_sum", "bigram", "backcopy", "value_start",
        "value_other", "kurtosis", "infinity",
    )  # fmt: skip
    found = train(
        draw_task(), seed=seed, steps=steps, length=LENGTH, batch=batch, record=record,
        **KINDS[kind],
    )  # fmt: skip
    return [{key: row[key] for key in keep} for row in found]


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    seeds, kinds = p.pop("seeds"), p.pop("kinds")
    return sweep(one, [{"kind": k, "seed": s, **p} for k in kinds for s in range(seeds)])


def ends(table: Table, kind: str) -> Table:
    """The last rows of a kind, one per seed."""
    rows = table.where(kind=kind)
    return rows.where(step=max(rows.column("step")))


def value_ratio(rows: Table) -> list[float]:
    return [r["value_start"] / r["value_other"] for r in rows]


COLUMNS = (
    ("unscaled weight on\nthe first token", lambda rows: rows.column("weight_1")),
    ("value norm,\nfirst / others", value_ratio),
    ("bigram loss\nabove the oracle", lambda rows: rows.column("bigram")),
    ("backcopy\nloss", lambda rows: rows.column("backcopy")),
    ("kurtosis of the\nresidual stream", lambda rows: rows.column("kurtosis")),
)


def stated(share: dict[str, float], free: float) -> dict[str, bool]:
    """What the papers state, and whether it holds; `free` is the mass that the key bias takes."""
    softmax, gates = share["softmax"], [k for k in share if k.startswith("gate")]
    return {
        "softmax has a sink": softmax > EPSILON,
        "normalised sigmoid has one": share["sigmoid, normalised"] > EPSILON,
        "ReLU and sigmoid have none": max(share["ReLU"], share["sigmoid"]) < EPSILON,
        "the key bias takes the mass": share["key bias"] < EPSILON < free,
        "clipping lowers α₁": all(x < softmax for k, x in share.items() if k.startswith("clipped")),
        "gates lower α₁": all(share[k] < softmax for k in gates),
    }


def measured(table: Table) -> tuple[str, str]:
    last = {kind: ends(table, kind) for kind in table.values("kind")}
    share = {kind: float(np.mean(rows.column("alpha_1"))) for kind, rows in last.items()}
    soft = last["softmax"]
    seeds = f" (mean over {len(soft)} seeds)" if len(soft) > 1 else ""
    shown = [
        f"{kind} {share[kind]:.2f} / {np.mean(rows.column('weight_1')):.2f} / "
        f"{np.mean(value_ratio(rows)):.2f} / {np.mean(rows.column('backcopy')):.3f}"
        for kind, rows in last.items()
    ]
    kurtosis, largest = (
        [float(np.mean(rows.column(c))) for rows in last.values()] for c in ("kurtosis", "infinity")
    )
    outliers = (
        "there are no outliers to reduce" if max(kurtosis) < 6 else "some kinds have outliers"
    )
    text = (
        f"α₁ / unscaled weight on the first token / value norm of the first token against the "
        f"others / backcopy loss after {soft[0]['step']} steps{seeds}: {'; '.join(shown)}. Uniform "
        f"rows: α₁ = {UNIFORM:.3f}. Residual stream: kurtosis {min(kurtosis):.1f} to "
        f"{max(kurtosis):.1f} (Gaussian: 3), largest entry {min(largest):.1f} to "
        f"{max(largest):.1f}; {outliers}"
    )
    if max(soft.column("backcopy")) > 0.2:
        return f"Too few steps to judge: the task is not learned. {text}.", "no number in the paper"
    free = 1 - float(np.mean(last["key bias"].column("row_sum")))
    claims = stated(share, free)
    holds = [claim for claim, true in claims.items() if true]
    fails = [claim for claim, true in claims.items() if not true]
    text += (
        f". The key bias holds {free:.2f} of the mass. As stated: {', '.join(holds) or 'nothing'}."
    )
    if fails:
        text += f" Not here: {', '.join(fails)}."
    return text, "agrees" if not fails else "agrees in part" if holds else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    looks = {
        "softmax": (BLACK, "-"), "sigmoid, normalised": (ORANGE, "-"), "ReLU": (VERMILLION, "-"),
        "sigmoid": (VERMILLION, "--"), "key bias": (PURPLE, "-"), "clipped, α = 2": (BLUE, "-"),
        "clipped, α = 3": (BLUE, "--"), "clipped, α = 4": (BLUE, ":"), "gate": (GREEN, "-"),
        "gate per head": (GREEN, "--"), "gate on values": (SKY, "-"),
    }  # fmt: skip
    kinds = table.values("kind")
    figure = plt.figure(figsize=(TEXT, 4.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    axes = above.subplots()
    for kind in kinds:
        rows = table.where(kind=kind)
        at = rows.values("step")
        values = np.array([rows.where(step=t).column("alpha_1") for t in at])
        hue, line = looks[kind]
        axes.plot(at, values.mean(axis=1), color=hue, linestyle=line, label=kind)
    axes.axhline(EPSILON, color=GREY, linewidth=0.7)
    axes.axhline(UNIFORM, color=GREY, linewidth=0.7, linestyle=":", label="uniform rows")
    axes.text(0, EPSILON, "a sink is above this line", va="bottom", fontsize="small", color=GREY)
    axes.set(xlabel="step", ylabel="share of the first token $\\alpha_1$, mean", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    columns = below.subplots(1, len(COLUMNS), sharey=True)
    places = np.arange(len(kinds))[::-1]
    for panel, (title, values_of) in zip(columns, COLUMNS, strict=True):
        largest = 0.0
        for place, kind in zip(places, kinds, strict=True):
            y = values_of(ends(table, kind))
            largest = max(largest, *y)
            panel.plot(y, [place] * len(y), "o", color=looks[kind][0], markerfacecolor="none")
        panel.set_title(title, fontsize="small")
        panel.set(xlim=(0, 1.12 * largest), ylim=(-0.6, len(kinds) - 0.4))
    columns[0].set_yticks(places, kinds)
    return figure
