"""Growth of the attention logit under one common token: scanning, then snapping."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers.dynamics.scan_snap import FIGURE, growth, growth_numerically, logit
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "Attention scans, then snaps: with a faster decoder it grows faster at first and ends lower"
PAPER = (
    "With one common token the logits grow like log t before t₀ = K ln M / η_Y and like log log t "
    "from 2 t₀ on; a larger η_Y gives an earlier and denser freeze. The figure of the paper "
    "(K = 10, M = 1000, η_Z = 0.5, η_Y = 0.5, 1, 2, 5, t ≤ 700) shows the relative gain of the "
    "leading token, on an axis from 0 to 600 (Tian et al. 2023, arXiv 2305.16380, theorem 4)."
)
SEE = (
    "All curves first follow the steep dotted line and, after the time t₀, the flat one. The curve "
    "of the fastest decoder (η_Y = 5) leads at first and ends lowest."
)
DIFFERS = (
    "The paper states the two limits; here both phases are one closed form, and the equations are "
    "integrated beside it. The gain in the paper depends on the constant C₀ and on the first "
    "attention row, which are not given; here C₀ = 1 and the upper bound e²ᴮ of the gain is drawn."
)
ORDER = 1
THEOREMS = ("training/scan_snap_growth",)
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"rates": [0.5, 1.0, 2.0, 5.0], "points": 30, "last": 1e5},
    "default": {"rates": [0.5, 1.0, 2.0, 5.0], "points": 240, "last": 1e6},
    "paper": {"rates": [0.5, 1.0, 2.0, 5.0], "points": 240, "last": 1e6},
}
LONG = 700.0  # the longest time in the figure of the paper
AXIS = 600.0  # the highest value on its axis
INTEGRATED = 1e-7  # accuracy of the integration
FROZEN = 0.9  # of B at the end of the figure of the paper
NEAR = 0.1  # of B: the two limits are leading terms, and log t changes by a tenth within one e-fold


def one(eta_Y: float, points: int, last: float) -> list[dict[str, Any]]:
    """B(t) in closed form and by integration, and the two limits that the paper states."""
    K, M, eta_Z, C0 = FIGURE["K"], FIGURE["M"], FIGURE["eta_Z"], FIGURE["C0"]
    t = np.unique(np.append(np.geomspace(0.1, last, points), LONG))
    B = growth(t, eta_Y, eta_Z, K, M, C0)
    number = growth_numerically(t, eta_Y, eta_Z, K, M, C0)
    scale = 2 * K * (M - 1) ** 2 / M**2
    scanning = np.log(C0 + scale * eta_Z * eta_Y * (t / K) ** 2) / 4
    snapping = np.log(C0 + scale * eta_Z / eta_Y * np.log1p(M * eta_Y * t / K) ** 2) / 4
    u = logit(t, eta_Y, K, M)
    return [
        {"t": t[i], "B": B[i], "numerical": number[i], "u": u[i],
         "scanning": scanning[i], "snapping": snapping[i]}
        for i in range(len(t))
    ]  # fmt: skip


def turn(eta_Y: float) -> float:
    """t0 = K ln M / eta_Y, where the phases meet."""
    return FIGURE["K"] * math.log(FIGURE["M"]) / eta_Y


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    rest = {"points": p["points"], "last": p["last"]}
    return sweep(one, [{"eta_Y": e, **rest} for e in p["rates"]])


def findings(table: Table) -> list[Finding]:
    rates = sorted(table.values("eta_Y"))
    curves = [table.where(eta_Y=e) for e in rates]
    late = [c[-1]["B"] for c in curves]
    at = [next(r["B"] for r in c if r["t"] == LONG) for c in curves]
    frozen = [
        float(np.interp(FROZEN * b, c.column("B"), c.column("t")))
        for c, b in zip(curves, at, strict=True)
    ]
    before = [abs(r["scanning"] / r["B"] - 1) for r in table if r["t"] <= turn(r["eta_Y"])]
    after = [abs(r["snapping"] / r["B"] - 1) for r in table if r["t"] >= 2 * turn(r["eta_Y"])]
    error = max(abs(r["B"] - r["numerical"]) for r in table)
    needed = (math.exp(4 * max(at)) - 1) / (AXIS**2 - 1) * FIGURE["C0"]
    values = ", ".join(f"{b:.3f} (η_Y = {e:g})" for e, b in zip(rates, at, strict=True))
    return [
        statement(
            "The logits grow like log t before t₀ and like log log t from 2 t₀ on",
            f"the two limits are within {100 * max(before):.0f} % and {100 * max(after):.0f} % of "
            "the whole curve there",
            max(before) < NEAR and max(after) < NEAR,
        ),
        statement(
            "With a larger η_Y attention freezes earlier",
            f"{100 * FROZEN:.0f} % of B(700) is reached at t = "
            f"{', '.join(f'{t:.0f}' for t in frozen)} for η_Y = "
            f"{', '.join(f'{e:g}' for e in rates)}",
            all(a > b for a, b in pairwise(frozen)),
        ),
        statement(
            "With a larger η_Y attention freezes denser",
            f"B at t = 700: {values}; the order at the last time is the same",
            all(a > b for a, b in pairwise(at)) and all(a > b for a, b in pairwise(late)),
        ),
        unknown(
            "The gain is drawn on an axis from 0 to 600, without C₀ and the first attention row",
            f"at most {math.exp(2 * max(at)):.0f} with C₀ = 1; the axis would need "
            f"C₀ ≤ {needed:.2g}",
        ),
        derived(
            "One closed form for both phases is ours",
            f"integration differs from it by at most {error:.0e}",
            error < INTEGRATED,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.7))
    hues = (BLUE, GREEN, ORANGE, VERMILLION)
    for hue, eta_Y in zip(hues, table.values("eta_Y"), strict=True):
        rows = table.where(eta_Y=eta_Y)
        t = rows.column("t")
        left.plot(t, rows.column("B"), color=hue, label=f"$\\eta_Y$ = {eta_Y:g}")
        before = [r for r in rows if r["t"] <= turn(eta_Y)]
        after = [r for r in rows if r["t"] >= 2 * turn(eta_Y)]
        for part, name in ((before, "scanning"), (after, "snapping")):
            x, y = [r["t"] for r in part], [r[name] for r in part]
            left.plot(x, y, color=BLACK, linewidth=0.7, linestyle=":")
        short = [r for r in rows if r["t"] <= LONG]
        gain = [math.exp(2 * r["B"]) for r in short]
        right.plot([r["t"] for r in short], gain, color=hue)
        right.axvline(turn(eta_Y), color=hue, linewidth=0.7, linestyle="--")
    left.plot([], [], color=BLACK, linewidth=0.7, linestyle=":", label="the paper's two limits")
    left.set(xscale="log", xlabel="time $t$", ylabel="$B(t) = -z(t)$ of the common token")
    left.set_title("All times")
    left.legend(loc="lower right")
    right.plot([], [], color=GREY, linewidth=0.7, linestyle="--", label="$t_0 = K\\ln M/\\eta_Y$")
    right.set(xlabel="time $t$", ylabel="upper bound $e^{2B}$ of the gain", xlim=(0, LONG))
    right.set_title("Times of the paper's figure")
    right.legend(loc="lower right")
    return figure
