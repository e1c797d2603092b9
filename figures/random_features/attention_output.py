"""How far attention through kernel features is from softmax attention, and where none works."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError
from dsf.core.ops import softmax
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.mechanisms.linear.features import feature_map
from dsf.solvers import fitted_rate, random_directions, random_feature_attention
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, TEXT, VERMILLION

TITLE = "Random features follow softmax attention at small logits; at unit variance none does"
SEE = (
    "On the left every line falls with the number of directions and the orthogonal ones lie below. "
    "On the right none of the random ones comes clearly below the grey line, an error as large as "
    "the output (larger ones are drawn at 10); the dashed Taylor features do."
)
PAPER = (
    "Random features approximate softmax attention with an error that falls as their number m "
    "grows, and orthogonal directions are better (Choromanski et al. 2021, arXiv 2009.14794). How "
    "many are needed grows exponentially with the squared norms; no number is given for these data."
)
DIFFERS = (
    "128 random tokens, d = 16, no training and no causal mask: Q, K, V standard Gaussian, q = "
    "aQ/d^{1/4}, k likewise. The error is |Y' - Y|_F / |Y|_F of the outputs, median over seeds of "
    "the directions; hyperbolic and trig have 2m features for m directions. A draw in which a sum "
    "of trigonometric weights is not positive has no output and counts as infinite, drawn as 10."
)
ORDER = 2
THEOREMS = ("random_features/linear_time", "random_features/taylor_truncation")
SEED = 0
L, D = 128, 16
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": [16, 64, 256], "seeds": 15},
    "default": {"sizes": [16, 64, 256, 1024], "seeds": 15},
    "paper": {"sizes": [16, 64, 256, 1024, 4096], "seeds": 50},
}
KINDS, SCALES, ORDERS = ("favor", "hyperbolic", "trig"), (0.5, 1.0), (2, 4)
HUES = dict(zip(KINDS, (BLUE, GREEN, VERMILLION), strict=True))
RATE = (-0.65, -0.35)  # of the fitted exponents: -1/2 for independent draws, with ratios of sums
USELESS = 1.0  # an error as large as the output
LITTLE = 0.8  # an error from which on features are of little use
TOP = 10.0  # of the axis


def tokens(scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """q, k, v and the output of softmax attention."""
    rng = np.random.default_rng(SEED)
    q, k, v = (rng.standard_normal((L, D)) for _ in range(3))
    q, k = scale * q / D**0.25, scale * k / D**0.25
    return q, k, v, softmax(q @ k.T) @ v


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative error in the Frobenius norm."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def one(scale: float, kind: str, orthogonal: bool, m: int, seed: int) -> dict[str, Any]:
    q, k, v, wanted = tokens(scale)
    omega = random_directions(m, D, 100 + seed, orthogonal=orthogonal)
    try:
        return {"error": off(random_feature_attention(q, k, v, omega, kind), wanted)}
    except DomainError:  # a sum of weights that is not positive
        return {"error": float("inf")}


def taylor(scale: float, order: int) -> dict[str, Any]:
    """Taylor features of even order, by their kernel sum_r (q'k)^r / r!."""
    q, k, v, wanted = tokens(scale)
    if order == 2:
        weights = feature_map("taylor", q, 2) @ feature_map("taylor", k, 2).T
    else:  # 70 000 features: their products are the polynomial (random_features/taylor_truncation)
        t = q @ k.T
        weights = 1 + t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4)))
    found = weights @ v / weights.sum(1, keepdims=True)
    return {"kind": "taylor", "error": off(found, wanted)}


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    grid = [
        {"scale": a, "kind": kind, "orthogonal": o, "m": m, "seed": s}
        for a in SCALES
        for kind in KINDS
        for o in (False, True)
        for m in p["sizes"]
        for s in range(p["seeds"])
    ]
    lines = sweep(taylor, [{"scale": a, "order": r} for a in SCALES for r in ORDERS])
    return Table([*sweep(one, grid), *lines])


def medians(table: Table, scale: float, kind: str, orthogonal: bool) -> dict[int, float]:
    """The median error by number of directions."""
    rows = table.where(scale=scale, kind=kind, orthogonal=orthogonal)
    return {m: float(np.median(rows.where(m=m).column("error"))) for m in rows.values("m")}


def findings(table: Table) -> list[Finding]:
    small, large = SCALES
    rates, worst, better = {}, {}, True
    for kind in KINDS:
        rows = table.where(scale=small, kind=kind, orthogonal=False)
        sizes = [m for m in rows.values("m") if m > D]
        each = [[r["error"] for r in rows.where(seed=s) if r["m"] > D] for s in rows.values("seed")]
        finite = [e for e in each if np.all(np.isfinite(e))]
        rates[kind] = fitted_rate(sizes, finite)
        ours, theirs = (medians(table, small, kind, o) for o in (True, False))
        better = better and all(ours[m] <= theirs[m] for m in ours)
        worst[kind] = min(v for o in (False, True) for v in medians(table, large, kind, o).values())
    listed = ", ".join(f"{r.slope:.2f} [{r.low:.2f}, {r.high:.2f}] ({k})" for k, r in rates.items())
    least = ", ".join(
        f"{v:.2f} ({k})" if np.isfinite(v) else f"none, for lack of positive sums ({k})"
        for k, v in worst.items()
    )
    even = {a: table.where(kind="taylor", scale=a, order=2)[0]["error"] for a in SCALES}
    reach = max(table.where(scale=large, kind="favor").column("m"))
    return [
        statement(
            "The error falls as the number of features grows",
            f"exponent of the error in m at a = {small:g}, independent directions, with 95 % "
            f"bootstrap intervals: {listed}",
            all(RATE[0] < r.slope < RATE[1] for r in rates.values()),
        ),
        statement(
            "Orthogonal directions are better",
            f"at a = {small:g} the median error is lower for every kind and m"
            if better
            else f"not for every kind and m at a = {small:g}; see the table",
            better,
        ),
        derived(
            "No number is given for unit variance",
            f"at a = {large:g} and up to m = {reach} the least median error is {least}",
            min(worst.values()) > LITTLE,
        ),
        derived(
            "Taylor features are not considered",
            f"order 2, 273 features: {even[small]:.4f} at a = {small:g}, {even[large]:.3f} at a = "
            f"{large:g}",
            even[large] < USELESS,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(TEXT, 2.7), sharex=True)
    for axes, scale in zip(panels, SCALES, strict=True):
        for kind, hue in HUES.items():
            for orthogonal, line in ((False, "-"), (True, ":")):
                found = medians(table, scale, kind, orthogonal)
                values = [min(v, TOP) for v in found.values()]
                label = kind + (", orthogonal" if orthogonal else "")
                axes.plot(list(found), values, line, color=hue, marker="o", label=label)
        axes.axhline(USELESS, color=GREY, linewidth=1)
        for order in ORDERS:
            value = table.where(kind="taylor", scale=scale, order=order)[0]["error"]
            axes.axhline(value, color=BLACK, linestyle="--", linewidth=0.9)
            axes.annotate(
                f"Taylor, order {order}", (0.02, value), xycoords=axes.get_yaxis_transform(),
                xytext=(0, 2), textcoords="offset points", fontsize="small",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="directions $m$")
        axes.set_xticks(table.where(kind="favor").values("m"))
        axes.get_xaxis().set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.set_title(f"$a$ = {scale:g}: logits of variance {scale**4:g}")
    panels[1].set_ylim(top=1.2 * TOP)
    panels[0].set_ylabel("relative error of the output")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
