"""The best recurrence with n states against softmax attention and against exact recall."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.figures.dsf._common import plain_log
from dsf.mechanisms.linear.features import feature_map
from dsf.tools.style import BLACK, ORANGE, PURPLE, TEXT

TITLE = (
    "More states bring a recurrence closer to softmax attention; exact recall of K pairs needs K "
    "states"
)
SEE = (
    "The black band, the best that any recurrence with n states can do, falls far below the orange "
    "line of random features and reaches zero at half the length. The recall matrix keeps the "
    "error 1 for fewer than K states and has none from K states on."
)
PAPER = (
    "Figure 1: on associative recall (MQAR) with L = 256, K = 16 and L = 512, K = 64 pairs, the "
    "accuracy of trained linear attention rises with the state expansion n = 32 .. 256 towards "
    "that of softmax attention (Sieber et al. 2024). Only curves are given, no numbers."
)
DIFFERS = (
    "Nothing is trained and no accuracy is measured. Softmax attention is one head with frozen "
    "Gaussian q, k (key dimension 16); the error is the operator 2-norm of the difference, "
    "relative to that of the head. The band holds the smallest error that any recurrence with n "
    "states can have on this sequence: a proved lower bound from Hankel singular values, and the "
    "proved error of a constructed system. The lower bound covers every linear attention with n "
    "features; the one shown has random features (FAVOR+; median and range over draws). The recall "
    "matrix copies each of K values to the position of its query, placed as in MQAR; in this norm "
    "fewer than K states have an error of at least 1. For reading by argmax an error below 1/2 in "
    "every entry is enough, which needs fewer states."
)
ORDER = 3
THEOREMS = ("dsf/hankel_lower_bound", "dsf/mqar_recall", "dsf/softmax_vs_recurrence")
SEED = 0
STATES = [1, 2, 4, 8, 15, 16, 24, 32, 48, 63, 64, 96, 128]
PARAMETERS = {
    "smoke": {"tasks": ["32:4"], "dim": 4, "states": [1, 2, 3, 4, 8], "draws": 2},
    "default": {"tasks": ["256:16", "512:64"], "dim": 16, "states": STATES, "draws": 9},
    "paper": {
        "tasks": ["64:4", "128:8", "256:16", "512:64"],
        "dim": 16,
        "states": sorted({3, 7, *STATES, 192, 256}),
        "draws": 25,
    },
}
POWER = 0.01  # MQAR: slot g for a query has probability proportional to (g + 1)^(POWER - 1)
FLOOR = 2e-3  # of the axis, where errors of zero are drawn
ROUNDING = 1e-6  # relative errors below it are 0 up to the rounding of the construction
CLOSER = 0.8  # of the error of one feature: the most features are clearly closer
BELOW_ONE = 1 - 1e-9  # a proved bound of 1 loses this much to rounding at most


def softmax_matrix(length: int, dim: int, seed: int) -> tuple[np.ndarray, ...]:
    """M [L L] of a softmax head with Gaussian q, k [L dim], and these q, k over dim^(1/4)."""
    q, k = np.random.default_rng(seed).standard_normal((2, length, dim))
    M, _ = dsf.softmax.without_parameters().weights(dsf.Tokens(q=q, k=k, v=k), length)
    return M, q / dim**0.25, k / dim**0.25


def recall_matrix(length: int, pairs: int, seed: int) -> np.ndarray:
    """R [L L] of MQAR: tokens 2j, 2j+1 are key and value j; the query of pair j reads value j."""
    rng = np.random.default_rng(seed)
    slots = (length - 2 * pairs) // 2
    p = (np.arange(slots) + 1.0) ** (POWER - 1)
    queries = 2 * pairs + 2 * rng.choice(slots, pairs, replace=False, p=p / p.sum())
    R = np.zeros((length, length))
    R[queries, 2 * np.arange(pairs) + 1] = 1
    return R


def random_features(q: np.ndarray, k: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The kernel [L L] of normalised linear attention with `count` random positive features."""
    dim = q.shape[-1]
    mech = dsf.linear_attn(phi="favor", features=count).init(d=dim, n=dim, p=1, seed=seed)
    q, k = (feature_map("favor", x, omega=mech.omega) for x in (q, k))
    kernel = mech.system(dsf.Tokens(q=q, k=k, v=k))[0].kernel()
    return kernel / kernel.sum(-1, keepdims=True)


def best(task: str, target: str, n: int, dim: int, seed: int) -> dict[str, Any]:
    """Bounds of the smallest error of a recurrence with n states."""
    length, pairs = map(int, task.split(":"))
    if target == "softmax":
        M = softmax_matrix(length, dim, seed)[0]
    else:
        M = recall_matrix(length, pairs, seed)
    found = dsf.realize(M, states=n, relative=target == "softmax", time_limit=120.0)
    return {"lower": float(found.lower), "upper": float(found.upper)}


def features(task: str, target: str, n: int, dim: int, seed: int, draws: int) -> dict[str, Any]:
    """The error of n random features with respect to the same head, over several draws."""
    M, q, k = softmax_matrix(int(task.partition(":")[0]), dim, seed)
    errors = [np.linalg.norm(M - random_features(q, k, n, s), 2) for s in range(draws)]
    low, median, high = np.quantile(errors, (0.0, 0.5, 1.0)) / np.linalg.norm(M, 2)
    return {"lower": low, "upper": high, "median": median}


def compute(profile: str) -> Table:
    p: dict[str, Any] = PARAMETERS[profile]
    grid = [
        {"task": task, "target": target, "n": n, "dim": p["dim"], "seed": SEED}
        for task in p["tasks"]
        for target in ("softmax", "recall")
        for n in p["states"]
        if n <= int(task.partition(":")[0]) // 2
    ]
    rows = sweep(best, grid)
    points = [
        {**g, "target": "features", "draws": p["draws"]} for g in grid if g["target"] == "softmax"
    ]
    rows += sweep(features, points)
    return Table(rows)


def percent(row: dict[str, Any]) -> str:
    """The two bounds of a row in words."""
    if row["upper"] < ROUNDING:
        return "0 (below 1e-6 after rounding)"
    return f"{100 * row['lower']:.2g} to {100 * row['upper']:.2g} %"


def findings(table: Table) -> list[Finding]:
    parts, recall, ordered = [], True, True
    closer, features = True, []
    for task in table.values("task"):
        length, pairs = map(int, task.split(":"))
        rows = table.where(task=task, target="softmax")
        drawn = table.where(task=task, target="features")
        shown = [r for r in rows if r["n"] & (r["n"] - 1) == 0]
        found = ", ".join(f"{percent(r)} for n = {r['n']}" for r in shown[-3:])
        parts.append(f"L = {length}: {found}")
        features.append(f"{drawn[0]['median']:.2f} to {drawn[-1]['median']:.2f} (L = {length})")
        closer = closer and drawn[-1]["median"] < CLOSER * drawn[0]["median"]
        closer = closer and rows[-1]["upper"] < CLOSER * rows[0]["upper"]
        pairs_of = zip(rows, drawn, strict=True)
        ordered = ordered and all(a["lower"] <= min(a["upper"], b["lower"]) for a, b in pairs_of)
        for r in table.where(task=task, target="recall"):
            exact = r["upper"] < ROUNDING if r["n"] >= pairs else r["lower"] > BELOW_ONE
            recall = recall and exact
    said = (
        "at least 1 for every n < K, and 0 (below 1e-6 after rounding) from n = K on"
        if recall
        else "not as the theorem says; see the table"
    )
    return [
        statement(
            "Linear attention comes closer to softmax attention as n grows",
            f"error of n random features from n = {table[0]['n']} to the most: "
            f"{', '.join(features)}",
            closer,
        ),
        unknown("Accuracy on MQAR, in curves without numbers", "no accuracy is measured"),
        derived(
            "Nothing on the best recurrence",
            f"its smallest error, relative to the softmax head: {'; '.join(parts)}",
            ordered,
        ),
        derived("Nothing on the recall matrix", f"smallest error {said}", recall),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    tasks = table.values("task")
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(TEXT, 0.8 + 2.2 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axes, task in zip(grid.flat, tasks, strict=True):
        _draw_task(axes, table.where(task=task))
        length, pairs = task.split(":")
        axes.set_title(f"$L = {length}$ tokens, $K = {pairs}$ pairs")
        axes.set(xscale="log", yscale="log", ylim=(FLOOR, 7))
        plain_log(axes.xaxis, (1,))
        axes.set_yticks([FLOOR, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
        axes.set_xticks([n for n in table.values("n") if n & (n - 1) == 0])
        axes.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("states or features $n$")
    for axes in grid[:, 0]:
        axes.set_ylabel("relative error, 2-norm")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1)
    return figure


def _draw_task(axes: Any, rows: Table) -> None:
    """Random features, the best recurrence, and the recall matrix of one length."""
    some = rows.where(target="features")
    n = some.column("n")
    low, median, high = (some.column(name) for name in ("lower", "median", "upper"))
    axes.fill_between(n, low, high, color=ORANGE, alpha=0.25, linewidth=0)
    label = "softmax head, linear attention with n random features: median and range over draws"
    axes.plot(n, median, color=ORANGE, marker="o", label=label)
    best = rows.where(target="softmax")
    n, low, high = best.column("n"), *(_on_axis(best, name) for name in ("lower", "upper"))
    label = "softmax head, best recurrence with n states: band from lower to upper bound"
    axes.fill_between(n, low, high, color=BLACK, alpha=0.35, linewidth=0)
    axes.plot(n, high, color=BLACK, marker="v", linewidth=0.7, clip_on=False, label=label)
    axes.plot(n, low, color=BLACK, linewidth=0.7)
    recall = rows.where(target="recall")
    axes.step(
        recall.column("n"), _on_axis(recall, "upper"), where="post", color=PURPLE, marker="s",
        linestyle="--", markersize=3, clip_on=False,
        label="recall of K pairs, best recurrence with n states: upper bound",
    )  # fmt: skip


def _on_axis(rows: Table, name: str) -> list[float]:
    """A column on the logarithmic axis, on whose foot zero stands."""
    return [max(FLOOR, r[name]) if r["upper"] > ROUNDING else FLOOR for r in rows]
