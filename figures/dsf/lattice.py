"""The lattice of mechanisms, drawn from the nestings that were proved."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from dsf.core import catalogue
from dsf.core.errors import CertificateError
from dsf.core.family import Family
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.figures.dsf._layout import faults, place
from dsf.relations.edge import where
from dsf.tools.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    TEXT,
    VERMILLION,
    color,
)
from dsf.verdicts.lattice.paths import NESTINGS, Nesting, edge, hasse

TITLE = "Which mechanism is a special case of which"
PAPER = (
    "Linear attention, S6 and gated RNNs are instances of one recurrence; S6 and linear attention "
    "coincide under conditions, SSD is S6 with a shared scalar step, the gate of S6 is a power of "
    "the reversed sigmoid of the qLSTM (Sieber et al. 2024). The paper draws no lattice."
)
DIFFERS = (
    "Every edge is a statement about all token sequences in their domains, gates free, proved per "
    "step by computer algebra at small sizes. Dashed: the general mechanism tends to the special "
    "one, for each length, as a gate goes to the open end of its domain; whether it also reaches "
    "it exactly is not drawn. Edges that follow from others are left out, and so are families that "
    "only add a skip connection or drop the unit length of keys. Where the inclusion holds both "
    "ways at some sizes only, the edge says so, and where it is paid for with more rows of the "
    "state or with other heads."
)
SEE = (
    "Follow a solid line upwards to a mechanism of which the lower one is a special case: from "
    "RetNet over Mamba-2 to GLA and RWKV-6. A dashed line from linear attention says that it is "
    "proved to be a limit of the upper one, and whether it is more is left open."
)
ORDER = 1
THEOREMS = ("dsf/lattice", "dsf/limits_only")
SEED = 0
PARAMETERS: dict[str, dict[str, list[str]]] = {
    "smoke": {"only": ["linear_attn", "retnet", "mamba2", "mamba", "gla", "rwkv6"]},
    "default": {"only": []},
    "paper": {"only": []},
}
COLUMNS = 6
HIDDEN = {"skip": True, "unit_keys": False}  # options of families that are not drawn
LINE = "#404040"
ARROW = {"arrowstyle": "-|>", "linestyle": "--", "color": LINE, "shrinkA": 0, "shrinkB": 0}
KINDS = ("equal", "nested", "limit")
COLOURS = {
    BLACK: "softmax attention", ORANGE: "linear attention", SKY: "retention, gated RNNs",
    GREEN: "time-invariant SSMs", BLUE: "selective SSMs", VERMILLION: "gated linear attention",
    PURPLE: "delta rules", GREY: "nonlinear RNNs",
}  # fmt: skip
MARKS = {  # what an edge asks for, by the words of its token map
    "2n rows": "2n", "d n states": "d·n", "one head": "h ↔ c",
}  # fmt: skip
MEANING = {
    "2n": "2n: with twice the rows of the state",
    "d·n": "d·n: with the states of all channels in one",
    "h ↔ c": "h ↔ c: heads of the one are channels of the other",
}
# what the paper says, and the edges of the table that say the same
STATED = (
    ("SSD is S6 with a shared scalar step", ("mamba2 -> mamba",)),
    ("The gate of S6 is a power of the reversed sigmoid of the qLSTM",
     ("qlstm = qlstm(reversed=True)", "qlstm -> mamba2")),
    ("S6 and linear attention coincide under conditions", ("linear_attn -> mamba",)),
)  # fmt: skip
Pair = tuple[int, int]


def chosen(only: list[str]) -> list[Nesting]:
    """The edges between the families of these names; all for none."""
    return [e for e in NESTINGS if not only or {e.special.name, e.general.name} <= {*only}]


def prove(name: str) -> dict[str, Any]:
    """The certificate of one edge, made and checked; an edge that does not prove is not drawn."""
    e = edge(name)
    row = {"part": "proof", "kind": e.kind, "text": e.describe()}
    try:
        certificate = e.certificate()
        return {**row, "strength": certificate.strength.value, "checked": certificate.check()}
    except CertificateError as error:
        print(error)
        return {**row, "strength": "not proved", "checked": False}


def classes(families: list[Family], edges: list[Nesting]) -> list[tuple[Family, ...]]:
    """Families that are nested in each other without a limit, together."""
    up = {f: {f} for f in families}
    for _ in families:
        for e in edges:
            if e.kind != "limit" and not e.only and e.special in up and e.general in up:
                up[e.special] |= up[e.general]
                if e.kind == "equal":
                    up[e.general] |= up[e.special]
    return list(
        dict.fromkeys(tuple(g for g in families if g in up[f] and f in up[g]) for f in families)
    )


def label(members: tuple[Family, ...]) -> str:
    """The names in a box: families with the same name differ in the options that are listed."""
    lines: list[str] = []
    for name in dict.fromkeys(f.name for f in members):
        same = [f for f in members if f.name == name]
        lines.append(name if not lines else f"= {name}")
        for key in dict.fromkeys(k for f in same for k in f.static):
            values = list(dict.fromkeys(f.defaults().get(key) for f in same))
            if set(values) == {False, True}:
                text = f"{key} or not"
            else:
                text = f"{key}: " + " = ".join("yes" if v is True else str(v) for v in values)
            lines += textwrap.wrap(text, 22)
    return "\n".join(lines)


def mark(e: Nesting) -> str | None:
    """What an edge asks for beside other coefficients."""
    return next((sign for words, sign in MARKS.items() if words in e.text), None)


def between(nodes: list[tuple[Family, ...]]) -> tuple[dict[Pair, Nesting], dict[Pair, str]]:
    """For two nodes (low, high) the strongest edge, which is drawn; and notes on edges."""
    node = {f: i for i, members in enumerate(nodes) for f in members}
    drawn: dict[Pair, Nesting] = {}
    notes: dict[Pair, str] = {}
    for e in hasse():
        pair = node.get(e.special, -1), node.get(e.general, -1)
        if -1 in pair or pair[0] == pair[1]:
            continue
        if e.only:  # an inclusion for some sizes only is a note on the edge that goes back
            notes[pair[1], pair[0]] = where(e.only)
        elif pair not in drawn or KINDS.index(e.kind) < KINDS.index(drawn[pair].kind):
            drawn[pair] = e
    for low, high in list(drawn):
        if drawn[low, high].kind == "limit" and (high, low) in drawn:
            notes[high, low] = "limit"
            del drawn[low, high]
    return drawn, notes


def diagram(only: list[str]) -> list[dict[str, Any]]:
    """Nodes with their places, and edges between them."""
    edges = chosen(only)
    families = list(dict.fromkeys(f for e in edges for f in (e.special, e.general)))
    families = [f for f in families if not any(f.static.get(k) == v for k, v in HIDDEN.items())]
    nodes = classes(families, edges)
    drawn, notes = between(nodes)
    used = sorted({i for pair in drawn for i in pair})
    order = {i: k for k, i in enumerate(used)}
    pairs = [(order[a], order[b]) for a, b in drawn]
    places = place(pairs, len(used), COLUMNS, SEED)
    rows: list[dict[str, Any]] = [
        {"part": "node", "name": f"node {i}", "text": label(nodes[i]), "family": nodes[i][0].name,
         "x": int(x), "y": int(y)}
        for i, (x, y) in zip(used, places, strict=True)
    ]  # fmt: skip
    rows += [
        {"part": "edge", "name": e.name, "kind": e.kind, "low": f"node {a}", "high": f"node {b}",
         "note": notes.get((a, b)), "mark": mark(e)}
        for (a, b), e in drawn.items()
    ]  # fmt: skip
    rows.append({"part": "faults of the layout", "x": faults(places, pairs)})
    alone = sorted(
        {*catalogue.families()} - {f.name for members in (nodes[i] for i in used) for f in members}
    )
    if not only:
        rows += [{"part": "alone", "name": n} for n in alone]
    return rows


def compute(profile: str) -> Table:
    only = PARAMETERS[profile]["only"]
    rows = sweep(prove, [{"name": e.name} for e in chosen(only)])
    return Table([*rows, *diagram(only)])


def findings(table: Table) -> list[Finding]:
    proofs = table.where(part="proof")
    good = [r for r in proofs if r["strength"] == "exact" and r["checked"]]
    bad = [r["name"] for r in proofs if r not in good]
    counts = {kind: sum(r["kind"] == kind for r in good) for kind in KINDS}
    alone = table.where(part="alone").column("name") if table.where(part="alone") else []
    found = []
    for words, names in STATED:
        texts = [r["text"] for r in good if r["name"] in names]
        if all(name in proofs.column("name") for name in names):
            found.append(
                statement(words, "; ".join(texts) or "not proved", len(texts) == len(names))
            )
    ours = (
        f"{len(good)} of {len(proofs)} edges are proved exactly and their certificates check: "
        f"{counts['equal']} equalities, {counts['nested']} inclusions, {counts['limit']} limits"
    )
    if alone:
        ours += f"; no inclusion in another class is proved for {', '.join(alone)}"
    if bad:
        ours += f"; not proved and not drawn: {', '.join(bad)}"
    return [*found, derived("No lattice is drawn", ours, not bad)]


def _draw_edge(axes: Any, a: np.ndarray, b: np.ndarray, row: dict[str, Any]) -> None:
    """The line from the special case a up to b, with its note and its mark."""
    style = "--" if row["kind"] == "limit" else "-"
    axes.plot(*np.transpose([a, b]), style, color=LINE, linewidth=1, zorder=1)
    words = [row["mark"]] if row["mark"] else []
    if row["note"] == "limit":
        start, end = a + 0.74 * (b - a) + [0.2, 0], a + 0.25 * (b - a) + [0.2, 0]
        axes.annotate("", end, start, arrowprops=ARROW)
    elif row["note"]:
        words.append(f"= if {row['note']}")
    pad = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    if words:
        axes.text(*(a + b) / 2, "\n".join(words), size=6, ha="center", va="center", bbox=pad)


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    nodes = {r["name"]: r for r in table.where(part="node")}
    left = min(r["x"] for r in nodes.values())
    right, top = (max(r[axis] for r in nodes.values()) for axis in "xy")
    alone = table.where(part="alone")
    figure, axes = plt.subplots(figsize=(TEXT, 2.1 + 0.7 * top + 0.3 * bool(alone)))
    axes.set_axis_off()
    axes.set(xlim=(left - 0.55, right + 0.55), ylim=(-1.0 if alone else -0.4, top + 0.35))
    proved = table.where(part="proof", checked=True).column("name")
    edges = Table(r for r in table.where(part="edge") if r["name"] in proved)
    for r in edges:
        a, b = (np.array([nodes[r[end]]["x"], nodes[r[end]]["y"]]) for end in ("low", "high"))
        _draw_edge(axes, a, b, r)

    def box(x: float, y: float, text: str, family: str) -> None:
        frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "linewidth": 1.4}
        frame["edgecolor"] = color(family)
        axes.text(x, y, text, size=6, ha="center", va="center", bbox=frame, zorder=2)

    for r in nodes.values():
        box(r["x"], r["y"], r["text"], r["family"])
    if alone:
        words = "no inclusion in\nanother class proved:"
        axes.text(left - 0.5, -0.85, words, size=6, va="center")
        for i, r in enumerate(alone):
            box(left + 1 + 1.25 * i, -0.85, r["name"], r["name"])
    families = [r["family"] for r in nodes.values()] + [r["name"] for r in alone]
    figure.legend(handles=_handles(edges, {color(f) for f in families}),
                  loc="outside lower center", ncols=3, fontsize="small")  # fmt: skip
    return figure


def _handles(edges: Table, colours: set[str]) -> list[Any]:
    """The entries of the legend: what lines, signs on lines and colours of boxes mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def line(label: str, **look: Any) -> Line2D:
        return Line2D([], [], **{"color": LINE, "linewidth": 1, "label": label, **look})

    lines = [
        line("lower is a special case of upper"),
        line("lower is a limit of upper", linestyle="--"),
    ]
    if "limit" in edges.column("note"):
        lines.append(line("upper is a limit of lower, too", linestyle="--", marker="v"))
    seen = edges.column("mark")
    lines += [line(text, linewidth=0) for sign, text in MEANING.items() if sign in seen]
    boxes = [
        Patch(facecolor="white", edgecolor=hue, linewidth=1.4, label=text)
        for hue, text in COLOURS.items()
        if hue in colours
    ]
    half = -(-len(boxes) // 2)
    columns = (lines, boxes[:half], boxes[half:])
    height = max(len(c) for c in columns)  # a legend is filled column by column
    return [h for c in columns for h in (*c, *[line(" ", linewidth=0)] * (height - len(c)))]
