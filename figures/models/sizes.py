"""Effective state-sizes beside certified counts, for every head of a language model."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from dsf.figures import Finding, Table, derived, statement
from dsf.figures.dsf._common import plain_log
from dsf.figures.models._again import KEPT, numbers, part
from dsf.figures.models._survey import AGAIN, PROFILES, RTOL, retrieving, survey, whole
from dsf.tools.style import BLACK, BLUE, GREY, ORANGE, TEXT, VERMILLION

TITLE = "The mean over cuts stays below the certified count; the entropy form is no bound"
SEE = (
    "Left: no dot is above the grey line, the tolerance form of the effective state-size is at "
    "most the certified count, and often half of it. Right: the entropy form lies on both sides, "
    "so it orders heads but counts nothing."
)
PAPER = (
    "The effective state-size at a token is the rank of its Hankel block, in practice the number "
    "of singular values above a tolerance, or the exponential of their entropy; averages over "
    "tokens and heads follow how much a model remembers (Parnichkun et al. 2025, arXiv "
    "2504.19561; read about: tolerances and normaliser are not known)."
)
DIFFERS = (
    "SmolLM2-135M-Instruct (30 layers of 9 heads, weights of 4 bits) on 512 tokens: a text of our "
    "own, random tokens that come twice, random keys with values that come again in another "
    "order. Effective state-sizes are means over 16 cuts; the tolerance is the error. "
    "Relative errors in the operator norm; counts are proved for these inputs alone. "
    "Profile default draws the kept result and computes one head again, from its queries and "
    "keys; profile smoke takes a small transformer of random weights."
)
ORDER = 4
THEOREMS = ("dsf/hankel_lower_bound",)
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = PROFILES
HUES = {"text": BLUE, "repeat": VERMILLION, "pairs": ORANGE}
FORMS = ("tolerance", "entropy")
NAMES = {"text": "text", "repeat": "random, twice", "pairs": "keys and values"}


def compute(profile: str) -> Table:
    if PARAMETERS[profile]["weights"] == KEPT:
        return retrieving(__file__, ("necessary", "sufficient", *FORMS))
    return whole(survey(profile))


def findings(table: Table) -> list[Finding]:
    low, high, mean, entropy, ranks = {}, {}, {}, {}, {}
    for e in RTOL:
        rows = whole(table, rtol=e)
        low[e], high[e], mean[e], entropy[e] = (
            np.array(rows.column(c), float)
            for c in ("necessary", "sufficient", "tolerance", "entropy")
        )
        ranks[e] = [
            spearmanr(*(whole(table, rtol=e, probe=p).column(c) for c in (c1, "sufficient")))[0]
            for c1 in FORMS for p in NAMES
        ]  # fmt: skip
    first, last = RTOL
    above, below = np.sum(entropy[first] > high[first]), np.sum(entropy[last] < low[last])
    return [
        statement(
            "The rank of a Hankel block is a lower bound of the states at that token",
            f"tolerance form over necessary states, median: "
            f"{np.median(mean[first] / np.fmax(low[first], 1)):.2f} at error {first:g}, "
            f"{np.median(mean[last] / np.fmax(low[last], 1)):.2f} at {last:g}; never above what "
            "suffices",
            all(bool(np.all(mean[e] <= high[e])) for e in RTOL),
        ),
        derived(
            "The entropy form has no tolerance, so it is no bound",
            f"above what suffices at error {first:g} for {above} of {len(low[first])} rows, below "
            f"what is necessary at {last:g} for {below}",
            True,
        ),
        derived(
            "How well either form orders heads is not known",
            "; ".join(
                f"rank correlation with what suffices at error {e:g}: "
                + ", ".join(f"{x:.2f}" for x in ranks[e][:3]) + " (tolerance form; text, repeated, "
                "pairs), " + ", ".join(f"{x:.2f}" for x in ranks[e][3:]) + " (entropy form)"
                for e in RTOL
            ),
            True,
        ),
        *numbers(table, FORMS, AGAIN),
    ]  # fmt: skip


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(TEXT, 3.0), sharex=True, sharey=True)
    e = RTOL[-1]
    ends = np.array([1.0, max(whole(table, rtol=e).column("sufficient"))])
    for at, name, title in zip(axes, FORMS, ("tolerance form", "entropy form"), strict=True):
        for probe, hue in HUES.items():
            rows = whole(table, rtol=e, probe=probe)
            at.plot(rows.column("sufficient"), rows.column(name), ".", ms=3, color=hue,
                    alpha=0.7, label=NAMES[probe])  # fmt: skip
        at.plot(ends, ends, color=GREY, lw=1, label="equal")
        again = part(whole(table, rtol=e), name)
        if again:
            at.plot(again.column("sufficient_again"), again.column(f"{name}_again"), "o", ms=6,
                    mfc="none", mec=BLACK, label="computed again")  # fmt: skip
        at.set(xscale="log", yscale="log", xlabel=f"states that suffice at error {e:g}",
               title=title)  # fmt: skip
        plain_log(at.xaxis)
        plain_log(at.yaxis)
    axes[0].set_ylabel("effective state-size")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure
