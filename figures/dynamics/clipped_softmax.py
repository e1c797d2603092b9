"""The logit gap that softmax needs for almost no attention; zeros and dead rows when clipped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.heads.interventions import clipped_range_needed, clipped_softmax, range_needed
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "Clipped softmax gives exact zeros at a finite range of logits, but sets flat rows to zero"
PAPER = (
    "To attend to almost nothing, softmax needs logits of a wide range, which cause outliers; "
    "clip((ζ − γ) softmax + γ, 0, 1) with γ = −α/T, α from 2 to 4, gives exact zeros at a finite "
    "range (Bondarenko et al. 2023, arXiv 2306.12929). No number is given for these curves."
)
DIFFERS = (
    "Closed forms for one key that leads T − 1 equal others (left), and Gaussian logits (middle "
    "and right). That rows can die is an observation of ours: a row that is clipped to zero as a "
    "whole gets no gradient."
)
SEE = (
    "On the left softmax needs a larger gap for every further decade, while clipped softmax is "
    "done at a finite one. In the grey range that is recommended nearly all weights are zero, and "
    "on the right the rows of flat logits (std 0.3) are zero as a whole."
)
ORDER = 7
THEOREMS = ("training/clipped_softmax_zeros",)
T = 128
# 53 values from 0.05 to 20 in equal ratios, as stored with the kept results: the last bits of
# np.geomspace are not those of every CPU.
# fmt: off
RATIOS = [
    0.05, 0.0561060403293748, 0.06295775522882861, 0.07064620707831132, 0.07927357886906199,
    0.08895453226162928, 0.0998177314910329, 0.11200755337245195, 0.1256860061341878,
    0.14103488258005575, 0.158258176197705, 0.17758479232403476, 0.19927159040031886,
    0.22360679774997896, 0.25091384024965346, 0.2815556408049073, 0.31593944275926183,
    0.3545222223418269, 0.39781676208740246, 0.446398465947542, 0.5009130066684768,
    0.5620849070729989, 0.6307271692954113, 0.7077520799464152, 0.794183334813449,
    0.891169644239215, 1.0, 1.1221208065874961, 1.2591551045765723, 1.4129241415662266,
    1.5854715773812398, 1.7790906452325859, 1.9963546298206583, 2.2401510674490397,
    2.5137201226837553, 2.8206976516011157, 3.1651635239541003, 3.551695846480695,
    3.9854318080063775, 4.47213595499958, 5.018276804993071, 5.631112816098148,
    6.318788855185235, 7.090444446836537, 7.956335241748048, 8.927969318950842,
    10.018260133369537, 11.241698141459983, 12.61454338590822, 14.155041598928298,
    15.883666696268984, 17.8233928847843, 20.0,
]
# fmt: on
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"draws": 200, "alphas": [0.1, 1.0, 3.2, 12.0]},
    "default": {"draws": 2000, "alphas": RATIOS},
    "paper": {"draws": 20000, "alphas": RATIOS},
}
ALPHAS = (0.0, 0.01, 0.1, 0.5)  # of the left panel; 0 is softmax
DECADES = range(1, 17)
SPREADS = (0.3, 1.0, 3.0)
SHOWN = (2, 4, 8, 16)  # decades
PER_DECADE = 0.05  # relative, of the slope ln 10 of softmax, whose first decades are a little less
LAST_DECADE = 1e-6  # of the gap for 10^-DECADES[-1] against the one for an exact zero
RECOMMENDED = 3.2  # alpha of the published BERT runs
DEAD = 0.9  # of the rows: nearly all


def ranges(alpha: float) -> list[dict[str, Any]]:
    """The gap that leaves at most 10^-k to the others."""
    rows = []
    for k in DECADES:
        gap = clipped_range_needed(T, 10.0**-k, alpha) if alpha else range_needed(T, 10.0**-k)
        rows.append({"what": "range", "decade": k, "gap": gap})
    return rows


def shares(spread: float, alpha: float, draws: int) -> dict[str, Any]:
    """Share of exact zeros and of rows of zeros over Gaussian logits."""
    s = spread * np.random.default_rng(0).standard_normal((draws, T))
    zero = clipped_softmax(s, -alpha / T) == 0
    return {"what": "share", "zeros": zero.mean(), "dead": zero.all(axis=1).mean()}


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    first = sweep(ranges, [{"alpha": a} for a in ALPHAS])
    grid = [
        {"spread": s, "alpha": a, "draws": p["draws"]}
        for s in SPREADS
        for a in [*p["alphas"], RECOMMENDED]
    ]
    return Table([*first, *sweep(shares, grid)])


def findings(table: Table) -> list[Finding]:
    plain = {r["decade"]: r["gap"] for r in table.where(what="range", alpha=0.0)}
    needed = ", ".join(f"{plain[k]:.1f} (10^−{k})" for k in SHOWN)
    slope = (plain[DECADES[-1]] - plain[SHOWN[0]]) / (DECADES[-1] - SHOWN[0]) / math.log(10)
    stop = {a: table.where(what="range", alpha=a)[-1]["gap"] for a in ALPHAS[1:]}
    finite = ", ".join(f"{gap:.1f} (α = {a:g})" for a, gap in stop.items())
    dead = [table.where(what="share", alpha=RECOMMENDED, spread=s)[0]["dead"] for s in SPREADS]
    rows = ", ".join(f"{d:.3f} (std {s:g})" for s, d in zip(SPREADS, dead, strict=True))
    return [
        statement(
            "To attend to almost nothing softmax needs logits of a wide range",
            f"a key that leads {T - 1} others needs a gap of {needed} to leave that much to them: "
            "ln 10 for every decade, without an end",
            abs(slope - 1) < PER_DECADE,
        ),
        statement(
            "Clipped softmax gives exact zeros at a finite range",
            f"from a gap of {finite} on, and at any gap for α ≥ T/(T − 1)",
            all(abs(gap - math.log(T / a + 2 - T)) < LAST_DECADE for a, gap in stop.items())
            and clipped_range_needed(T, 0.0, T / (T - 1)) == 0.0,
        ),
        derived(
            "Nothing on rows that die",
            f"at α = {RECOMMENDED} the share of rows of zeros is {rows}",
            dead[0] > DEAD and dead[-1] == 0.0,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.7))
    hues = (BLACK, BLUE, GREEN, ORANGE)
    for a, hue in zip(ALPHAS, hues, strict=True):
        rows = table.where(what="range", alpha=a)
        error = [10.0**-k for k in rows.column("decade")]
        label = "softmax" if a == 0 else f"$\\alpha$ = {a:g}"
        left.plot(error, rows.column("gap"), color=hue, label=label)
    left.set(xscale="log", xlabel="weight left to the other keys", ylabel="logit gap needed")
    left.invert_xaxis()
    left.set_ylim(0, 45)
    left.set_title("A key that leads 127 others")
    left.legend(loc="upper left")
    panels = ((middle, "zeros", "share of exact zeros"), (right, "dead", "share of rows of zeros"))
    for axes, column, label in panels:
        axes.axvspan(2, 4, color=GREY, alpha=0.15, linewidth=0)
        for spread, hue, line in zip(
            SPREADS, (BLUE, VERMILLION, GREEN), ("-", "--", ":"), strict=True
        ):
            points = sorted(table.where(what="share", spread=spread), key=lambda r: r["alpha"])
            x, y = [r["alpha"] for r in points], [r[column] for r in points]
            axes.plot(x, y, color=hue, linestyle=line, label=f"logits of std {spread:g}")
        axes.set(xscale="log", xlabel="$\\alpha$ (grey: recommended)", ylabel=label)
        axes.set_ylim(-0.03, 1.03)
    middle.set_title("Exact zeros")
    right.set_title("Dead rows: no gradient")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return figure
