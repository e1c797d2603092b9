"""How sparse attention on the distinct tokens ends, by the two learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.dynamics.sequence_classes import descend, syn
from dsf.solvers.heads.attention_metrics import entropy
from dsf.tools.style import BLUE, GREEN, ORANGE, TEXT, VERMILLION

TITLE = "A faster attention ends sparser, a faster decoder freezes it denser"
PAPER = (
    "Syn-Medium: 1, 3, 5, 10 queries with two next tokens each, ten distinct tokens per next "
    "token, ten seeds. The mean entropy of c_n over distinct tokens falls with η_Z, and rises with "
    "η_Y/η_Z from about 2 on. Read off: from 2.0 down to 1.4 with one query, 1.7 to 2.0 with more "
    "(Tian et al. 2023, arXiv 2305.16380)."
)
DIFFERS = (
    "The constants are those of the public log: ten common tokens for all classes, weights 0.1 to "
    "1, start uniform in ±1/√M, momentum 0.9, 100 steps of batch 128, 127 contextual tokens. How "
    "the entropy was averaged is not public. Assumed: c_n after the last step, normalised on its "
    "distinct tokens, mean over n. Without that normalisation it would fall with η_Y/η_Z. Other "
    "random numbers."
)
ORDER = 3.3
QUERIES = [1, 3, 5, 10]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"queries": [1], "seeds": 2, "iterations": 40},
    "default": {"queries": QUERIES, "seeds": 2, "iterations": 100},
    "paper": {"queries": QUERIES, "seeds": 10, "iterations": 100},
}
RATES = (0.5, 1.0, 2.0, 3.0)  # eta_Z
RATIOS = (1, 2, 5, 10)  # eta_Y / eta_Z
READ, READ_MORE = (1.4, 2.0), (1.7, 2.0)  # ranges read off: one query, several
CLOSE = 0.1  # how far our range may be from one that was read off


def one(queries: int, iterations: int, seed: int) -> list[dict[str, Any]]:
    """Final entropy on distinct tokens, and their mass, for all pairs of rates."""
    task = syn(queries, 2)
    own = ~task.classes.common
    rows: list[dict[str, Any]] = []
    for eta_Z in RATES:
        for ratio in RATIOS:
            run = descend(
                task, ratio * eta_Z, eta_Z, iterations, seed, start="linear", every=iterations
            )
            c = run.attention[-1][:, own]
            mass = c.sum(axis=1, keepdims=True)
            rows.append({
                "eta_Z": eta_Z, "ratio": ratio,
                "entropy": entropy(c / mass).mean(), "distinct": mass.mean(),
            })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(
        one,
        [
            {"queries": q, "iterations": p["iterations"], "seed": s}
            for q in p["queries"]
            for s in range(p["seeds"])
        ],
    )


def mean(table: Table, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the seeds, [rates ratios]."""
    values = np.array(
        [
            [table.where(queries=queries, eta_Z=z, ratio=r).column("entropy") for r in RATIOS]
            for z in RATES
        ]
    )
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def steps(table: Table) -> tuple[list[float], list[float]]:
    """Changes of the mean entropy, in standard errors: to the next eta_Z, to the next ratio >= 2.

    The standard error of a difference takes the two runs as independent.
    """
    falls: list[float] = []
    rises: list[float] = []
    for q in table.values("queries"):
        m, error = mean(table, q)
        falls += list((np.diff(m, axis=0) / np.hypot(error[1:], error[:-1])).ravel())
        rises += list((np.diff(m[:, 1:]) / np.hypot(error[:, 2:], error[:, 1:-1])).ravel())
    return falls, rises


def measured(table: Table) -> tuple[str, str]:
    parts, near = [], True
    for several, (low, high) in ((False, READ), (True, READ_MORE)):
        found = [mean(table, q) for q in table.values("queries") if (q > 1) == several]
        if not found:
            continue
        m, error = np.array(found)[:, 0], np.array(found)[:, 1]
        near = near and abs(m.min() - low) <= CLOSE and abs(m.max() - high) <= CLOSE
        parts.append(
            f"{'several queries' if several else 'one query'} {m.min():.2f} to {m.max():.2f} "
            f"(standard error {error.max():.2f} at most; paper {low} to {high})"
        )
    falls, rises = steps(table)
    down, up = np.mean(np.array(falls) < 0), np.mean(np.array(rises) > 0)
    text = (
        f"Entropy over all rates: {'; '.join(parts)}. A larger η_Z lowers it in {100 * down:.0f} % "
        f"of {len(falls)} steps, a larger η_Y/η_Z ≥ 2 raises it in {100 * up:.0f} % of "
        f"{len(rises)}; the largest step the wrong way is "
        f"{max(0.0, *falls, *(-r for r in rises)):.1f} standard errors. The weights at the start "
        f"have {entropy(start()):.2f}, uniform ones {np.log(10):.2f}."
    )
    if down < 0.9 or up < 0.9:
        return text, "does not hold"
    return text, "agrees" if near else "agrees in part"


def start() -> np.ndarray:
    """The population weights of the distinct tokens of a class."""
    weights = np.linspace(0.1, 1, 10)
    return weights / weights.sum()


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    shown = table.values("queries")
    figure, panels = plt.subplots(1, len(shown), figsize=(TEXT, 2.4), sharey=True, squeeze=False)
    for axes, q in zip(panels[0], shown, strict=True):
        m, error = mean(table, q)
        for z, hue, marker, values, e in zip(
            RATES, (BLUE, GREEN, ORANGE, VERMILLION), "os^D", m, error, strict=True
        ):
            axes.errorbar(
                RATIOS, values, e, color=hue, marker=marker, markersize=3, capsize=2,
                label=f"$\\eta_Z$ = {z:g}",
            )  # fmt: skip
        low, high = READ if q == 1 else READ_MORE
        axes.axhspan(low, high, color="0.9", zorder=0)
        axes.set(xscale="log", xticks=RATIOS, xticklabels=RATIOS, xlabel="$\\eta_Y/\\eta_Z$")
        axes.minorticks_off()
        axes.set_title(f"{q} quer{'y' if q == 1 else 'ies'}, {2 * q} next")
    panels[0][0].set(ylabel="entropy on distinct tokens")
    panels[0][-1].plot([], [], color="0.9", linewidth=6, label="paper, read off")
    panels[0][-1].legend(loc="lower right", fontsize="small")
    return figure
