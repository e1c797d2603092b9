"""Which distinct tokens attention picks under Adam, by its learning rate."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.dynamics.sequence_classes import descend, syn
from dsf.solvers.heads.attention_metrics import entropy
from dsf.tools.style import BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = (
    "From zero Adam's learning rate decides which distinct tokens are picked; from a random start "
    "the start decides as well"
)
SEE = (
    "From zero (left) the peak moves from token 13 to token 19 as the learning rate grows, while "
    "from a random start (middle) the same tokens stick out at two rates. The bars count shared "
    "tokens: short orange bars mean that the rates pick different ones, short blue bars that the "
    "seeds do."
)
PAPER = (
    "Syn-Small trained with Adam, η = 0.1, 0.5, 1 for both matrices: attention ends sparse, and "
    "different rates pick different subsets of the distinct tokens (Tian et al. 2023, arXiv "
    "2305.16380; images, no numbers)."
)
DIFFERS = (
    "The number is ours: overlap of the three distinct tokens with most attention after 100 steps, "
    "between rates (same data and start) and between seeds (same rate); 0.3 by chance. The start "
    "of the Adam runs is not given: zero as in the log of Syn-Small, and random as in that of "
    "Syn-Medium. Momentum is added for comparison."
)
ORDER = 3.6
THEOREMS = ("training/scan_snap_gradients",)
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2, "iterations": 100},
    "default": {"seeds": 6, "iterations": 100},
    "paper": {"seeds": 20, "iterations": 100},
}
RUNS = (("adam", "zero"), ("adam", "linear"), ("momentum", "zero"))
NAMES = ("Adam from zero", "Adam, random start", "momentum from zero")
RATES = (0.1, 0.5, 1.0)
SHOWN = 20  # tokens of class 0: ten common, ten distinct
TOP = 3
DIFFERENT = 0.5  # overlap of the top three: less than half of the tokens are shared
SPARSE = 10.0  # tokens, e^entropy: as many as the distinct ones, half of those of a class
TWICE = 2.0  # times the overlap between rates: seeds agree clearly more


def one(rule: str, start: str, rate: float, iterations: int, seed: int) -> list[dict[str, Any]]:
    """Final attention of class 0, token by token."""
    run = descend(syn(), rate, rate, iterations, seed, rule=rule, start=start, every=iterations)
    c = run.attention[-1][0]
    return [{"token": l, "attention": c[l]} for l in range(SHOWN)]


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    grid = [
        {"rule": r, "start": s, "rate": rate, "iterations": p["iterations"], "seed": seed}
        for r, s in RUNS
        for rate in RATES
        for seed in range(p["seeds"])
    ]
    return sweep(one, grid)


def attention(table: Table, rule: str, start: str) -> np.ndarray:
    """[rates seeds tokens]"""
    rows = table.where(rule=rule, start=start)
    return np.array(rows.column("attention"), float).reshape(len(RATES), -1, SHOWN)


def overlaps(c: np.ndarray) -> tuple[float, float]:
    """Mean share of common tokens in the top three: between rates, and between seeds."""
    picked = [[set(np.argsort(-row[10:])[:TOP]) for row in rows] for rows in c]
    rates = [
        len(a & b) / TOP
        for one_rate, other in combinations(picked, 2)
        for a, b in zip(one_rate, other, strict=True)
    ]
    seeds = [len(a & b) / TOP for rows in picked for a, b in combinations(rows, 2)]
    return float(np.mean(rates)), float(np.mean(seeds))


def findings(table: Table) -> list[Finding]:
    found = {run: overlaps(attention(table, *run)) for run in RUNS}
    zero = attention(table, *RUNS[0])
    picks = ", ".join(
        f"{sorted(int(l) for l in 10 + np.argsort(-row[10:])[:TOP])} (η = {rate:g})"
        for rate, row in zip(RATES, zero.mean(axis=1), strict=True)
    )
    held = [np.exp(entropy(attention(table, *run))).mean(axis=1) for run in RUNS[:2]]
    rest = found[RUNS[2]]
    return [
        statement(
            "Different rates pick different subsets (start at zero)",
            f"overlap of the top {TOP} between rates {found[RUNS[0]][0]:.2f}; they pick the tokens "
            f"{picks}, of which 10 is the rarest distinct one and 19 the most frequent",
            found[RUNS[0]][0] < DIFFERENT,
        ),
        statement(
            "The same (random start)",
            f"overlap between rates {found[RUNS[1]][0]:.2f}",
            found[RUNS[1]][0] < DIFFERENT,
        ),
        statement(
            "Attention ends sparse",
            "e^entropy for η = 0.1, 0.5, 1 is "
            f"{' and '.join(', '.join(f'{h:.1f}' for h in part) for part in held)} of {SHOWN} "
            "tokens from zero and from the random start",
            max(h.max() for h in held) < SPARSE,
        ),
        derived(
            "That the rate decides from zero, and the rate alone, is ours",
            f"overlap between seeds {found[RUNS[0]][1]:.2f} from zero, {found[RUNS[1]][1]:.2f} "
            f"from the random start; momentum {rest[0]:.2f} between rates, {rest[1]:.2f} between "
            "seeds",
            found[RUNS[0]][1] > TWICE * found[RUNS[0]][0],
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(TEXT, 2.4))
    hues, markers = (BLUE, GREEN, VERMILLION), "os^"
    for axes, run, name in zip(panels[:2], RUNS[:2], NAMES[:2], strict=True):
        c = attention(table, *run)
        for rate, hue, marker, rows in zip(RATES, hues, markers, c, strict=True):
            axes.plot(
                rows[0], color=hue, marker=marker, markersize=3, linewidth=0.9,
                label=f"$\\eta$ = {rate:g}",
            )  # fmt: skip
        axes.axvline(9.5, color=GREY, linewidth=0.9, linestyle="--")
        axes.set(xlabel="token: common | distinct", ylabel="attention of class 0")
        axes.set_title(name)
        axes.legend(loc="upper left")
    values = np.array([overlaps(attention(table, *run)) for run in RUNS])
    place = np.arange(len(RUNS))
    for k, (label, hue) in enumerate((("between rates", ORANGE), ("between seeds", BLUE))):
        panels[2].barh(place + 0.4 * k - 0.2, values[:, k], height=0.36, color=hue, label=label)
    panels[2].axvline(TOP / 10, color=GREY, linewidth=0.9, linestyle=":", label="by chance")
    panels[2].set(yticks=place, xlim=(0, 1), ylim=(2.6, -1.7), xlabel=f"overlap of the top {TOP}")
    panels[2].set_yticklabels([name.replace(", ", "\n").replace(" from", "\nfrom")
                               for name in NAMES])  # fmt: skip
    panels[2].set_title("Same subsets?")
    panels[2].legend(loc="upper right", fontsize="small")
    return figure
