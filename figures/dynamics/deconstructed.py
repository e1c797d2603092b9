"""Attention with parts left out, trained on Bigram-Backcopy: what can still copy?"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.solvers.dynamics.backcopy_training import train
from dsf.solvers.dynamics.bigram_backcopy import Task, draw_task
from dsf.tools.style import BLACK, GREY, SKY, TEXT

TITLE = "A fixed attention map copies as well as standard attention; without mixing nothing copies"
PAPER = (
    "In language models of 500 million parameters whose attention is replaced in every layer, "
    "perplexity on WikiText is 38.1 (standard), 993.5 (MLP in place of attention), 47.9 "
    "(Approximate), 9e4 (Non-approximate), 84.8 (RndEmbQK), 79.1 (FixedSeqQK), 79.9 (StaticEmbQK); "
    "all but MLP and Non-approximate keep more than 92 % of the accuracy on language understanding "
    "(arXiv 2510.11602)."
)
DIFFERS = (
    "A small transformer of width 64 on Bigram-Backcopy with learned positions, in place of a "
    "language model with rotary ones. In one layer StaticEmbQK is standard attention itself, "
    "because the embeddings are the input of the layer, and is left out; two layers show it. The "
    "task copies by position, so it does not ask for maps that depend on the content."
)
SEE = (
    "On the right the circles of standard attention and of the fixed maps lie near zero: they "
    "copy. The MLP, which sees one token at a time, stays at the dashed line, and Approximate does "
    "hardly better."
)
ORDER = 4.6
THEOREMS = ("training/fixed_maps", "training/approximate_orders", "training/non_approximate")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"layers": 1, "steps": 12, "batch": 8, "seeds": 1},
    "default": {"layers": 1, "steps": 1000, "batch": 16, "seeds": 1},
    "paper": {"layers": 2, "steps": 1000, "batch": 64, "seeds": 3},
}
LENGTH = 48
# of the loss of a model that sees one token at a time: a variant below the one copies, a variant
# above the other does not, and between them it may still be learning
COPIES, FAILS = 0.25, 0.5
VARIANTS = {  # name in the paper -> (kind of attention, does it keep the accuracy there?)
    "Standard": ("softmax", True),
    "StaticEmbQK": ("StaticEmbQK", True),
    "RndEmbQK": ("RndEmbQK", True),
    "FixedSeqQK": ("FixedSeqQK", True),
    "Approximate": ("approximate", True),
    "Non-approximate": ("non-approximate", False),
    "MLP": ("mlp", False),
}
NAMES = {  # what is left of attention
    "Standard": "Standard",
    "StaticEmbQK": "StaticEmbQK: q, k of embeddings",
    "RndEmbQK": "RndEmbQK: fixed random map",
    "FixedSeqQK": "FixedSeqQK: map of a fixed text",
    "Approximate": "Approximate: Taylor terms",
    "Non-approximate": "Non-approximate: keys alone",
    "MLP": "MLP: no mixing",
}


def one(variant: str, seed: int, layers: int, steps: int, batch: int) -> dict[str, Any]:
    kind, _ = VARIANTS[variant]
    found = train(
        draw_task(), kind, seed, steps=steps, length=LENGTH, batch=batch, layers=layers
    )[-1]  # fmt: skip
    columns = ("bigram", "backcopy", "previous_trigger", "kurtosis", "infinity")
    return {**{c: found[c] for c in columns}, "no_copy": without_copy(draw_task())}


def without_copy(task: Task, count: int = 4000) -> float:
    """The least backcopy loss of a model that sees one token at a time: the mean entropy of the
    next token after each trigger, from sampled sequences."""
    x = task.sequences(np.random.default_rng(3), count, LENGTH)
    now, following = x[:, 2:-1], x[:, 3:]
    losses, weights = [], []
    for v in task.triggers:
        p = np.bincount(following[now == v], minlength=task.V) / np.sum(now == v)
        losses.append(-np.sum(p[p > 0] * np.log(p[p > 0])))
        weights.append(np.sum(now == v))
    return float(np.average(losses, weights=weights))


def compute(profile: str) -> Table:
    p = dict(PARAMETERS[profile])
    seeds = p.pop("seeds")
    names = [v for v in VARIANTS if v != "StaticEmbQK" or p["layers"] > 1]
    return sweep(one, [{"variant": v, "seed": s, **p} for v in names for s in range(seeds)])


def copies(table: Table, variant: str) -> bool | None:
    """Whether a variant copies, in the mean over seeds; None if that is not decided."""
    part = loss(table, variant) / table[0]["no_copy"]
    return True if part < COPIES else False if part > FAILS else None


def loss(table: Table, variant: str) -> float:
    """Backcopy loss of a variant, mean over seeds."""
    return float(np.mean(table.where(variant=variant).column("backcopy")))


def findings(table: Table) -> list[Finding]:
    first, known = table[0], table.values("variant")
    best = f"one token at a time gives {first['no_copy']:.2f} at best"
    if not copies(table, "Standard"):
        ours = f"{loss(table, 'Standard'):.2f} after {first['steps']} steps, {best}: too few steps"
        return [unknown("Backcopy loss of standard attention", ours)]
    found = []
    for words, keeps, names in (
        (
            "Fixed maps keep more than 92 % of the accuracy in language models",
            True, ("RndEmbQK", "FixedSeqQK", "StaticEmbQK"),
        ),
        ("Approximate keeps it as well", True, ("Approximate",)),
        ("Without mixing (MLP) it is lost", False, ("MLP",)),
        ("Non-approximate loses it", False, ("Non-approximate",)),
    ):  # fmt: skip
        losses = {v: loss(table, v) for v in names if v in known}
        listed = ", ".join(f"{x:.3f} ({v})" for v, x in losses.items())
        ours = f"backcopy loss {listed}; standard {loss(table, 'Standard'):.3f}, {best}"
        does = {copies(table, v) for v in losses}
        if None in does:
            found.append(unknown(words, f"{ours}; not decided after {first['steps']} steps"))
        else:
            found.append(statement(words, ours, does == {keeps}))
    return found


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    variants = table.values("variant")
    places = np.arange(len(variants))[::-1]
    figure, panels = plt.subplots(1, 2, figsize=(TEXT, 2.6), sharey=True)
    titles = {"bigram": "Bigram loss above the oracle", "backcopy": "Backcopy loss"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        for place, variant in zip(places, variants, strict=True):
            y = table.where(variant=variant).column(column)
            panel.barh(place, np.mean(y), height=0.6, color=SKY)
            panel.plot(y, [place] * len(y), "o", color=BLACK, markerfacecolor="none")
            panel.annotate(
                f"{np.mean(y):.3f}", (max(y), place), xytext=(7, 0), textcoords="offset points",
                va="center", fontsize="small",
                bbox={"facecolor": "white", "pad": 0.6, "edgecolor": "none"},
            )  # fmt: skip
        panel.set_xlim(0, 1.2 * max(table.column(column)))
        panel.set_title(title)
        panel.set_xlabel("nats per token")
        panel.grid(axis="y", visible=False)
    limit = table[0]["no_copy"]
    label = f"one token at a time, at best ({limit:.2f})"
    panels[1].axvline(limit, color=GREY, linestyle="--", zorder=0, label=label)
    panels[1].plot([], [], "o", color=BLACK, markerfacecolor="none", label="single seeds")
    panels[0].set_yticks(places, [NAMES[v] for v in variants])
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
