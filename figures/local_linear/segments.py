"""Regression at test time on maps that change: which untrained layer follows them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers.local_linear.experiments import MODELS, regions, relative_errors, segments
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "Local linear attention follows maps that change; without noise the delta rule is faster"
SEE = (
    "Left: in the first segment of 256 tokens ridge regression on the whole past (Mesa) falls the "
    "fastest, but in the second one (middle) it is held up by the first: there local linear "
    "attention goes on falling, softmax attention stays, DeltaNet with full steps is the first. "
    "Right: where regions alternate at random, DeltaNet forgets each of them and is the last."
)
PAPER = (
    "On piecewise linear, changing maps local linear attention keeps improving inside each "
    "segment and beats all baselines; MesaNet is best only in the first segment; softmax attention "
    "does not profit from more data in a segment; the advantage grows with the dimension (Zuo et "
    "al. 2026, arXiv 2510.01450; the numbers of its plots are not known)."
)
DIFFERS = (
    "Data of ours: 512 tokens, 8 dimensions, 4 outputs, keys of one norm near a centre of each "
    "segment, no noise, where the paper has 1024 tokens. DeltaNet takes full steps "
    "1/|k|^2, which without noise is Kaczmarz's method. Regions that alternate are ours."
)
ORDER = 2
THEOREMS = ("local_linear/segments", "local_linear/interleaved")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2, "widths": [4, 8]},
    "default": {"seeds": 6, "widths": [4, 8, 16]},
    "paper": {"seeds": 20, "widths": [4, 8, 16, 32]},
}
S, D = 256, 8
HUES = {"linear": GREY, "mesa": GREEN, "softmax": ORANGE, "lla": BLUE, "deltanet": VERMILLION}
NAMES = {"linear": "linear attention", "mesa": "Mesa", "softmax": "softmax attention",
         "lla": "local linear attention", "deltanet": "DeltaNet"}  # fmt: skip
BINS = 16
FALLS = 0.5  # an error that ends below this part of what it was half-way keeps improving


def one(data: str, seed: int, d: int) -> list[dict[str, Any]]:
    """Mean errors in pieces of the stream: `at` is the first token of a piece."""
    k, v = segments(seed, S, d=d) if data == "segments" else regions(seed)
    rows = []
    for model in MODELS:
        e = np.concatenate([[np.nan], relative_errors(model, k, v)])
        for at in range(0, len(k), BINS):
            piece = e[max(at, 1) : at + BINS]
            rows.append({"model": model, "at": at, "error": float(piece.mean())})
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    tasks: list[dict[str, Any]] = [
        {"data": "segments", "seed": s, "d": d} for d in p["widths"] for s in range(p["seeds"])
    ]
    tasks += [{"data": "regions", "seed": s, "d": D} for s in range(p["seeds"])]
    return sweep(one, tasks)


def course(table: Table, model: str, data: str, first: int, last: int, d: int = D) -> np.ndarray:
    """Mean errors of the pieces that start at first .. last - 1."""
    rows = table.where(model=model, data=data, d=d)
    return np.array([
        np.mean(rows.where(at=at).column("error")) for at in range(first, last, BINS)
    ])  # fmt: skip


def whole(table: Table, model: str, data: str = "segments", d: int = D) -> float:
    return float(np.mean(table.where(model=model, data=data, d=d).column("error")))


def findings(table: Table) -> list[Finding]:
    later = {m: course(table, m, "segments", S, 2 * S) for m in MODELS}
    first = {m: course(table, m, "segments", 0, S) for m in MODELS}
    half = len(later["lla"]) // 2
    gain = {m: float(x[-2:].mean() / x[half - 1 : half + 1].mean()) for m, x in later.items()}
    all_ = {m: whole(table, m) for m in MODELS}
    turn = {m: whole(table, m, "regions") for m in MODELS}
    late = {m: float(x[-4:].mean()) for m, x in first.items()}
    ratios = {d: whole(table, "softmax", d=d) / whole(table, "lla", d=d)
              for d in table.values("d")}  # fmt: skip
    told = ", ".join(f"{NAMES[m]} {x:.3f}" for m, x in sorted(all_.items(), key=lambda e: e[1]))
    others = [m for m in MODELS if m not in ("lla", "deltanet")]
    grows = list(ratios.values())
    return [
        statement(
            "Local linear attention keeps improving inside a segment",
            f"in the second segment its error at the end is {gain['lla']:.2f} of that half-way",
            gain["lla"] < FALLS,
        ),
        statement(
            "Softmax attention does not profit from more data in a segment",
            f"its error at the end is {gain['softmax']:.2f} of that half-way",
            gain["softmax"] > FALLS,
        ),
        statement(
            "MesaNet is best only in the first segment",
            f"last quarter of the first: Mesa {late['mesa']:.1e}, softmax attention "
            f"{late['softmax']:.2f}, local linear attention {late['lla']:.1e}; of the second: "
            f"{later['mesa'][-4:].mean():.2f}, {later['softmax'][-4:].mean():.2f}, "
            f"{later['lla'][-4:].mean():.2f} (DeltaNet left out, which is below all)",
            late["mesa"] < min(late[m] for m in others if m != "mesa")
            and late["mesa"] < late["lla"]
            and later["lla"][-4:].mean() < later["mesa"][-4:].mean(),
        ),
        statement(
            "Local linear attention beats all baselines",
            f"mean errors over both segments: {told}",
            all_["lla"] < min(x for m, x in all_.items() if m != "lla"),
        ),
        statement(
            "The advantage of local linear attention grows with the dimension",
            "error of softmax attention over its own: "
            + ", ".join(f"{r:.2f} (d = {d})" for d, r in ratios.items()),
            all(x < y for x, y in pairwise(grows)),
        ),
        derived(
            "Nothing on regions that alternate",
            "mean errors: "
            + ", ".join(f"{NAMES[m]} {x:.3f}" for m, x in sorted(turn.items(), key=lambda e: e[1])),
            turn["deltanet"] > max(turn[m] for m in ("mesa", "softmax", "lla")),
        ),
        unknown(
            "Nothing on linear attention in numbers",
            f"divided by the count: {all_['linear']:.2f} and {turn['linear']:.2f}, where the "
            "answer 0 has 1",
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(TEXT, 2.7), sharey=True)
    panels = (
        ("The first segment", "segments", 0, S, "token of the segment"),
        ("The second segment", "segments", S, 2 * S, "token of the segment"),
        ("8 regions in random order", "regions", 0, 256, "token"),
    )
    for ax, (title, data, first, last, label) in zip(axes, panels, strict=True):
        for m in MODELS:
            y = course(table, m, data, first, last)
            x = np.arange(len(y)) * BINS + BINS / 2
            ax.plot(x, y, color=HUES[m], label=NAMES[m])
        ax.axhline(1, color=BLACK, linewidth=0.6, linestyle=":")
        ax.set(yscale="log", xlabel=label, ylim=(1e-6, 6))
        ax.set_title(title)
    axes[0].set_ylabel("relative squared error")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=5,
                  fontsize="small")  # fmt: skip
    return figure
