"""Attention over more and more keys flattens unless its temperature grows with their number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.attention_metrics import entropy
from dsf.solvers.interventions import position_temperature, softmax

TITLE = "A constant temperature dilutes attention, a logarithmic one keeps it for bounded logits"
PAPER = (
    "Selective self-attention scales the queries by 1 + c log n over n keys so that attention does "
    "not flatten in long contexts; the code learns c = exp(−exp(b)) per layer (Zhang et al. 2024, "
    "arXiv 2411.12892). No number is given for this experiment."
)
DIFFERS = (
    "An experiment of our own: one relevant key leads by Δ = 3 on average, all logits carry "
    "uniform noise of ±2, so that it does not always win; c is fitted on n ≤ 256 by the "
    "cross-entropy of the relevant key and used for all n. The last panel has no relevant key: "
    "independent Gaussian logits, for which log n is the wrong order and √(2 log n) the right one."
)
ORDER = 5
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"largest": 10, "draws": 50},
    "default": {"largest": 14, "draws": 200},
    "paper": {"largest": 16, "draws": 1000},
}
GAP, NOISE, FITTED = 3.0, 2.0, (16, 64, 256)
BOUNDED = ("constant", "logarithmic, c = 1/Δ", "learned c")
GAUSSIAN = {
    "constant": lambda n: 1.0,
    "0.5 log n": lambda n: 0.5 * math.log(n),
    "0.7 √(2 log n)": lambda n: 0.7 * math.sqrt(2 * math.log(n)),
}


def logits(n: int, draws: int, seed: int) -> np.ndarray:
    """Bounded logits [draws n]; key 0 is the relevant one."""
    s = np.random.default_rng([seed, n]).uniform(-NOISE, NOISE, (draws, n))
    # the same noise of the relevant key for every n, so that only n differs
    s[:, 0] = GAP + np.random.default_rng(seed).uniform(-NOISE, NOISE, draws)
    return s


def loss(coefficient: float, draws: int, seed: int) -> float:
    """Cross-entropy of the relevant key, mean over the lengths used for fitting."""
    total = 0.0
    for n in FITTED:
        s = float(position_temperature(np.array(n), coefficient)) * logits(n, draws, seed)
        total += float(np.mean(np.logaddexp.reduce(s, axis=1) - s[:, 0]))
    return total / len(FITTED)


def fitted(draws: int, seed: int) -> float:
    """The c = exp(-exp(b)) in (0, 1) of least loss, on draws that are not used otherwise."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda b: loss(math.exp(-math.exp(b)), draws, seed + 1), bounds=(-6, 3), method="bounded"
    )
    return math.exp(-math.exp(found.x))


def one(largest: int, draws: int, seed: int) -> list[dict[str, Any]]:
    learned = fitted(1000, seed)
    rows: list[dict[str, Any]] = []
    for n in 2 ** np.arange(4, largest + 1):
        s = logits(int(n), draws, seed)
        for name, c in zip(BOUNDED, (0.0, 1 / GAP, learned), strict=True):
            A = softmax(float(position_temperature(np.array(n), c)) * s)
            rows.append({
                "logits": "bounded", "temperature": name, "n": n, "c": c,
                "entropy": entropy(A).mean() / math.log(n), "weight": A[:, 0].mean(),
            })  # fmt: skip
        g = np.random.default_rng([int(seed), int(n), 1]).standard_normal((draws, n))
        for name, tau in GAUSSIAN.items():
            H = entropy(softmax(tau(n) * g)).mean() / math.log(n)
            rows.append({"logits": "gaussian", "temperature": name, "n": n, "entropy": H})
    return rows


def compute(profile: str) -> Table:
    return sweep(one, [{**PARAMETERS[profile], "seed": SEED}])


def measured(table: Table) -> tuple[str, str]:
    first, last = min(table.column("n")), max(table.column("n"))
    parts, ends = [], {}
    for name in BOUNDED:
        rows = table.where(logits="bounded", temperature=name)
        ends[name] = (rows[0]["weight"], rows[-1]["weight"])
        c = rows[0]["c"]
        parts.append(f"{ends[name][0]:.3f} → {ends[name][1]:.3f} ({name}, c = {c:.3f})")
    spread = []
    for name in GAUSSIAN:
        rows = table.where(logits="gaussian", temperature=name)
        spread.append(f"{rows[0]['entropy']:.2f} → {rows[-1]['entropy']:.2f} ({name})")
    text = (
        f"Weight of the relevant key from n = {first} to {last}: {', '.join(parts)}. Entropy over "
        f"log n for Gaussian logits: {', '.join(spread)}; there log n sharpens too much."
    )
    kept = all(b > 0.5 * a for a, b in (ends[BOUNDED[1]], ends[BOUNDED[2]]))
    holds = kept and ends["constant"][1] < 0.1 * ends["constant"][0]
    return text, "no number in the paper" if holds else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    from dsf.style import BLUE, GREEN, TEXT, VERMILLION

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.7))
    looks = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, ":", "^"))
    panels = (
        (left, "bounded", BOUNDED, "weight", "weight of the relevant key"),
        (middle, "bounded", BOUNDED, "entropy", "entropy / log $n$"),
        (right, "gaussian", tuple(GAUSSIAN), "entropy", "entropy / log $n$"),
    )
    titles = ("Bounded logits: weight", "Bounded logits: entropy", "Gaussian logits: entropy")
    for (axes, kind, names, column, label), title in zip(panels, titles, strict=True):
        for name, (hue, line, marker) in zip(names, looks, strict=True):
            rows = table.where(logits=kind, temperature=name)
            look = {"color": hue, "linestyle": line, "marker": marker, "label": name}
            axes.plot(rows.column("n"), rows.column(column), **look)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="number of keys $n$", ylabel=label, ylim=(0, 1))
        axes.set_title(title)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    right.legend(loc="lower left")
    return figure
