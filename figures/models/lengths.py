"""How the states that heads need grow with the length of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived
from dsf.figures.dsf._common import plain_log
from dsf.figures.models._survey import PROFILES, RTOL, survey
from dsf.tools.style import BLUE, GREY, ORANGE, TEXT, VERMILLION

TITLE = "At error 0.1 counts hardly grow with a text; heads that retrieve need states in proportion"
SEE = (
    "The blue lines, the text, stay nearly level on the left: the median head needs no more "
    "states for 512 tokens than for 64. The red dashed line, the most demanding head on repeated "
    "random tokens, runs along the grey one, half of the tokens."
)
PAPER = (
    "A state of fixed size is enough for a head whose count stops growing. How counts of trained "
    "heads grow with the length is not known to us from a paper."
)
DIFFERS = (
    "SmolLM2-135M-Instruct (30 layers of 9 heads, weights of 4 bits) on 512 tokens: a text of our "
    "own, random tokens that come twice, random keys with values that come again in another "
    "order. Shorter inputs are the first tokens of the long ones. "
    "Relative errors in the operator norm; counts are proved for these inputs alone. "
    "Profiles smoke and default take a small transformer of random weights."
)
ORDER = 3
THEOREMS = ("dsf/hankel_lower_bound", "dsf/softmax_states_table")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = PROFILES
HUES = {"text": BLUE, "repeat": VERMILLION, "pairs": ORANGE}
NAMES = {"text": "text", "repeat": "random, twice", "pairs": "keys and values"}


def compute(profile: str) -> Table:
    return survey(profile)


def curve(table: Table, probe: str, rtol: float, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths, and a quantile over heads of the states that suffice."""
    lengths = sorted(table.values("tokens"))
    return np.array(lengths), np.array([
        np.quantile(table.where(probe=probe, rtol=rtol, tokens=L).column("sufficient"), quantile)
        for L in lengths
    ])  # fmt: skip


def slopes(table: Table, probe: str, rtol: float) -> np.ndarray:
    """States per doubling of the tokens for each head: least squares of the middles of counts."""
    rows = table.where(probe=probe, rtol=rtol)
    heads: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for r in rows:
        middle = (r["necessary"] + r["sufficient"]) / 2
        heads.setdefault((r["layer"], r["head"]), []).append((np.log2(r["tokens"]), middle))
    found = []
    for points in heads.values():
        doublings, counts = np.array(points).T
        found.append(np.polyfit(doublings, counts, 1)[0])
    return np.array(found)


def findings(table: Table) -> list[Finding]:
    found = []
    lengths = sorted(table.values("tokens"))
    for e in RTOL:
        said = []
        for probe, name in NAMES.items():
            s = slopes(table, probe, e)
            _, median = curve(table, probe, e, 0.5)
            _, most = curve(table, probe, e, 1.0)
            said.append(
                f"{name}: median {median[0]:g} to {median[-1]:g}, most {most[0]:g} to "
                f"{most[-1]:g}, a doubling adds {np.median(s):.2f} (median head), "
                f"{np.quantile(s, 0.9):.1f} (nine in ten)"
            )
        found.append(derived(
            f"Growth at error {e:g} from {lengths[0]} to {lengths[-1]} tokens is not known",
            "; ".join(said), True,
        ))  # fmt: skip
    return found


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(TEXT, 2.7), sharey=True)
    for at, e in zip(axes, RTOL, strict=True):
        for probe, hue in HUES.items():
            L, median = curve(table, probe, e, 0.5)
            at.plot(L, np.fmax(median, 1), color=hue, marker="o", label=f"{NAMES[probe]}, median")
            at.plot(L, np.fmax(curve(table, probe, e, 1.0)[1], 1), color=hue, marker="s", ms=3,
                    ls="--", label=f"{NAMES[probe]}, the most")  # fmt: skip
        at.plot(L, L / 2, color=GREY, lw=1, label="half of the tokens: the most there can be")
        at.set(xscale="log", yscale="log", xlabel="tokens", title=f"error {e:g}")
        at.set_xticks(L, [str(x) for x in L])
        at.minorticks_off()
        plain_log(at.yaxis)
    axes[0].set_ylabel("states that suffice")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
