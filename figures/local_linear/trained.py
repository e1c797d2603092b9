"""Trained mixers on recall, on tracking and on regression in context."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers.local_linear.learning import TASKS, train
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, TEXT, VERMILLION

TITLE = "Trained small, attention recalls, and a delta rule with transitions down to -1 tracks"
SEE = (
    "Left: softmax and local linear attention recall all values after few steps, DeltaNet with its "
    "state of 8 x 8 per head part of them; in the middle all mixers lose the place of an object "
    "that is swapped, but for DeltaNet with transitions down to -1, which keeps it to the end. "
    "Right: errors within segments of a regression, low where a mixer makes use of the pairs it "
    "has seen; the map changes at the dotted line."
)
PAPER = (
    "Local linear attention leads in recall (Zoology's task, no convolutions); in tracking "
    "permutations it is like softmax attention; in regression in context with trained projections "
    "it is better than softmax attention, Mamba, GLA, Hyena and gated DeltaNet, most for short "
    "segments (Zuo et al. 2026, arXiv 2510.01450; the numbers are not known)."
)
DIFFERS = (
    "Small stand-ins: width 16, 2 layers of 2 heads, no hidden layer; 16 of 64 keys with 16 "
    "values, key and value in one token (the paper: 8000 words, pairs of tokens); swaps of 3 "
    "places, 16 of them; regression as in the figure on segments, each token with the pair before "
    "it. Profile default has one seed and few steps; regression there is far from converged."
)
ORDER = 3
THEOREMS = ("dsf/mqar_recall", "dsf/mod3_householder")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {
        "mixers": ["softmax", "deltanet"], "seeds": 1,
        "steps": {"recall": 2, "tracking": 2, "regression": 1},
    },
    "default": {
        "mixers": ["softmax", "lla", "deltanet", "deltanet to -1"], "seeds": 1,
        "steps": {"recall": 1000, "tracking": 1000, "regression": 100},
    },
    "paper": {
        "mixers": ["softmax", "lla", "linear", "deltanet", "deltanet to -1", "gated deltanet",
                   "mesa"],
        "seeds": 2, "steps": {"recall": 1000, "tracking": 1000, "regression": 600},
    },
}  # fmt: skip
POINTS = 10  # at which a run is scored
HUES = {
    "softmax": ORANGE, "lla": BLUE, "linear": GREY, "deltanet": VERMILLION,
    "deltanet to -1": BLACK, "gated deltanet": PURPLE, "mesa": GREEN,
}  # fmt: skip
NAMES = {
    "softmax": "softmax attention", "lla": "local linear attention", "linear": "linear attention",
    "deltanet": "DeltaNet", "deltanet to -1": "DeltaNet, down to -1",
    "gated deltanet": "gated DeltaNet", "mesa": "Mesa",
}  # fmt: skip
ALIKE = 0.05  # a difference of accuracies, or of relative errors, that tells nothing
SOLVED = 0.99
LEARNED = 0.9  # of what a mixer recalls, from which on a run is judged


def one(task: str, mixer: str, seed: int, steps: int) -> list[dict[str, Any]]:
    found = train(mixer, TASKS[task](), steps, max(1, steps // POINTS), seed=seed)
    rows = []
    for step, scores in found:
        last = step == steps
        for at, score in enumerate(scores):
            if np.isfinite(score) and last:
                rows.append({"what": "position", "step": step, "at": at, "score": float(score)})
        rows.append({"what": "mean", "step": step, "at": -1, "score": float(np.nanmean(scores))})
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(one, [
        {"task": task, "mixer": mixer, "seed": seed, "steps": steps}
        for task, steps in p["steps"].items() for mixer in p["mixers"] for seed in range(p["seeds"])
    ])  # fmt: skip


def course(table: Table, task: str, mixer: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and mean scores over seeds."""
    rows = table.where(task=task, mixer=mixer, what="mean")
    steps = np.array(rows.values("step"))
    return steps, np.array([np.mean(rows.where(step=s).column("score")) for s in steps])


def positions(table: Table, task: str, mixer: str) -> tuple[np.ndarray, np.ndarray]:
    rows = table.where(task=task, mixer=mixer, what="position")
    places = np.array(rows.values("at"))
    return places, np.array([np.mean(rows.where(at=a).column("score")) for a in places])


def ends(table: Table, task: str) -> dict[str, float]:
    return {m: float(course(table, task, m)[1][-1]) for m in table.values("mixer")}


def _told(found: dict[str, float], rising: bool) -> str:
    order = sorted(found, key=found.__getitem__, reverse=rising)
    return ", ".join(f"{NAMES[m]} {found[m]:.3f}" for m in order)


def _ahead(paper: str, ours: str, by: float) -> Finding:
    """A statement that one is ahead; no verdict where it is level with the next."""
    if abs(by) < ALIKE:
        return unknown(paper, f"level within {ALIKE:g}: {ours}")
    return statement(paper, ours, by > 0)


def findings(table: Table) -> list[Finding]:
    recall, tracking, error = (ends(table, task) for task in TASKS)
    short = "lla" not in recall or max(recall.values()) < LEARNED
    if short:
        return [unknown("A longer run", "too few steps or mixers to be judged")]
    S = TASKS["regression"]().S
    parts = {m: positions(table, "regression", m)[1] for m in error}
    late = {m: float(x[S + S // 2 :].mean() / x[S : S + S // 2].mean()) for m, x in parts.items()}
    of_paper = ("lla", "softmax", "gated deltanet")
    named: dict[str, float] = {m: error[m] for m in of_paper if m in error}
    found = [
        _ahead(
            "Local linear attention leads in recall",
            _told(recall, True),
            recall["lla"] - max(x for m, x in recall.items() if m != "lla"),
        ),
        statement(
            "In tracking it is like softmax attention",
            _told(tracking, True),
            abs(tracking["lla"] - tracking["softmax"]) < ALIKE,
        ),
        _ahead(
            "In regression in context it is better than softmax attention and gated DeltaNet",
            f"relative squared errors of those trained here: {_told(named, False)}",
            min(x for m, x in named.items() if m != "lla") - error["lla"],
        ),
        unknown(
            "Nothing on others there",
            f"all errors: {_told(error, False)}",
        ),
        unknown(
            "Nothing on courses within a segment",
            "error in the second half of the second segment over that in the first: "
            + _told(late, False),
        ),
    ]  # fmt: skip
    found.append(
        derived(
            "Nothing on transitions down to -1",
            f"tracking: {tracking['deltanet to -1']:.3f} against {tracking['deltanet']:.3f} of "
            "DeltaNet with transitions down to 0",
            tracking["deltanet to -1"] > SOLVED > tracking["deltanet"],
        )
    )
    return found


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.8))
    for m in table.values("mixer"):
        line = "--" if m == "softmax" else "-"  # it often lies on another line
        style: dict[str, Any] = {"color": HUES[m], "label": NAMES[m], "linestyle": line}
        style["zorder"] = 3 if m == "softmax" else 2
        left.plot(*course(table, "recall", m), **style)
        at, right_share = positions(table, "tracking", m)
        middle.plot(at + 1, right_share, **style)
        at, error = positions(table, "regression", m)
        right.plot(at, error, **style)
    chance = {task: 1 / TASKS[task]().sizes[2] for task in ("recall", "tracking")}
    left.axhline(chance["recall"], color=GREY, linewidth=0.6, linestyle=":")
    middle.axhline(chance["tracking"], color=GREY, linewidth=0.6, linestyle=":")
    left.set(xlabel="training step", ylabel="values recalled", ylim=(0, 1.03))
    left.set_title("Recall")
    middle.set(xlabel="swaps so far", ylabel="places known", ylim=(0, 1.03))
    middle.set_title("Tracking")
    right.axvline(TASKS["regression"]().S, color=GREY, linewidth=0.6, linestyle=":")
    right.set(xlabel="token", ylabel="relative squared error", ylim=(0, 1.6))
    right.set_title("Regression in context")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncol=4,
                  fontsize="small")  # fmt: skip
    return figure
