"""How often training reaches the best tokens, a locally optimal selection, or neither."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.figures.svm._common import stack, start
from dsf.solvers.dynamics.descent import descend, descend_factors
from dsf.solvers.dynamics.outcomes import classify
from dsf.solvers.svm.instances import draw as draw_instance
from dsf.tools.style import BLACK, BLUE, GREY, SKY, TEXT, VERMILLION

Array = np.ndarray

TITLE = "In more dimensions training reaches the global solution more often"
PAPER = (
    "Bars of global, local and other outcomes against the dimension d, for T = 5 with n in {5, 10, "
    "20} and n = 5 with T in {5, 10, 20}, for W and for (K, Q), and how often all tokens are "
    "support vectors: the fraction of global outcomes tends to 1 (Tarzanagh et al. 2023, "
    "Transformers as SVMs). The number of trials and the values of d are not known to us."
)
DIFFERS = (
    "1000 steps; our own random data. A run counts as unclassified if a sample leaves more than "
    "0.001 of its attention on other tokens, or if its selection is not separable. Whether a "
    "selection of W is locally optimal is judged by the Frobenius solution, and by the nuclear one "
    "for (K, Q); support vectors are those of the Frobenius solution."
)
SEE = (
    "In every panel the dark blue part of the bars, the runs that end at the best tokens, grows "
    "with the dimension, long before the black bars do. More samples or tokens shift the growth "
    "to the right, and in low dimensions many runs are not yet decided (grey)."
)
ORDER = 1
THEOREMS = ("svm/global_convergence", "svm/separability")
SEED = 0
SETTINGS = [(5, 5), (10, 5), (20, 5), (5, 10), (5, 20)]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"settings": [(5, 5)], "d": [2, 10, 50], "trials": 20, "steps": 1000},
    "default": {"settings": SETTINGS, "d": [2, 5, 10, 20, 50], "trials": 20, "steps": 1000},
    "paper": {"settings": SETTINGS, "d": [2, 5, 10, 20, 50, 100], "trials": 100, "steps": 1000},
}
OUTCOMES = ("global", "local", "not local", "unclassified")
MODES = ("W", "K, Q")
SIGMAS = 3.0  # standard errors: some fifty steps from one d to the next are judged at once
NEAR_ONE = 0.9  # a share that has come this far is called near 1; a limit in d is never reached


def fractions(
    n: int, T: int, d: int, mode: str, trials: int, steps: int, seed: int
) -> dict[str, Any]:
    """The share of every outcome among `trials` runs, and of runs whose tokens are all active.

    Runs that end at no locally optimal selection are continued to ten times the steps: `later` is
    the share that then still is at none.
    """
    runs = [draw_instance(seed + k, n, T, d) for k in range(trials)]
    K, Q = (start(d, seed + k, trials) for k in range(2))
    W, factors = train(mode, K, Q, runs, steps)
    names, active = zip(*(outcome(mode, w, i) for w, i in zip(W, runs, strict=True)), strict=True)
    lost = [k for k in range(trials) if names[k] == "not local"]
    later = 0
    if lost:
        rest = [runs[k] for k in lost]
        K, Q = (F[lost] for F in factors)
        W, _ = train(mode, K, Q, rest, 9 * steps)
        later = sum(outcome(mode, w, i)[0] == "not local" for w, i in zip(W, rest, strict=True))
    shares = {name: names.count(name) / trials for name in OUTCOMES}
    return shares | {"later": later / trials, "all active": float(np.mean(active))}


def outcome(mode: str, W: Array, i: Any) -> tuple[str, bool]:
    """The name of the outcome of one run, and whether all its tokens are support vectors."""
    found = classify(W, i.X, i.z, i.scores)
    active = found.all_active
    if mode == "K, Q" and "LOCAL" in found.outcome.name:
        found = classify(W, i.X, i.z, i.scores, "nuclear")
    return found.outcome.name.lower().replace("_", " "), active


def train(mode: str, K: Array, Q: Array, runs: list[Any], steps: int) -> tuple[Array, Any]:
    """The weights W [S d d] after `steps` from K (W trained) or K Q', and what to go on from."""
    data = stack(runs)
    if mode == "W":
        W = descend(K, *data, record=(steps,))[:, 0]
        return W, (W, Q)
    K, Q = (F[:, 0] for F in descend_factors(K, Q, *data, record=(steps,)))
    return K @ np.swapaxes(Q, 1, 2), (K, Q)


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"trials": p["trials"], "steps": p["steps"], "seed": SEED}
    grid = [
        {"n": n, "T": T, "d": d, "mode": mode, **rest}
        for n, T in p["settings"]
        for d in p["d"]
        for mode in MODES
    ]
    return sweep(fractions, grid)


def findings(table: Table) -> list[Finding]:
    trials, steps, d = table[0]["trials"], table[0]["steps"], table.values("d")
    lines = {(n, T, m): table.where(n=n, T=T, mode=m) for n, T in _settings(table) for m in MODES}
    first, last = ([rows[k]["global"] for rows in lines.values()] for k in (0, -1))
    falls = sum(rises(b, a) for rows in lines.values() for a, b in pairwise(rows))
    grow = [rises(rows[0], rows[-1]) for rows in lines.values()]
    (n, T, mode), least = min(lines.items(), key=lambda kv: kv[1][-1]["global"])
    share = least[-1]["global"]
    limit = "The share of global outcomes tends to 1"
    ours = (
        f"at d = {d[-1]} it is {min(last):.2f} to {max(last):.2f}, least "
        f"({share:.2f} ± {standard_error(least[-1]):.2f}) at n = {n}, T = {T}, training {mode}"
    )
    apart = max(
        abs(a - b)
        for a, b in zip(*(table.where(mode=m).column("global") for m in MODES), strict=True)
    )
    lost, still = (
        [round(sum(table.where(mode=m).column(c)) * trials) for m in MODES]
        for c in ("not local", "later")
    )
    return [
        statement(
            "Global outcomes become more frequent with d",
            f"from {min(first):.2f} to {max(first):.2f} at d = {d[0]} to {min(last):.2f} to "
            f"{max(last):.2f} at d = {d[-1]}, {trials} trials each; beyond {SIGMAS:g} standard "
            f"errors the share rises in {sum(grow)} of {len(grow)} curves and "
            f"falls in {falls} steps",
            all(grow) and not falls,
        ),
        unknown(limit, f"{ours}: not reached, and the share still rises")
        if share < NEAR_ONE and all(grow)
        else statement(limit, ours, share >= NEAR_ONE),
        unknown(
            "Bars for W and for (K, Q), whose heights are not known to us",
            f"their shares of global outcomes differ by {apart:.2f} at most; at no locally optimal "
            f"selection are {lost[0]} runs (W) and {lost[1]} (K, Q) after {steps} steps, "
            f"{still[0]} and {still[1]} of them after {10 * steps}",
        ),
        unknown(
            "How often all tokens are support vectors is drawn; no value is known to us",
            f"in {max(table.column('all active')):.2f} of the runs at most, and global outcomes "
            f"are more frequent in {sum(r['global'] > r['all active'] for r in table)} of "
            f"{len(table)} bars",
        ),
    ]


def standard_error(row: dict[str, Any]) -> float:
    """Of a share of trials, sqrt(p (1 - p)/trials) with p = (hits + 1)/(trials + 2), so that it is
    not 0 where all trials agree."""
    N = row["trials"]
    p = (row["global"] * N + 1) / (N + 2)
    return float(np.sqrt(p * (1 - p) / N))


def rises(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether the share of global outcomes in b lies above that in a by more than their noise."""
    noise = float(np.hypot(standard_error(a), standard_error(b)))
    return b["global"] - a["global"] > SIGMAS * noise


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    settings = _settings(table)
    figure, grid = plt.subplots(
        2, len(settings), figsize=(TEXT, 3.6), sharex="col", sharey=True, squeeze=False
    )
    for column, (n, T) in enumerate(settings):
        for axes, mode in zip(grid[:, column], MODES, strict=True):
            rows = table.where(n=n, T=T, mode=mode)
            x = np.arange(len(rows))
            bottom = np.zeros(len(rows))
            for name, hue in zip(OUTCOMES, (BLUE, SKY, VERMILLION, "#d9d9d9"), strict=True):
                share = np.array(rows.column(name))
                axes.bar(x - 0.1, share, 0.58, bottom=bottom, color=hue, label=name, linewidth=0)
                bottom += share
            axes.errorbar(
                x - 0.1, rows.column("global"), yerr=[standard_error(r) for r in rows],
                color=BLACK, linestyle="none", linewidth=0.8, capsize=1.5,
                label="standard error of global",
            )  # fmt: skip
            axes.bar(x + 0.32, rows.column("all active"), 0.2, color=BLACK, linewidth=0,
                     label="all tokens support vectors")  # fmt: skip
            axes.set(ylim=(0, 1.02))
            axes.grid(False)
            axes.tick_params(axis="x", length=0, colors=GREY, labelcolor=BLACK)
        axes.set_xticks(x, [str(d) for d in rows.column("d")])
        axes.set_xlabel("dimension $d$")
        grid[0, column].set_title(f"$n = {n}$, $T = {T}$")
    for axes, mode in zip(grid[:, 0], MODES, strict=True):
        axes.set_ylabel(f"runs, training ${mode}$")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _settings(table: Table) -> list[tuple[int, int]]:
    return list(dict.fromkeys((r["n"], r["T"]) for r in table))
