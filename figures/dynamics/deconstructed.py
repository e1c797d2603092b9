"""Attention with parts left out, trained on Bigram-Backcopy: what can still copy?"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
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
ORDER = 4.6
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"layers": 1, "steps": 12, "batch": 8, "seeds": 1},
    "default": {"layers": 1, "steps": 500, "batch": 16, "seeds": 1},
    "paper": {"layers": 2, "steps": 1000, "batch": 64, "seeds": 3},
}
LENGTH = 48
VARIANTS = {  # name in the paper -> (kind of attention, does it keep the accuracy there?)
    "Standard": ("softmax", True),
    "StaticEmbQK": ("StaticEmbQK", True),
    "RndEmbQK": ("RndEmbQK", True),
    "FixedSeqQK": ("FixedSeqQK", True),
    "Approximate": ("approximate", True),
    "Non-approximate": ("non-approximate", False),
    "MLP": ("mlp", False),
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


def copies(table: Table) -> dict[str, bool]:
    """Which variants end below a quarter of the loss without mixing, in the mean over seeds."""
    limit = table[0]["no_copy"] / 4
    return {
        v: bool(np.mean(table.where(variant=v).column("backcopy")) < limit)
        for v in table.values("variant")
    }


def measured(table: Table) -> tuple[str, str]:
    first = table[0]
    found = []
    for variant in table.values("variant"):
        rows = table.where(variant=variant)
        bigram, backcopy = (np.mean(rows.column(c)) for c in ("bigram", "backcopy"))
        found.append(f"{variant} {bigram:.3f} / {backcopy:.3f}")
    seeds = len(table.values("seed"))
    text = (
        f"Bigram loss above the oracle / backcopy loss after {first['steps']} steps of batch "
        f"{first['batch']} with {first['layers']} layer{'s' * (first['layers'] > 1)}"
        f"{f' (mean over {seeds} seeds)' if seeds > 1 else ''}: {'; '.join(found)}. A model that "
        f"sees one token at a time gets to about {first['no_copy']:.2f} in backcopy at best."
    )
    does = copies(table)
    if not does["Standard"]:
        return f"Too few steps to judge: the task is not learned. {text}", "no number in the paper"
    other = [v for v in does if does[v] != VARIANTS[v][1]]
    if not other:
        return text, "agrees"
    text += " Unlike in language models: " + ", ".join(
        f"{v} {'copies' if does[v] else 'does not copy'}" for v in other
    )
    right = not does["MLP"] and all(does[v] for v in ("RndEmbQK", "FixedSeqQK"))
    return f"{text}.", "agrees in part" if right else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    variants = table.values("variant")
    places = np.arange(len(variants))[::-1]
    figure, panels = plt.subplots(1, 2, figsize=(TEXT, 2.4), sharey=True)
    titles = {"bigram": "Bigram loss above the oracle", "backcopy": "Backcopy loss"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        for place, variant in zip(places, variants, strict=True):
            y = table.where(variant=variant).column(column)
            panel.barh(place, np.mean(y), height=0.6, color=SKY)
            panel.plot(y, [place] * len(y), "o", color=BLACK, markerfacecolor="none")
        panel.set_title(title)
        panel.set_xlabel("nats per token")
        panel.grid(axis="y", visible=False)
    limit = table[0]["no_copy"]
    panels[1].axvline(limit, color=GREY, linestyle="--")
    top = len(variants) - 1
    panels[1].text(limit, top, "one token\nat a time ", ha="right", va="center", color=GREY)
    panels[0].set_yticks(places, variants)
    return figure
