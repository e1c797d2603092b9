"""How much token j still counts for output i, against the lag i - j, for eight mechanisms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.tools.style import GREY, TEXT, color

TITLE = "How fast the influence of earlier tokens falls in eight mechanisms"
PAPER = (
    "Attention and linear attention keep the past until a normaliser scales it; S6, SSD and gated "
    "RNNs forget through the transition (Sieber et al. 2024, discussed with the eigenvalues of "
    "Λ). No number is given."
)
DIFFERS = (
    "The paper argues with eigenvalues, which depend on the state coordinates. Here the influence "
    "is an entry of the kernel, |Mᵢⱼ|, which does not. Parameters are drawn with the "
    "initialisation of each paper (one head; all channels of S4D and S6; linear attention with "
    "elu + 1 and its normaliser; RetNet without rotation); the input is Gaussian; nothing is "
    "trained. For RetNet the decay is known: the influence falls by 31/32 per token, so it halves "
    "in 21.8 tokens."
)
SEE = (
    "The lines of softmax attention and linear attention stay nearly level: old tokens count as "
    "much as new ones. The others bend down, the window at once after its width and S6 after a few "
    "tokens."
)
ORDER = 5
THEOREMS = ("dsf/single_exponential", "dsf/finite_window")
SEED = 0
PARAMETERS = {
    "smoke": {"length": 128, "width": 8, "states": 4, "seeds": 8},
    "default": {"length": 512, "width": 32, "states": 16, "seeds": 8},
    "paper": {"length": 1024, "width": 32, "states": 16, "seeds": 16},
}
MECHANISMS = {
    "softmax": "softmax attention",
    "window_softmax(width=32)": "window softmax (32)",
    "linear_attn(phi=elu+1,normalise=True)": "linear attention",
    "retnet": "RetNet",
    "s4d": "S4D",
    "mamba": "S6 (Mamba)",
    "gla": "GLA",
    "deltanet": "DeltaNet",
}
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}
KEPT = ("softmax", "linear_attn(phi=elu+1,normalise=True)")  # no transition forgets
FORGET = ("mamba", "gla", "retnet")  # the transition does
RETNET = 22.8  # the lag of half the influence at lag 1, 1 + log 2 / log(32/31)
NEAR = 0.1  # relative: the median over random tokens fluctuates
FLOOR = 1e-6  # of the axis


def lags(length: int) -> list[int]:
    """0 to 32 and then logarithmically spaced, up to half the length."""
    last = length // 2
    spaced = np.rint(np.geomspace(1, last, 41)).astype(int).tolist()
    return sorted({*range(min(33, last + 1)), *spaced})


def influence(
    mechanism: str, length: int, width: int, states: int, seeds: int
) -> list[dict[str, Any]]:
    """Quantiles of |M_{i,i-lag}| over i in the second half, heads or channels, and seeds.

    For every lag the outputs are the same ones, so that no quantile mixes in the length of the
    past.  The unit is the median at lag 1.
    """
    rows = np.arange(length - length // 2, length)
    found: dict[int, list[np.ndarray]] = {lag: [] for lag in lags(length)}
    for seed in range(seeds):
        u = np.random.default_rng(seed).standard_normal((length, width))
        mech = dsf.family(mechanism).init(d=width, n=states, p=1, seed=seed)
        M = np.abs(mech.kernel(u))
        for lag, entries in found.items():
            entries.append(M[..., rows, rows - lag].ravel())
    unit = np.median(np.concatenate(found[1]))
    out: list[dict[str, Any]] = []
    for lag, parts in found.items():
        values = np.quantile(np.concatenate(parts), list(QUANTILES.values())) / unit
        out.append({"lag": lag, **dict(zip(QUANTILES, values, strict=True))})
    return out


def compute(profile: str) -> Table:
    return sweep(influence, [{"mechanism": m, **PARAMETERS[profile]} for m in MECHANISMS])


def half_life(rows: Table) -> float | None:
    """The lag at which the median is half of that at lag 1, log-linear between the lags.

    None if it is larger everywhere.
    """
    x, y = rows.column("lag")[1:], rows.column("median")[1:]
    for i in range(1, len(x)):
        if y[i] <= 0.5:
            if y[i] == 0:
                return float(x[i])
            part = math.log(y[i - 1] / 0.5) / math.log(y[i - 1] / y[i])
            return x[i - 1] + part * (x[i] - x[i - 1])
    return None


def findings(table: Table) -> list[Finding]:
    lives = {m: half_life(table.where(mechanism=m)) for m in table.values("mechanism")}
    found = [f"{MECHANISMS[m]} {lag:.3g}" for m, lag in lives.items() if lag is not None]
    never = [MECHANISMS[m] for m, lag in lives.items() if lag is None]
    retnet = lives["retnet"]
    return [
        statement(
            "Attention and linear attention keep the past; S6, SSD and gated RNNs forget through "
            "the transition",
            f"lag at which the median influence is half of that at lag 1: "
            f"{', '.join(found)}; not within {max(table.column('lag'))} tokens: {', '.join(never)}",
            all(lives[m] is None for m in KEPT) and all(lives[m] is not None for m in FORGET),
        ),
        derived(
            "No number is given; that this lag is 22.8 for RetNet follows from its decay",
            "none" if retnet is None else f"{retnet:.1f}",
            retnet is not None and abs(retnet - RETNET) < NEAR * RETNET,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 4, figsize=(TEXT, 3.5), sharex=True, sharey=True)
    medians = {}
    for mechanism in table.values("mechanism"):
        rows = [r for r in table.where(mechanism=mechanism) if r["lag"]]
        # on a logarithmic axis zero is below the frame
        medians[mechanism] = (
            [r["lag"] for r in rows], *([max(r[q], FLOOR / 100) for r in rows] for q in QUANTILES)
        )  # fmt: skip
    for axes, (mechanism, (x, low, median, high)) in zip(grid.flat, medians.items(), strict=False):
        for other, (x2, _, median2, _) in medians.items():
            if other != mechanism:
                axes.plot(x2, median2, color=GREY, linewidth=0.5, alpha=0.5)
        hue = color(mechanism.partition("(")[0])
        axes.fill_between(x, low, high, color=hue, alpha=0.25, linewidth=0)
        axes.plot(x, median, color=hue, linewidth=1.8)
        axes.set_title(MECHANISMS[mechanism])
    grid[0, 0].set(xscale="log", yscale="log", ylim=(FLOOR, 30))
    figure.supxlabel("lag $i - j$ (tokens); grey: medians of the other seven", fontsize=8)
    figure.supylabel("$|M_{ij}|$, median at lag 1 = 1", fontsize=8)
    return figure
