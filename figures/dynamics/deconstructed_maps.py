"""Measures of attention maps with a part left out, on random tokens and on a repeated text."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.heads.attention_metrics import (
    concentration,
    entropy,
    head_diversity,
    local_focus,
    normalised_magnitude,
    sink_weight,
)
from dsf.solvers.heads.deconstructed import mixing_map, qk_source
from dsf.tools.style import BLUE, GREY, TEXT

TITLE = "Copying needs maps that depend on the text; a fixed map copies only text of its own period"
PAPER = (
    "Trained models with a part of attention left out are compared by entropy, concentration "
    "‖A‖_F, diversity over heads, weight on the first token and local focus of their maps (arXiv "
    "2510.11602). Only the definitions are used here; causal uniform rows have the sink weight "
    "H_n/n = 0.074 at n = 64."
)
DIFFERS = (
    "No training: one layer of four induction heads set by hand, of different sharpness (the query "
    "reads the token, the key the token before), on random tokens and on 32 random tokens repeated "
    "once. FixedSeqQK uses another text of the copy kind. The weights of the approximate variant "
    "change sign: its entropy is that of |A|, its ‖A‖_F lies outside the axis, and its heads are "
    "all the same, because it ignores the length of queries and keys."
)
ORDER = 4.8
T, WIDTH, HEADS, SHARPNESS = 64, 32, 4, (4.0, 8.0, 16.0, 32.0)
NAMES = [
    "standard", "taylor", "approximate", "non-approximate", "RndEmbQK", "FixedSeqQK", "StaticEmbQK",
    "mlp",
]  # fmt: skip
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2},
    "default": {"seeds": 10},
    "paper": {"seeds": 100},
}
DATA = ("random", "copy")
INDICATORS = {
    "entropy": "entropy\nover log $i$",
    "concentration": "concentration\n$\\Vert A\\Vert_F$",
    "diversity": "diversity\nof heads",
    "sink": "weight on\nthe first token",
    "focus": "focus on\nthe copy",
    "copied": "tokens\ncopied right",
}


def tokens(data: str, rng: np.random.Generator) -> np.ndarray:
    """T tokens; a copy repeats T/2 different ones."""
    half = rng.permutation(T)[: T // 2]
    return np.concatenate([half, half]) if data == "copy" else rng.integers(T, size=T)


def hidden(x: np.ndarray, book: np.ndarray) -> np.ndarray:
    """[token, token before] in unit vectors: what a previous-token head leaves behind.  The last
    vector of the book stands before the first token."""
    return np.hstack([book[x], book[[T, *x[:-1]]]])


def one(seed: int, data: str, mixer: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)  # the same model and fixed text for both kinds of data
    book = rng.standard_normal((T + 1, WIDTH))
    book /= np.linalg.norm(book, axis=1, keepdims=True)
    noise = rng.standard_normal((T, 2 * WIDTH)) / WIDTH**0.5
    fixed = noise if mixer == "RndEmbQK" else hidden(tokens("copy", rng), book)
    x = tokens(data, rng)
    H = hidden(x, book)
    embeddings = H * np.repeat([1, 0], WIDTH)  # the first layer does not see the token before
    source = qk_source(mixer, H, embeddings, fixed)
    scale = np.sqrt(np.array(SHARPNESS) * WIDTH**0.5)[:, None, None]
    q, k = scale * source[:, :WIDTH], scale * source[:, WIDTH:]
    A = np.broadcast_to(mixing_map(mixer, q, k), (HEADS, T, T))
    positive = normalised_magnitude(A)
    spread = entropy(positive)[:, 1:] / np.log(np.arange(2, T + 1))
    return {
        "entropy": spread.mean(), "concentration": concentration(A).mean(),
        "diversity": head_diversity(A), "sink": sink_weight(A).mean(),
        "focus": local_focus(A, T // 2 - 1).mean(),
        "copied": copied(A[-1], x, book),
    }  # fmt: skip


def copied(A: np.ndarray, x: np.ndarray, book: np.ndarray) -> float:
    """Share of the second half whose next token the sharpest head names: values are the tokens."""
    guess = (A @ book[x] @ book[:T].T).argmax(axis=1)
    return float(np.mean(guess[T // 2 : T - 1] == x[T // 2 + 1 :]))


def compute(profile: str) -> Table:
    seeds = range(PARAMETERS[profile]["seeds"])
    return sweep(
        one, [{"seed": s, "data": d, "mixer": m} for m in NAMES for d in DATA for s in seeds]
    )


def mean(table: Table, mixer: str, data: str, column: str) -> float:
    return float(np.mean(table.where(mixer=mixer, data=data).column(column)))


def measured(table: Table) -> tuple[str, str]:
    share = {m: mean(table, m, "copy", "copied") for m in NAMES}
    focus = {m: mean(table, m, "copy", "focus") for m in NAMES}
    moved = max(
        abs(mean(table, m, "copy", c) - mean(table, m, "random", c))
        for m in ("RndEmbQK", "mlp")
        for c in list(INDICATORS)[:-1]
    )
    large = mean(table, "approximate", "copy", "concentration")
    text = (
        "Share of copied tokens that the sharpest head names, and focus on the copy (mean of four "
        f"heads): {', '.join(f'{share[m]:.2f} and {focus[m]:.2f} ({m})' for m in NAMES)}. The maps "
        f"of RndEmbQK and mlp are the same on both kinds of data (difference {moved:g}); ‖A‖_F of "
        f"the approximate variant is {large:.0f} on the copy."
    )
    can, cannot = ("standard", "FixedSeqQK"), ("non-approximate", "RndEmbQK", "StaticEmbQK", "mlp")
    holds = min(share[m] for m in can) > 0.95 and max(share[m] for m in cannot) < 0.2 and moved == 0
    return text, "no number in the paper" if holds else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 6, figsize=(TEXT, 2.7), sharey=True)
    place = np.arange(len(NAMES))
    for axes, (column, label) in zip(panels, INDICATORS.items(), strict=True):
        for shift, data, hue in ((-0.2, "random", GREY), (0.2, "copy", BLUE)):
            width = [mean(table, m, data, column) for m in NAMES]
            axes.barh(place + shift, width, height=0.4, color=hue, label=f"{data} tokens")
        rest = [mean(table, m, d, column) for m in NAMES for d in DATA if m != "approximate"]
        axes.set_xlim(min(0.0, 1.1 * min(rest)), 1.1 * max(rest))
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
    panels[3].axvline(
        np.sum(1 / np.arange(1, T + 1)) / T, color="black", linewidth=0.7, linestyle=":"
    )
    panels[0].set_yticks(place, NAMES)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
