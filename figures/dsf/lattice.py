"""The lattice of mechanisms, drawn from the nestings that were proved."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from dsf.core import catalogue
from dsf.core.errors import CertificateError
from dsf.core.family import Family
from dsf.figures import Table, sweep
from dsf.figures.dsf._layout import faults, place
from dsf.relations.edge import where
from dsf.tools.style import TEXT, color
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
    "ways at some sizes only, the edge says so."
)
ORDER = 1
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
            values = dict.fromkeys(str(f.defaults().get(key)) for f in same)
            lines += textwrap.wrap(f"{key}: {' = '.join(values)}", 22)
    return "\n".join(lines)


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
         "note": notes.get((a, b))}
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


def measured(table: Table) -> tuple[str, str]:
    proofs = table.where(part="proof")
    good = [r for r in proofs if r["strength"] == "exact" and r["checked"]]
    bad = [r["name"] for r in proofs if r not in good]
    counts = {kind: sum(r["kind"] == kind for r in good) for kind in KINDS}
    alone = table.where(part="alone").column("name") if table.where(part="alone") else []
    text = (
        f"{len(good)} of {len(proofs)} edges are proved exactly and their certificates check: "
        f"{counts['equal']} equalities, {counts['nested']} inclusions, {counts['limit']} limits. "
        f"{len(table.where(part='node'))} classes and {len(table.where(part='edge'))} edges are "
        "drawn."
    )
    if alone:
        text += f" No inclusion is proved for {', '.join(alone)}."
    if bad:
        text += f" Not proved and not drawn: {', '.join(bad)}."
    return text, "agrees" if len(good) == len(proofs) else "does not hold"


def _draw_edge(axes: Any, a: np.ndarray, b: np.ndarray, kind: str, note: str) -> None:
    """The line from the special case a up to b, with its note."""
    style = "--" if kind == "limit" else "-"
    axes.plot(*np.transpose([a, b]), style, color=LINE, linewidth=1, zorder=1)
    if note == "limit":
        start, end = a + 0.74 * (b - a) + [0.13, 0], a + 0.25 * (b - a) + [0.13, 0]
        axes.annotate("", end, start, arrowprops=ARROW)
    elif note:
        pad = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(*(a + b) / 2, f"= if {note}", size=6, ha="center", va="center", bbox=pad)


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    nodes = {r["name"]: r for r in table.where(part="node")}
    left = min(r["x"] for r in nodes.values())
    right, top = (max(r[axis] for r in nodes.values()) for axis in "xy")
    alone = table.where(part="alone")
    figure, axes = plt.subplots(figsize=(TEXT, 1.3 + 0.7 * top + 0.3 * bool(alone)))
    axes.set_axis_off()
    axes.set(xlim=(left - 0.55, right + 0.55), ylim=(-1.0 if alone else -0.4, top + 0.35))
    proved = table.where(part="proof", checked=True).column("name")
    for r in table.where(part="edge"):
        if r["name"] in proved:
            a, b = (np.array([nodes[r[end]]["x"], nodes[r[end]]["y"]]) for end in ("low", "high"))
            _draw_edge(axes, a, b, r["kind"], r["note"])

    def box(x: float, y: float, text: str, family: str) -> None:
        frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "linewidth": 1.4}
        frame["edgecolor"] = color(family)
        axes.text(x, y, text, size=6, ha="center", va="center", bbox=frame, zorder=2)

    for r in nodes.values():
        box(r["x"], r["y"], r["text"], r["family"])
    if alone:
        axes.text(left - 0.5, -0.85, "no inclusion proved:", size=6, va="center")
        for i, r in enumerate(alone):
            box(left + 1 + 1.25 * i, -0.85, r["name"], r["name"])
    handles = [
        Line2D([], [], color=LINE, linewidth=1, label="lower is a special case of upper"),
        Line2D([], [], color=LINE, linewidth=1, linestyle="--", label="as a limit"),
    ]
    if "limit" in table.column("note"):
        handles.append(Line2D([], [], color=LINE, linewidth=1, linestyle="--", marker="v"))
        handles[-1].set_label("upper is a limit of lower, too")
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
