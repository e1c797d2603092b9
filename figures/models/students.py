"""Students of attention heads: what is proved to be out of reach, and what fits reach."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived, unknown
from dsf.figures.models._again import KEPT, beside, numbers
from dsf.figures.models._again import part as part_of
from dsf.figures.models._trained import captured, projections, sequences
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, TEXT, VERMILLION

TITLE = "Frozen students end near balanced truncation, and one text does not teach a layer"
SEE = (
    "With gates per channel (red) or erasing (purple) students end about where balanced truncation "
    "(grey) does, above the proved floor (black), but not for head 16.0, which looks at the token "
    "before; with one decay per token (blue) they come as near as with gates per channel, by "
    "queries and keys of very different sizes: the curves nearly coincide. Last two: maps of the "
    "inputs fitted to one text fail on others (dashed) and more texts bring both together; from "
    "the head's own projections (black) GLA ends behind what drawn maps (green) come to, and rows "
    "of sum 1, which need fewer texts, end where these do."
)
PAPER = (
    "Transformers are distilled into Mamba-2 by first matching mixing matrices, then hidden "
    "states, then predictions (Bick et al. 2024, arXiv 2408.10189). How near n states can come to "
    "a head, and how much text this takes, is not in the abstract, which is all we could read."
)
DIFFERS = (
    "Single heads, not a model. Profile paper: six heads of SmolLM2-135M-Instruct (weights of 4 "
    "bits), layer and head from 0, on the first 128 tokens of Python's built-in help; and a random "
    "kernel. Profile default draws the kept result and fits the random kernel again; profile "
    "smoke has random weights alone. Errors are Frobenius norms strictly "
    "below the diagonal over that of the head. Each token has its own queries, keys and "
    "gates, frozen for this text; in the last two panels they are maps of the input of the layer, "
    "with 8 states, tested on later texts. Copied projections are the best 8 of the 64 directions "
    "of the head's queries and keys, without its rotations. Fits are local minima of few steps; "
    "those of Mamba-2 and gated DeltaNet start from the kernel of the fitted GLA."
)
ORDER = 6
THEOREMS = ("dsf/hankel_lower_bound", "dsf/balanced_truncation")
SEED = 0
L = 128
STATES = (1, 2, 4, 8)
HEADS = ("0.0", "9.2", "11.6", "16.0", "20.6", "21.2")
RANDOM = "random"
CLASSES = ("gla", "gated_deltanet", "mamba2")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"heads": (), "length": 24, "states": (1, 2), "iterations": 10, "texts": (1, 4),
              "learner": RANDOM, "tests": 4, "steps": 10},
    "default": {"heads": KEPT, "length": L, "states": (1, 2, 4), "iterations": 100},
    "paper": {"heads": HEADS, "length": L, "states": STATES, "iterations": 100,
              "texts": (1, 4, 16), "learner": "21.2", "tests": 8, "steps": 60},
}  # fmt: skip
WIDTH = 16  # of the inputs of the random teacher
LEARNT = 8  # states of the students that read inputs
NORMALISED = "linear_attn(phi=exp, normalise=True)"
COPIED = "copied"
LEARNERS = (  # class, start, loss
    ("gla", "drawn", "kernel"), ("gla", "realization", "kernel"), ("gla", COPIED, "kernel"),
    (NORMALISED, "drawn", "kl"), (NORMALISED, COPIED, "kl"),
)  # fmt: skip
HUES = {"gla": VERMILLION, "gated_deltanet": PURPLE, "mamba2": BLUE}
WIDTHS = {"gla": 3.0, "gated_deltanet": 1.9, "mamba2": 0.9}  # curves that lie on each other
STARTS = {"drawn": GREEN, "realization": ORANGE, COPIED: BLACK}
PHRASES = {"drawn": "drawn maps", "realization": "the realization", COPIED: "copied projections"}
NAMES = {"gla": "GLA", "gated_deltanet": "gated DeltaNet", "mamba2": "Mamba-2"}
KEYS, ERRORS = ("what", "head", "into", "states"), ("floor", "balanced", "sequential", "fitted")
ROOM = 0.01  # relative: last bits lead a fit to another end
BEHIND = 1.1  # times an error: what fits in local minima may differ by
APART = 1.5  # times the error on the texts of the fit: it does not carry over


def random_kernel(length: int) -> np.ndarray:
    """Softmax of random logits, queries and keys of width 4."""
    q, k = np.random.default_rng(7).standard_normal((2, length, 4))
    x = np.where(np.tri(length, dtype=bool), q @ k.T / 2, -np.inf)
    w = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(w / w.sum(1, keepdims=True))


def frozen(head: str, M: np.ndarray, p: dict[str, Any]) -> list[dict[str, Any]]:
    """Floor, truncations and students of one kernel."""
    rows = []
    for into in CLASSES:
        found = dsf.distil(M, into, p["states"], iterations=p["iterations"], seed=SEED)
        rows += [
            {
                "what": "frozen", "head": head, "into": into, "states": r.states,
                "floor": r.floor.lower, "balanced": r.balanced, "sequential": r.sequential,
                "start": r.start, "fitted": r.fitted,
                "largest_query": float(np.abs(r.tokens.q).max()),
            }
            for r in found.rows
        ]  # fmt: skip
    return rows


def few(Wq: np.ndarray, Wk: np.ndarray) -> dict[str, np.ndarray]:
    """Projections [1 d n] to n states nearest to those [d m] of a head with scores /sqrt(m).

    W'q W'k' / sqrt(n) = the best approximation of rank n of Wq Wk' / sqrt(m)
    """
    U, s, V = np.linalg.svd(Wq @ Wk.T * np.sqrt(LEARNT / Wq.shape[1]))
    root = np.sqrt(s[:LEARNT])
    return {"Wq": (U[:, :LEARNT] * root)[None], "Wk": (V[:LEARNT].T * root)[None]}


def learned(
    head: str, M: np.ndarray, u: np.ndarray, copied: dict[str, np.ndarray], p: dict[str, Any]
) -> list[dict[str, Any]]:
    """Errors on texts of the fit and on later ones, by how many there were."""
    most, rows = max(p["texts"]), []
    for texts in p["texts"]:
        for into, start, loss in LEARNERS:
            found = dsf.distil(
                M[:texts], into, LEARNT, inputs=u[:texts], loss=loss,
                start=copied if start == COPIED else start, iterations=p["steps"], seed=SEED,
            )  # fmt: skip
            rows.append({
                "what": "learned", "head": head, "texts": texts, "into": into, "start_from": start,
                "floor": found.floor, "start": found.error(M[:texts], u[:texts], found.start),
                "fitted": found.error(M[:texts], u[:texts]),
                "test": found.error(M[most:], u[most:]),
            })  # fmt: skip
    return rows


def random_teacher(count: int, length: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Kernels of softmax attention with random weights, on random inputs, and its projections."""
    u = np.random.default_rng(SEED).standard_normal((count, length, WIDTH))
    mech = dsf.softmax.init(WIDTH, n=WIDTH, seed=SEED)
    own = mech.parameters()
    return mech.kernel(u)[:, 0], u, (own["Wq"][0], own["Wk"][0])


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rows = frozen(RANDOM, random_kernel(p["length"]), p)
    if p["heads"] == KEPT:
        return beside(__file__, KEYS, [{k: r[k] for k in (*KEYS, *ERRORS)} for r in rows])
    count = max(p["texts"]) + p["tests"]
    if p["learner"] == RANDOM:
        M, u, own = random_teacher(count, p["length"])
    else:
        for head, (kernels, _) in captured(p["heads"], sequences(1, p["length"])).items():
            rows += frozen(f"head {head}", kernels[0], p)
        M, u = captured((p["learner"],), sequences(count, p["length"]))[p["learner"]]
        own = projections(p["learner"])
    name = RANDOM if p["learner"] == RANDOM else f"head {p['learner']}"
    return Table([*rows, *learned(name, M, u, few(*own), p)])


def findings(table: Table) -> list[Finding]:
    rows = table.where(what="frozen")
    most = max(rows.values("states"))
    every = [rows.where(head=h) for h in rows.values("head")]
    best = [min(r.where(states=most).column("fitted")) for r in every]
    room = [b / r.where(states=most)[0]["floor"] for b, r in zip(best, every, strict=True)]
    cells = [part.where(states=n) for part in every for n in part.values("states")]
    ahead = [min(c.column("fitted")) <= c[0]["balanced"] for c in cells]
    scalar, channel = (
        [r.where(states=most, into=c)[0]["fitted"] for r in every] for c in ("mamba2", "gla")
    )
    ratio = [a / b for a, b in zip(scalar, channel, strict=True)]
    largest = max(rows.where(states=most, into="mamba2").column("largest_query"))
    gla, normal = (
        {start: courses(table, into, start) for start in STARTS} for into in ("gla", NORMALISED)
    )
    one, last = gla["drawn"][0], gla["drawn"][-1]
    both = [start for start in STARTS if normal[start]]
    ratios = [c[COPIED][-1]["test"] / c["drawn"][-1]["test"] for c in (gla, normal)]
    heads = "a random kernel" if len(every) == 1 else f"{len(every) - 1} heads and a random kernel"
    found = [
        unknown(
            "How near a head can be come by is not said",
            f"{most} states, {heads}: best students at {span(room)} times the proved floor",
        ),
        unknown(
            "Nothing on truncation",
            f"the best student is at or below balanced truncation in {sum(ahead)} of "
            f"{len(ahead)} cases",
        ),
    ]
    if len(every) == 1:
        return [*found, unknown("Nothing on one decay per token",
                                "random weights do not tell of trained heads")]  # fmt: skip
    return [
        *found,
        derived(
            "Nothing on one decay per token",
            f"Mamba-2, frozen, {most} states: errors {span(ratio)} times those of GLA, above "
            f"{BEHIND:g} times in {sum(x > BEHIND for x in ratio)} of {len(ratio)}, with queries "
            f"up to {largest:.0e}",
            max(ratio) <= BEHIND,
        ),
        derived(
            "Nothing on the amount of text",
            f"{one['head']}, maps fitted to {one['texts']} text: {one['fitted']:.2f} there, "
            f"{one['test']:.2f} on others; to {last['texts']} texts: {last['fitted']:.2f} and "
            f"{last['test']:.2f}",
            one["test"] > APART * one["fitted"] and last["test"] < APART * last["fitted"],
        ),
        derived(
            "Nothing on the rows of students",
            f"{last['texts']} texts: linear attention on exponential features with rows of sum 1 "
            + ", ".join(
                f"ends at {normal[s][-1]['test']:.2f} on others and GLA at "
                f"{gla[s][-1]['test']:.2f} from {PHRASES[s]}"
                for s in both
            ),
            all(normal[s][-1]["test"] < gla[s][-1]["test"] for s in both),
        ),
        derived(
            "Nothing on what copied projections are worth beside other starts",
            "GLA: "
            + "; ".join(
                f"{PHRASES[s]}: {c[0]['start']:.2f} at the start, {c[0]['fitted']:.2f} fitted to "
                f"{c[0]['texts']} text, {c[0]['test']:.2f} on others; to {c[-1]['texts']} texts "
                f"{c[-1]['fitted']:.2f} and {c[-1]['test']:.2f}"
                for s, c in gla.items()
            ),
            ratios[0] > BEHIND and 1 / BEHIND < ratios[1] < BEHIND,
        ),
        *numbers(table, ERRORS, "errors for the random kernel", ROOM),
    ]


def courses(table: Table, into: str, start: str) -> Table:
    """The students of a class from a start, by the number of texts."""
    return table.where(what="learned", into=into, start_from=start)


def span(values: list[float]) -> str:
    """The least and the largest."""
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    rows = table.where(what="frozen")
    heads = rows.values("head")
    across = 3
    down = -(-(len(heads) + 2) // across)
    figure, axes = plt.subplots(down, across, figsize=(TEXT, 2.1 * down + 0.4), squeeze=False)
    places = list(axes.flat)
    lowest = min(rows.column("floor"))
    for ax, head in zip(places, heads, strict=False):
        part = rows.where(head=head)
        own = part.where(into=CLASSES[0])
        n = own.column("states")
        ax.plot(n, own.column("floor"), "-", color=BLACK, label="proved floor")
        ax.plot(n, own.column("balanced"), "--", color=GREY, label="balanced truncation")
        for into in CLASSES:
            ax.plot(n, part.where(into=into).column("fitted"), "o-", color=HUES[into],
                    linewidth=WIDTHS[into], markersize=3, label=NAMES[into])  # fmt: skip
        if head == RANDOM and (redone := part_of(rows, "fitted")):
            ax.plot(redone.column("states"), redone.column("fitted_again"), "o", color=BLACK,
                    mfc="none", markersize=8, label="fitted again")  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="states", ylim=(lowest / 1.3, 1.0))
        ax.set_xticks(n, [str(x) for x in n])
        ax.minorticks_off()
        ax.set_title("random kernel" if head == RANDOM else head)
    ends = table.where(what="learned")
    panels = (("gla", "GLA of inputs"), (NORMALISED, "rows of sum 1"))
    for ax, (into, title) in zip(places[len(heads) :], panels, strict=False):
        for start, hue in STARTS.items():
            if part := courses(table, into, start):
                texts = part.column("texts")
                ax.plot(texts, part.column("fitted"), "o-", color=hue, markersize=3,
                        label=PHRASES[start])  # fmt: skip
                ax.plot(texts, part.column("test"), "o--", color=hue, markersize=3)
                ax.plot(texts, part.column("floor"), ":", color=GREY)
        ax.set(xscale="log", yscale="log", xlabel="texts in the fit",
               ylim=(lowest / 1.3, 1.2 * max(1.0, *ends.column("test"))))  # fmt: skip
        ax.set_xticks(texts, [str(x) for x in texts])
        ax.minorticks_off()
        ax.set_title(f"{ends[0]['head']}, {title}")
    starts, lines = places[len(heads) : len(heads) + 2]
    starts.legend(fontsize="small", loc="lower right")
    styles = {"-": "texts of the fit", "--": "other texts", ":": "proved floor"}
    keys = [plt.Line2D([], [], color=GREY, ls=style, label=x) for style, x in styles.items()]
    lines.legend(handles=keys, fontsize="small", loc="lower right")
    for ax in axes[:, 0]:
        ax.set_ylabel("relative error")
    for ax in places[len(heads) + 2 :]:
        ax.set_axis_off()
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=6,
                  fontsize="small")  # fmt: skip
    return figure
