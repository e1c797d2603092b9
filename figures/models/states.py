"""States that every head of a language model needs, layer by head, on three inputs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived
from dsf.figures.models._again import KEPT, part
from dsf.figures.models._again import counts as counts_again
from dsf.figures.models._survey import (
    AGAIN,
    INDUCTION,
    PREVIOUS,
    PROFILES,
    RTOL,
    SINK,
    grid,
    retrieving,
    survey,
    whole,
)
from dsf.tools.style import BLACK, TEXT, VERMILLION

TITLE = "Heads that retrieve need nearly half as many states as tokens; a text does not show it"
SEE = (
    "Right, from top to bottom: on a text tens of states do for every head, on repeated random "
    "tokens and on keys with values some cells turn bright, among them the induction heads "
    "(stars), up to half of the tokens. Left: at an error of a tenth nearly all of this is dark, "
    "for these heads look at one token most of the time (circles), which is most of their norm."
)
PAPER = (
    "Which heads can become recurrent is chosen by scores on probes or by trained gates; ablated "
    "on key-value retrieval, 2 % of the heads carry it (2602.11374, read about). Counts with proof "
    "of a trained model's heads are not known to us."
)
DIFFERS = (
    "SmolLM2-135M-Instruct (30 layers of 9 heads, weights of 4 bits) on 512 tokens: a text of our "
    "own, random tokens that come twice, random keys with values that come again in another "
    "order. Relative errors in the operator norm; counts are proved for these inputs alone. "
    "Profile default draws the kept result and counts one head again, from its queries and keys; "
    "profile smoke takes a small transformer of random weights."
)
ORDER = 1
THEOREMS = ("dsf/hankel_lower_bound",)
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = PROFILES
FEW = 32  # states of a head that is called recurrent
NAMES = {"text": "a text", "repeat": "random, twice", "pairs": "keys and values"}


def compute(profile: str) -> Table:
    if PARAMETERS[profile]["weights"] == KEPT:
        return retrieving(__file__, ("necessary", "sufficient"))
    return whole(survey(profile))


def kinds(table: Table) -> dict[str, list[tuple[int, int]]]:
    """(layer, head) of the heads one knows: sinks and previous-token heads on the text."""
    text, again = (whole(table, probe=p, rtol=RTOL[0]) for p in ("text", "repeat"))
    return {
        "sink": [(r["layer"], r["head"]) for r in text if r["sink"] > SINK],
        "previous": [(r["layer"], r["head"]) for r in text if r["previous"] > PREVIOUS],
        "induction": [(r["layer"], r["head"]) for r in again if r["induction"] > INDUCTION],
    }


def findings(table: Table) -> list[Finding]:
    found = []
    for e in RTOL:
        said = []
        for probe, name in NAMES.items():
            rows = whole(table, probe=probe, rtol=e)
            low, high = (np.array(rows.column(c)) for c in ("necessary", "sufficient"))
            said.append(
                f"{name}: half of the heads at most {np.median(high):g}, nine in ten "
                f"{np.quantile(high, 0.9):g}, the most {low.max()} to {high.max()}"
            )
        found.append(derived(f"Counts at error {e:g} are not known", "; ".join(said), True))
    known = kinds(table)
    counts = {p: grid(table, "sufficient", probe=p, rtol=RTOL[-1]) for p in NAMES}
    sinks = set(known["sink"]) & set(known["induction"])
    worst = np.max(np.array(list(counts.values())), 0)
    retrieving = [
        f"{layer}.{head}: {counts['text'][head, layer]:g} on the text, "
        f"{counts['repeat'][head, layer]:g} on repeated tokens"
        for layer, head in sorted(
            known["induction"], key=lambda x: -counts["repeat"][x[1], x[0]]
        )[:3]
    ]  # fmt: skip
    return [
        *found,
        derived(
            "Heads by what they look at",
            f"{len(known['sink'])} sinks, {len(known['previous'])} previous-token heads, "
            f"{len(known['induction'])} induction heads, {len(sinks)} of them sinks on the text",
            True,
        ),
        derived(
            "A text alone misjudges heads that retrieve",
            "; ".join(retrieving) or "no induction head here",
            True,
        ),
        derived(
            f"Heads for which {FEW} states suffice at error {RTOL[-1]:g}",
            f"{int(np.sum(counts['text'] <= FEW))} of {worst.size} on the text, "
            f"{int(np.sum(worst <= FEW))} on all three inputs",
            True,
        ),
        *counts_again(table, AGAIN),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    top = max(table.column("sufficient"))
    figure, axes = plt.subplots(3, 2, figsize=(TEXT, 4.4), sharex=True, sharey=True)
    known = kinds(table)
    marks = {"sink": "o", "previous": "^", "induction": "*"}
    for row, probe in zip(axes, NAMES, strict=True):
        for at, e in zip(row, RTOL, strict=True):
            counts = np.fmax(grid(table, "sufficient", probe=probe, rtol=e), 1)
            picture = at.imshow(
                counts, norm=LogNorm(1, top), cmap="viridis", aspect="auto", origin="lower",
                interpolation="nearest",
            )  # fmt: skip
            at.grid(visible=False)
            if probe == "text":
                at.set_title(f"error {e:g}")
        row[0].set_ylabel(f"{NAMES[probe]}\nhead")
        for at, (kind, mark) in product(row, marks.items()):
            if known[kind]:
                x, y = np.array(known[kind]).T
                face = "white" if kind == "induction" else "none"
                at.plot(
                    x, y, mark, ms=5 if kind == "induction" else 4, mfc=face, mec="white",
                    mew=0.8, label=kind if probe == "text" else None,
                )  # fmt: skip
    again = part(table, "necessary")
    for r in again:
        at = axes[list(NAMES).index(r["probe"]), RTOL.index(r["rtol"])]
        at.plot(r["layer"], r["head"], "s", ms=8, mfc="none", mec=VERMILLION, mew=1.2)
    for at in axes[-1]:
        at.set_xlabel("layer")
        for axis in (at.xaxis, at.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(picture, ax=axes, label="states that suffice", shrink=0.8)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    handles = [
        plt.Line2D([], [], ls="", marker=m, mfc=BLACK if k == "induction" else "none", mec=BLACK,
                   label=f"{k} head" if k != "previous" else "previous-token head")
        for k, m in marks.items()
    ]  # fmt: skip
    if again:
        handles.append(plt.Line2D([], [], ls="", marker="s", mfc="none", mec=VERMILLION,
                                  label="counted again"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
