"""How the states that heads need grow with the length of the input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived
from dsf.figures.dsf._common import plain_log
from dsf.figures.models._again import KEPT, beside, counts, part
from dsf.figures.models._kept import HEADS, kept
from dsf.figures.models._survey import KEYS, PROFILES, RTOL, TIME, survey
from dsf.models.probes import TEXT as OWN
from dsf.tools.style import BLACK, BLUE, GREY, ORANGE, TEXT, VERMILLION

TITLE = "On a text the counts of half of the heads hardly grow with its length, the others do"
SEE = (
    "At error 0.1 the two lower lines stay where they are, at 0.01 all lines climb, the lowest "
    "least. The marks at 512, the hardest head on repeated tokens and on keys with values, lie far "
    "above the text and reach the grey line on the right."
)
PAPER = (
    "A state of fixed size is enough for a head whose count stops growing. How counts of trained "
    "heads grow with the length is not known to us from a paper."
)
DIFFERS = (
    "SmolLM2-135M-Instruct (30 layers of 9 heads, weights of 4 bits) on 512 tokens: a text of our "
    "own, random tokens that come twice, random keys with values that come again in another "
    "order. Shorter texts are the first tokens of the long one. "
    "Relative errors in the operator norm; counts are proved for these inputs alone. "
    "Profile default draws the kept result and counts nine heads again on the first 64 and 128 "
    "tokens, from their weights; profile smoke takes a small transformer of random weights."
)
ORDER = 3
THEOREMS = ("dsf/hankel_lower_bound", "dsf/softmax_states_table")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    **PROFILES, "default": {"weights": KEPT, "lengths": [64, 128]},
}  # fmt: skip
QUANTILES = {"half of the heads": 0.5, "nine in ten": 0.9, "hardest head": 1.0}
MARKS = {"repeat": ("s", VERMILLION), "pairs": ("D", ORANGE)}
NAMES = {"repeat": "random tokens, twice", "pairs": "keys and values"}


def counted_again(lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Counts of the heads whose weights are kept, on the first tokens of the text."""
    rows = []
    for (layer, head), L in product(HEADS[OWN], lengths):
        found = dsf.realize(kept(layer, head, tokens=L), rtol=RTOL, time_limit=TIME)
        rows += [
            {"layer": layer, "head": head, "probe": OWN, "tokens": L, "rtol": e,
             "necessary": f.lower, "sufficient": f.upper}
            for e, f in zip(RTOL, found, strict=True)
        ]  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    if p["weights"] == KEPT:
        return beside(__file__, KEYS, counted_again(p["lengths"]))
    columns = ("layer", "head", "probe", "tokens", "rtol", "necessary", "sufficient")
    table = survey(profile)
    last = max(table.values("tokens"))  # the first half of the probes repeats nothing
    return Table([{c: r[c] for c in columns} for r in table
                  if r["probe"] == "text" or r["tokens"] == last])  # fmt: skip


def curve(table: Table, probe: str, rtol: float, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths, and a quantile over heads of the states that suffice."""
    lengths = sorted(table.where(probe=probe).values("tokens"))
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
        s = slopes(table, "text", e)
        spans = [
            f"{name} {c[0]:g} to {c[-1]:g}"
            for name, q in QUANTILES.items() for c in [curve(table, "text", e, q)[1]]
        ]  # fmt: skip
        last = table.where(rtol=e, tokens=lengths[-1])
        most = [f"{NAMES[p]} {max(last.where(probe=p).column('sufficient'))}" for p in MARKS]
        found.append(derived(
            f"Growth at error {e:g} from {lengths[0]} to {lengths[-1]} tokens is not known",
            f"states on the text: {', '.join(spans)}; a doubling adds {np.median(s):.2f} (median "
            f"head), {np.quantile(s, 0.9):.1f} (nine in ten); the hardest head on "
            f"{' and on '.join(most)}",
            True,
        ))  # fmt: skip
    return [*found, *counts(table, f"{len(HEADS[OWN])} heads on the first tokens of the text")]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(TEXT, 2.7), sharey=True)
    last = max(table.values("tokens"))
    for at, e in zip(axes, RTOL, strict=True):
        for (name, q), style in zip(QUANTILES.items(), (":", "--", "-"), strict=True):
            L, counts = curve(table, "text", e, q)
            at.plot(L, np.fmax(counts, 1), color=BLUE, marker="o", ls=style, label=f"text, {name}")
        for probe, (mark, hue) in MARKS.items():
            most = max(table.where(probe=probe, rtol=e, tokens=last).column("sufficient"))
            at.plot(last, most, mark, color=hue, ms=6, label=f"{NAMES[probe]}, hardest head")
        at.plot(L, L / 2, color=GREY, lw=1, label="half of the tokens: the most there can be")
        again = part(table.where(rtol=e), "sufficient")
        if again:
            at.plot(again.column("tokens"), again.column("sufficient_again"), "_", color=BLACK,
                    ms=9, label="nine heads, counted again")  # fmt: skip
        at.set(xscale="log", yscale="log", xlabel="tokens", title=f"error {e:g}")
        at.set_xticks(L, [str(x) for x in L])
        at.minorticks_off()
        plain_log(at.yaxis)
    axes[0].set_ylabel("states that suffice")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
