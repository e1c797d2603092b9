"""Newton's method with the curvature left out: how fast it is, and what is promised."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep, unknown
from dsf.solvers import softmax_regression
from dsf.solvers.regression.formulas import CONJECTURED, PROVED, hessian, point
from dsf.solvers.regression.softmax import approximate_newton_step
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "Newton's method with W² in the place of B + W² contracts from anywhere, as is proved"
SEE = (
    "Left: distances to the minimiser (solid) fall at least as steeply as is proved (dotted), and "
    "the dashed one of exact Newton bends down. Right: every measured factor lies below the "
    "proved line, those of two rows near the conjectured one; where it is grey the proved line is "
    "above 1 and promises nothing."
)
PAPER = (
    "Newton's method with a matrix within 1 ± 1/10 of B + W², such as W² for w² of 100 or more, "
    "multiplies the distance by at most 2(0.1 + 0.1) in each step, if it starts within 0.1 l / M "
    "of the minimiser, M = n^{1.5} exp(30 R²), R at least 4 (Deng, Li, Song 2023, arXiv "
    "2304.10411; as recalled, no experiment is reported)."
)
DIFFERS = (
    "A figure of ours: B is left out altogether, nothing is sampled. 20 rows in 5 columns, "
    "standard normal, with b from a Dirichlet distribution (0.3), and 2 rows, A the identity and "
    "b = (1, 0); equal weights, normal starts of scale 1 and 10. Distances are |WA(x - x*)|. The "
    "factor is the largest of a step while distances are above 1e-9 of the first and 1e-11. "
    "Proved is 5 / (4w²), conjectured 0.3081 / w²."
)
ORDER = 3
THEOREMS = ("regression/approximate_newton", "regression/curvature")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 3},
    "default": {"seeds": 8},
    "paper": {"seeds": 20},
}
SIZES = {20: 5, 2: 2}  # rows: columns
STEPS = 200
SQUARES = (0.36, 0.6, 1.0, 2.0, 4.0, 10.0, 30.0, 100.0)
SHOWN = (0.6, 2.0, 10.0)
HUES = dict(zip(SHOWN, (VERMILLION, ORANGE, BLUE), strict=True))
SCALES = (1.0, 10.0)  # of the start
FAR, FLOOR = 1e-9, 1e-11  # relative and absolute distances down to which factors are measured
NEAR = 1e-6  # a distance at which a run has converged
RECALLED, PROMISED = 100.0, 0.4  # the paper: weights, and the factor from there on
R = 4.0


def one(n: int, w2: float, scale: float, seed: int) -> list[dict[str, Any]]:
    """The distances of both methods, step by step."""
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal((n, SIZES[n])), rng.dirichlet(np.full(n, 0.3))
    if n == 2:
        A, b = np.eye(2), np.array([1.0, 0.0])
    start, squares = scale * rng.standard_normal(SIZES[n]), np.full(n, w2)
    best = softmax_regression(A, b, w2**0.5, start=start, tolerance=1e-15).x

    def exact(x: np.ndarray) -> np.ndarray:
        p = point(A, b, squares, x)
        return x - np.linalg.solve(hessian(A, b, squares, p.f), p.gradient)

    methods = {"approximate": lambda x: approximate_newton_step(A, b, squares, x), "exact": exact}
    rows = []
    for name, step in methods.items():
        x, first = start, float(np.linalg.norm(A @ (start - best)) * w2**0.5)
        for k in range(STEPS + 1):
            off = float(np.linalg.norm(A @ (x - best)) * w2**0.5)
            if not np.isfinite(off) or off > 1e6 * first:  # exact steps may leave
                break
            rows.append({"method": name, "step": k, "distance": off})
            if off < max(FAR * first, FLOOR):
                break
            x = step(x)
    return rows


def compute(profile: str) -> Table:
    seeds = range(PARAMETERS[profile]["seeds"])
    return sweep(one, [
        {"n": n, "w2": w2, "scale": a, "seed": SEED + s}
        for n in SIZES for w2 in SQUARES for a in SCALES for s in seeds
    ])  # fmt: skip


def factor(table: Table, n: int, w2: float) -> float:
    """The largest factor of a step, over starts and seeds."""
    largest, every = 0.0, table.where(method="approximate", n=n, w2=w2)
    for a in SCALES:
        for s in table.values("seed"):
            rows = every.where(scale=a, seed=s)
            d = np.array(rows.column("distance"))
            last = max(FAR * d[0], FLOOR)
            largest = max([largest, *(y / x for x, y in pairwise(d)
                                      if y > last)])  # fmt: skip
    return largest


def findings(table: Table) -> list[Finding]:
    each = {(n, w): factor(table, n, w) for n in SIZES for w in SQUARES}
    found = {w: max(each[n, w] for n in SIZES) for w in SQUARES}
    told = ", ".join(f"{v:.3g} (w² = {w:g})" for w, v in found.items())
    proved = {w: PROVED[1] / w for w in SQUARES if w > PROVED[1]}
    vacuous = [w for w in SQUARES if w <= PROVED[1]]
    rows = table.where(method="approximate")
    ends = [
        rows.where(n=n, w2=w, scale=a, seed=s)[-1]["distance"]
        for n in SIZES for w in vacuous for a in SCALES for s in table.values("seed")
    ]  # fmt: skip
    near = all(x < NEAR for x in ends)
    radius = -(30 * R**2 / np.log(10) + 1.5 * np.log10(min(SIZES)))
    return [
        statement(
            "A step multiplies the distance by at most 0.4 for w² of 100",
            f"the largest factor at w² = 100 is {found[RECALLED]:.2g}, from starts at any distance",
            found[RECALLED] <= PROMISED,
        ),
        derived(
            "No bound without a condition on the start is given",
            f"largest factors: {told}; proved is 1.25 / w², so it is obeyed at all "
            f"{len(proved)} weights where it is below 1",
            all(found[w] <= p for w, p in proved.items()),
        ),
        derived(
            "Nothing on smaller weights",
            f"at w² = {', '.join(f'{w:g}' for w in vacuous)}, where the proved factor is 1 or more "
            f"and promises nothing, {'all' if near else 'not all'} runs converge",
            near,
        ),
        derived(
            "No sharp factor is given",
            "all are below 0.3081 / w², the conjectured one; with two rows it is "
            f"{max(each[2, w] * w for w in SQUARES):.4f} / w²",
            all(v <= CONJECTURED[1] / w for w, v in found.items()),
        ),
        unknown(
            "The start must lie within 0.1 l / M",
            f"1 / M is 10^{{{radius:.0f}}} at R = {R:g} and n = {min(SIZES)}: two floats of size 1 "
            "are never that near, so nothing was measured there",
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.8))
    seed = table.values("seed")[0]
    runs = table.where(n=2, scale=SCALES[1], seed=seed)
    for w2, hue in HUES.items():
        d = runs.where(method="approximate", w2=w2).column("distance")
        left.plot(range(len(d)), d, color=hue, marker="o", markersize=3, label=f"$w^2$ = {w2:g}")
        if PROVED[1] < w2:
            k = np.arange(len(d))
            left.plot(k, d[0] * (PROVED[1] / w2) ** k, color=hue, linestyle=":")
    d = runs.where(method="exact", w2=SHOWN[1]).column("distance")
    left.plot(range(len(d)), d, color=BLACK, linestyle="--", marker="x", markersize=4,
              label=f"exact, $w^2$ = {SHOWN[1]:g}")  # fmt: skip
    left.plot([], [], color=GREY, linestyle=":", label="proved")
    left.set(yscale="log", ylim=(1e-11, 1e3), xlabel="step", ylabel="$|WA(x - x^*)|$")
    left.set_title("Two rows, from one start")
    left.legend(fontsize="small")
    squares = np.array(SQUARES)
    right.axvspan(squares[0] / 1.3, PROVED[1], color=GREY, alpha=0.25, linewidth=0)
    right.plot(squares, PROVED[1] / squares, color=BLUE, label="proved")
    right.plot(squares, CONJECTURED[1] / squares, color=GREEN, linestyle="--", label="conjectured")
    right.plot([RECALLED], [PROMISED], "v", color=VERMILLION, label="paper, near the minimiser")
    for n, mark in zip(SIZES, "ox", strict=True):
        right.plot(squares, [factor(table, n, w) for w in SQUARES], mark, color=BLACK, markersize=4,
                   label=f"largest, n = {n}")  # fmt: skip
    right.axhline(1, color=GREY, linewidth=0.8)
    right.set(xscale="log", yscale="log", xlabel="$w^2$", ylabel="factor of the distance per step")
    right.set(xlim=(squares[0] / 1.3, 130), ylim=(1e-5, 5))
    right.set_title("The factor, over all starts")
    right.legend(fontsize="small", loc="lower left")
    return figure
