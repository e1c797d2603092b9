"""How sparse attention on the distinct tokens ends, by the two learning rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, number, statement, sweep
from dsf.solvers.dynamics.sequence_classes import descend, syn
from dsf.solvers.heads.attention_metrics import entropy
from dsf.tools.style import BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "A faster attention ends sparser; from η_Y = 2 η_Z on a faster decoder ends denser"
SEE = (
    "In every panel the curves lie lower the faster attention learns, and from the ratio 2 on they "
    "rise with the ratio. The grey bands are the ranges read off the figure of the paper: the "
    "upper curves leave them."
)
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
THEOREMS = ("training/scan_snap_signs", "training/scan_snap_decoder")
QUERIES = [1, 3, 5, 10]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"queries": [1, 3], "seeds": 2, "iterations": 100},
    "default": {"queries": QUERIES, "seeds": 2, "iterations": 100},
    "paper": {"queries": QUERIES, "seeds": 10, "iterations": 100},
}
RATES = (0.5, 1.0, 2.0, 3.0)  # eta_Z
RATIOS = (1, 2, 5, 10)  # eta_Y / eta_Z
READ, READ_MORE = (1.4, 2.0), (1.7, 2.0)  # ranges read off: one query, several
READING = 0.05  # half a unit of the first decimal, to which the ranges were read off
MOST = 0.9  # of the steps: a mean over noisy runs may go the wrong way once in ten


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


def findings(table: Table) -> list[Finding]:
    found = []
    for several, (low, high) in ((False, READ), (True, READ_MORE)):
        shown = [mean(table, q) for q in table.values("queries") if (q > 1) == several]
        if not shown:
            continue
        m, error = np.array(shown)[:, 0], np.array(shown)[:, 1]
        where = "with several queries" if several else "with one query"
        for name, value, read in (("Least", m.min(), low), ("Largest", m.max(), high)):
            found.append(
                number(
                    f"{name} mean entropy {where}: {read:.1f}, read off",
                    f"{value:.2f} (standard error at most {error.max():.2f})",
                    known=read, found=float(value), within=READING / read,
                )
            )  # fmt: skip
    falls, rises = steps(table)
    down, up = float(np.mean(np.array(falls) < 0)), float(np.mean(np.array(rises) > 0))
    wrong = max(0.0, *falls, *(-r for r in rises))
    return [
        *found,
        statement(
            "The entropy falls with η_Z",
            f"in {100 * down:.0f} % of {len(falls)} steps",
            down >= MOST,
        ),
        statement(
            "It rises with η_Y/η_Z from about 2 on",
            f"in {100 * up:.0f} % of {len(rises)} steps; the largest step the wrong way, of both "
            f"kinds, is {wrong:.1f} standard errors",
            up >= MOST,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    shown = table.values("queries")
    figure, panels = plt.subplots(1, len(shown), figsize=(TEXT, 2.7), sharey=True, squeeze=False)
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
        axes.axhspan(low, high, color="0.9", zorder=0, label="paper, read off")
        for edge, place in ((low, "bottom"), (high, "top")):
            axes.axhline(edge, color=GREY, linewidth=0.7, zorder=0)
            axes.text(
                1.0, edge, f"{edge:.1f}", color=GREY, fontsize="small", ha="left", va=place,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        axes.set(xscale="log", xticks=RATIOS, xticklabels=RATIOS, xlabel="$\\eta_Y/\\eta_Z$")
        axes.minorticks_off()
        axes.set_title(f"{q} quer{'y' if q == 1 else 'ies'}, {2 * q} next")
    panels[0][0].set(ylabel="entropy on distinct tokens")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
