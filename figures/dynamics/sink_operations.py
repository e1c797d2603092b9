"""Which operations of attention grow a sink on Bigram-Backcopy, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.solvers.dynamics.backcopy_training import train
from dsf.solvers.dynamics.bigram_backcopy import draw_task
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, TEXT, VERMILLION

TITLE = (
    "With gated values and with sigmoid weights the first token ends above softmax, with "
    "normalised sigmoid far below"
)
SEE = (
    "Above, the share of attention on the first token grows from the start of training on in all "
    "kinds but normalised sigmoid, and most for the gate on values and for sigmoid weights once "
    "their rows are scaled to sum to one. Below, the circles are single seeds: the share is "
    "uncertain, but the value of the first token shrinks clearly for softmax, the key bias and the "
    "gate on values."
)
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
GU, BONDARENKO, QIU, VALUE_GATES = "2410.10781", "2306.12929", "2505.06708", "2510.09017"
ORDER = 4.3
THEOREMS = ("training/sink_uniform_rows", "training/row_terms")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"kinds": ["softmax", "ReLU", "key bias"], "steps": 12, "batch": 8, "seeds": 1},
    "default": {
        "kinds": [
            "softmax", "sigmoid, normalised", "sigmoid", "key bias", "gate on values",
        ],
        "steps": 1000, "batch": 16, "seeds": 2,
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
LEARNED = 0.2  # backcopy loss of softmax, about 2.4 without copying: below it the task is learned
OUTLIERS = 6.0  # kurtosis, twice that of a Gaussian: below it there are none to reduce
DRAINED = 0.5  # value norm of the first token, of that of the others: below it the value is drained
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
    ("share of the first\ntoken $\\alpha_1$", lambda rows: rows.column("alpha_1")),
    ("unscaled weight\non it", lambda rows: rows.column("weight_1")),
    ("value norm,\nfirst / others", value_ratio),
    ("backcopy\nloss", lambda rows: rows.column("backcopy")),
    ("kurtosis of the\nresidual stream", lambda rows: rows.column("kurtosis")),
)


# the colours of the lines above; the grey ones, variants of others, are told apart below only
LOOKS = {
    "softmax": BLACK, "sigmoid, normalised": ORANGE, "ReLU": GREY, "sigmoid": VERMILLION,
    "key bias": PURPLE, "clipped, α = 2": GREY, "clipped, α = 3": BLUE, "clipped, α = 4": GREY,
    "gate": GREEN, "gate per head": GREY, "gate on values": SKY,
}  # fmt: skip


def shares(table: Table) -> dict[str, float]:
    """alpha_1 of every kind at the end, mean over the seeds."""
    return {
        kind: float(np.mean(ends(table, kind).column("alpha_1"))) for kind in table.values("kind")
    }


def about_sinks(last: dict[str, Table], share: dict[str, float]) -> list[Finding]:
    """What Gu et al. say of softmax, sigmoid and a key bias; only of kinds that were run."""
    found = []
    for kind, has, words in (
        ("softmax", True, "Softmax attention has a sink (α₁ > 0.3 in 18 % of the heads)"),
        ("sigmoid, normalised", True, "Normalised sigmoid attention has a sink (30 %)"),
        ("sigmoid", False, "Sigmoid without normalisation has none (0.4 %)"),
    ):
        if kind in last:
            weight = np.mean(last[kind].column("weight_1"))
            ours = f"α₁ = {share[kind]:.2f}; unscaled weight {weight:.2f}"
            found.append(statement(words, ours, (share[kind] > EPSILON) == has, GU))
    if "key bias" in last:
        free = 1 - float(np.mean(last["key bias"].column("row_sum")))
        ours = f"the key bias holds {free:.2f} of the mass, the first token {share['key bias']:.2f}"
        holds = share["key bias"] < EPSILON < free
        words = "A key bias takes the mass from the first token (73 % and 0 %)"
        found.append(statement(words, ours, holds, GU))
    return found


def about_outliers(last: dict[str, Table], share: dict[str, float]) -> list[Finding]:
    """What is said of clipping and of gates; only of kinds that were run."""
    found = []
    kurtosis = {k: float(np.mean(rows.column("kurtosis"))) for k, rows in last.items()}
    tamed = [k for k in last if k.startswith(("clipped", "gate")) and k != "gate on values"]
    if tamed:
        words = "Clipping and gates reduce outliers (kurtosis 3076 to 80 and 201 in BERT)"
        least, most = (bound(kurtosis[k] for k in tamed) for bound in (min, max))
        ours = f"kurtosis {kurtosis['softmax']:.1f} (softmax), {least:.1f} to {most:.1f} with them"
        if kurtosis["softmax"] < OUTLIERS:
            ours += ": no outliers here to reduce (a Gaussian has 3)"
            found.append(unknown(words, ours, BONDARENKO))
        else:
            found.append(statement(words, ours, most < kurtosis["softmax"], BONDARENKO))
    gates = [k for k in ("gate", "gate per head") if k in last]
    if gates:
        ours = ", ".join(f"{share[k]:.2f} ({k})" for k in ("softmax", *gates))
        words = "A gate after attention lowers the share of the first token (0.47 to 0.05)"
        lower = all(share[k] < share["softmax"] for k in gates)
        found.append(statement(words, ours, lower, QIU))
    if "gate on values" in last:
        ratio = float(np.mean(value_ratio(last["gate on values"])))
        ours = f"α₁ = {share['gate on values']:.2f}, value norm {ratio:.2f} of that of the others"
        words = "A gate on values removes sink and drained value"
        holds = share["gate on values"] < EPSILON and ratio > DRAINED
        found.append(statement(words, ours, holds, VALUE_GATES))
    return found


def findings(table: Table) -> list[Finding]:
    last = {kind: ends(table, kind) for kind in table.values("kind")}
    share, soft = shares(table), last["softmax"]
    lost = max(soft.column("backcopy"))
    if lost > LEARNED:
        ours = f"backcopy loss {lost:.2f} after {soft[0]['step']} steps: too few to judge"
        return [unknown("Which operations have a sink", ours)]
    return [*about_sinks(last, share), *about_outliers(last, share)]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    kinds = table.values("kind")
    figure = plt.figure(figsize=(TEXT, 4.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    axes = above.subplots()
    for kind in sorted(kinds, key=list(LOOKS).index):
        rows = table.where(kind=kind)
        at = rows.values("step")
        values = np.array([rows.where(step=t).column("alpha_1") for t in at])
        if LOOKS[kind] == GREY:  # shown below only
            axes.plot(at, values.mean(axis=1), color=GREY, linewidth=0.6, alpha=0.6)
            continue
        axes.plot(at, values.mean(axis=1), color=LOOKS[kind], label=kind)
    if any(LOOKS[kind] == GREY for kind in kinds):
        axes.plot([], [], color=GREY, linewidth=0.6, alpha=0.6, label="other kinds, see below")
    axes.axhline(EPSILON, color=BLACK, linewidth=0.7, linestyle="--", label="a sink lies above")
    axes.axhline(UNIFORM, color=BLACK, linewidth=0.7, linestyle=":", label="uniform rows")
    axes.set(xlabel="step", ylabel="share of the first token $\\alpha_1$", ylim=(0, None))
    count = len(table.values("seed"))
    axes.set_title(f"Mean over {count} seeds; each is shown below" if count > 1 else "One seed")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    columns = below.subplots(1, len(COLUMNS), sharey=True)
    places = np.arange(len(kinds))[::-1]
    for panel, (title, values_of) in zip(columns, COLUMNS, strict=True):
        largest = 0.0
        for place, kind in zip(places, kinds, strict=True):
            y = values_of(ends(table, kind))
            largest = max(largest, *y)
            panel.plot(y, [place] * len(y), "o", color=LOOKS[kind], markerfacecolor="none")
        panel.set_title(title, fontsize="small")
        panel.set(xlim=(0, 1.12 * largest), ylim=(-0.6, len(kinds) - 0.4))
    columns[0].set_yticks(places, kinds)
    return figure
