"""How often training reaches the best tokens, a locally optimal selection, or neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.figures.svm._common import stack, start

TITLE = "In more dimensions training reaches the global solution more often"
PAPER = (
    "Bars of global, local and other outcomes against the dimension d, for T = 5 with n in {5, 10, "
    "20} and n = 5 with T in {5, 10, 20}, and how often all tokens are support vectors: the "
    "fraction of global outcomes tends to 1 (Tarzanagh et al. 2023, Transformers as SVMs). The "
    "number of trials and the values of d are not known to us."
)
DIFFERS = (
    "W is trained, not (K, Q); 1000 steps; our own random data. A run counts as unclassified if a "
    "sample leaves more than 0.001 of its attention on other tokens, or if its selection is not "
    "separable."
)
ORDER = 1
SEED = 0
SETTINGS = [(5, 5), (10, 5), (20, 5), (5, 10), (5, 20)]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"settings": [(5, 5)], "d": [2, 10], "trials": 4, "steps": 300},
    "default": {"settings": SETTINGS, "d": [2, 5, 10, 20, 50], "trials": 20, "steps": 1000},
    "paper": {"settings": SETTINGS, "d": [2, 5, 10, 20, 50, 100], "trials": 100, "steps": 1000},
}
OUTCOMES = ("global", "local", "not local", "unclassified")


def fractions(n: int, T: int, d: int, trials: int, steps: int, seed: int) -> dict[str, Any]:
    """The share of every outcome among `trials` runs, and of runs whose tokens are all active."""
    from dsf.solvers.descent import descend
    from dsf.solvers.instances import draw
    from dsf.solvers.outcomes import classify

    X, z, scores = stack([draw(seed + k, n, T, d) for k in range(trials)])
    W = descend(start(d, seed, trials), X, z, scores, record=(steps,))[:, 0]
    found = [classify(W[k], X[k], z[k], scores[k]) for k in range(trials)]
    names = [f.outcome.name.lower().replace("_", " ") for f in found]
    shares = {name: names.count(name) / trials for name in OUTCOMES}
    return shares | {"all active": float(np.mean([f.all_active for f in found]))}


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"trials": p["trials"], "steps": p["steps"], "seed": SEED}
    return sweep(
        fractions, [{"n": n, "T": T, "d": d, **rest} for n, T in p["settings"] for d in p["d"]]
    )


def measured(table: Table) -> tuple[str, str]:
    parts, rises, top = [], [], []
    for n, T in _settings(table):
        rows = table.where(n=n, T=T)
        share = rows.column("global")
        parts.append(f"n = {n}, T = {T}: {', '.join(f'{g:.2f}' for g in share)}")
        rises.append(share[-1] > share[0])
        top.append(share[-1])
    trials = table[0]["trials"]
    local = min(r["global"] + r["local"] for r in table if r["d"] > table[0]["d"])
    d = ", ".join(str(x) for x in table.values("d"))
    text = (
        f"Global outcomes among {trials} trials at d = {d}: {'; '.join(parts)}. Above the smallest "
        f"d, at least {local:.2f} of the runs end at a locally optimal selection. All tokens are "
        f"support vectors in {max(table.column('all active')):.2f} of the runs at most, so the "
        "global outcomes come earlier than that condition explains."
    )
    return text, "agrees" if all(rises) and min(top) >= 0.8 else "agrees in part"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    from dsf.style import BLACK, BLUE, GREY, SKY, TEXT, VERMILLION

    settings = _settings(table)
    figure, grid = plt.subplots(1, len(settings), figsize=(TEXT, 2.3), sharey=True, squeeze=False)
    for axes, (n, T) in zip(grid[0], settings, strict=True):
        rows = table.where(n=n, T=T)
        x = np.arange(len(rows))
        bottom = np.zeros(len(rows))
        for name, hue in zip(OUTCOMES, (BLUE, SKY, VERMILLION, "#d9d9d9"), strict=True):
            share = np.array(rows.column(name))
            axes.bar(x, share, 0.75, bottom=bottom, color=hue, label=name, linewidth=0)
            bottom += share
        axes.plot(
            x,
            rows.column("all active"),
            color=BLACK,
            marker="o",
            label="all tokens support vectors",
        )
        axes.set_xticks(x, [str(d) for d in rows.column("d")])
        axes.set(xlabel="dimension $d$", title=f"$n = {n}$, $T = {T}$", ylim=(-0.02, 1.02))
        axes.grid(False)
        axes.tick_params(axis="x", length=0, colors=GREY, labelcolor=BLACK)
    grid[0, 0].set_ylabel("fraction of runs")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _settings(table: Table) -> list[tuple[int, int]]:
    return list(dict.fromkeys((r["n"], r["T"]) for r in table))
