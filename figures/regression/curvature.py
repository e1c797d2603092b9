"""The curvature of softmax regression: what is proved, what is conjectured, what is found."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.ops import softmax
from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.regression.formulas import CONJECTURED, PROVED, curvature, hessian
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, TEXT, VERMILLION

TITLE = "The curvature of softmax regression is far smaller than its bounds"
SEE = (
    "On the left the extremes that a search finds (dots) lie on the conjectured lines at every n, "
    "inside of the proved ones, which lie inside of the paper's. On the right no drawn Hessian "
    "lies below the conjectured line; in the grey range nothing is proved."
)
PAPER = (
    "The matrix B of the Hessian A'BA lies between -4 and 8, so that weights with w² at least 4 + "
    "l over the square of the smallest singular value of A make the loss l-convex (Deng, Li, Song "
    "2023, arXiv 2304.10411; constants as recalled, the paper has no figure of them)."
)
DIFFERS = (
    "A figure of ours. The proved range -1 to 5/4 and the conjectured one, sharp at n = 2, are "
    "derived (theorem regression/curvature). Left: for each n the extreme eigenvalue of B over f, "
    "b a vertex, by L-BFGS from random starts. Right: 8 rows in 3 columns, equal weights, for "
    "each w² hundreds of draws of A, b, x at scales 0.3 to 30, and the worst f at n = 2 with A "
    "the identity; a negative eigenvalue is divided by the square of the largest singular value."
)
ORDER = 2
THEOREMS = ("regression/curvature", "regression/convexity")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": [2, 3, 5], "starts": 8, "draws": 100},
    "default": {"sizes": [2, 3, 4, 6, 8, 12, 16], "starts": 20, "draws": 300},
    "paper": {"sizes": [2, 3, 4, 6, 8, 12, 16, 24, 32], "starts": 60, "draws": 3000},
}
RECALLED = (-4.0, 8.0)
SQUARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
ROWS, COLUMNS = 8, 3
SAME = 1e-7  # how exactly a search finds an extreme


def dense(f: np.ndarray, b: np.ndarray) -> np.ndarray:
    """B [n n]."""
    delta, rho, q = curvature(f, b)
    return np.diag(delta) + rho * np.outer(f, f) - np.outer(q, f) - np.outer(f, q)


def extreme(n: int, starts: int) -> dict[str, Any]:
    """The least and the largest eigenvalue of B that a search finds; b = e_1, by symmetry."""
    from scipy.optimize import minimize

    rng, b, found = np.random.default_rng(SEED + n), np.eye(n)[0], {}
    for name, sign, place in (("low", 1.0, 0), ("high", -1.0, -1)):

        def value(z: np.ndarray, sign: float = sign, place: int = place) -> float:
            return sign * float(np.linalg.eigvalsh(dense(softmax(z), b))[place])

        ends = [minimize(value, 2 * rng.standard_normal(n), method="L-BFGS-B").fun
                for _ in range(starts)]  # fmt: skip
        found[name] = sign * min(ends)
    return {"what": "range", **found}


def convex(w2: float, draws: int) -> list[dict[str, Any]]:
    """The smallest eigenvalue of Hessians over the square of a singular value of A, the smallest
    one or (where it is negative) the largest: the least of draws, and the worst point at n = 2."""
    rng, found = np.random.default_rng(SEED), []
    for i in range(draws):
        A = rng.standard_normal((ROWS, COLUMNS))
        b = rng.dirichlet(np.full(ROWS, 0.3)) if i % 2 else np.eye(ROWS)[0]
        f = softmax(10 ** rng.uniform(-0.5, 1.5) * A @ rng.standard_normal(COLUMNS))
        e = np.linalg.eigvalsh(hessian(A, b, np.full(ROWS, w2), f))[0]
        found.append(float(e / np.linalg.svd(A, compute_uv=False)[-1 if e > 0 else 0] ** 2))
    p = (15 + 33**0.5) / 24
    H = hessian(np.eye(2), np.array([0.0, 1.0]), np.full(2, w2), np.array([p, 1 - p]))
    worst = float(np.linalg.eigvalsh(H)[0])
    return [{"what": "convex", "least": min(found), "worst": worst}]


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    ranges = sweep(extreme, [{"n": n, "starts": p["starts"]} for n in p["sizes"]])
    return Table([*ranges, *sweep(convex, [{"w2": w, "draws": p["draws"]} for w in SQUARES])])


def findings(table: Table) -> list[Finding]:
    ranges, points = table.where(what="range"), table.where(what="convex")
    low, high = min(ranges.column("low")), max(ranges.column("high"))
    two, sizes = ranges.where(n=2)[0], ranges.values("n")
    told = f"a search at n = {sizes[0]} to {sizes[-1]} finds {low:.7f} to {high:.7f}"
    wide = [r for r in ranges if r["low"] < CONJECTURED[0] - SAME or
            r["high"] > CONJECTURED[1] + SAME]  # fmt: skip
    sharp = abs(two["low"] - CONJECTURED[0]) < SAME and abs(two["high"] - CONJECTURED[1]) < SAME
    enough = [r for r in points if r["w2"] >= -RECALLED[0]]
    below = max(r["w2"] - 1 - min(r["least"], r["worst"]) for r in points)
    under = max(r["w2"] + CONJECTURED[0] - min(r["least"], r["worst"]) for r in points)
    open_ = [r for r in points if -CONJECTURED[0] < r["w2"] < -PROVED[0]]
    bent = [r["w2"] for r in points if r["worst"] < 0]
    return [
        statement("B lies between -4 and 8", told, RECALLED[0] <= low and high <= RECALLED[1]),
        derived(
            "No smaller range is given",
            f"{told}: inside of the proved -1 to 5/4",
            PROVED[0] <= low and high <= PROVED[1],
        ),
        derived(
            "No sharp range is given",
            f"the conjectured {CONJECTURED[0]:.7f} to {CONJECTURED[1]:.7f} is reached at n = 2 and "
            f"left at {len(wide)} of {len(sizes)} sizes",
            sharp and not wide,
        ),
        statement(
            "w² of at least 4 + l over the squared singular value gives convexity l",
            "smallest eigenvalue over that square, least of all draws: "
            + ", ".join(f"{min(r['least'], r['worst']):.3f} at w² = {r['w2']:g}" for r in enough),
            all(min(r["least"], r["worst"]) >= r["w2"] + RECALLED[0] for r in enough),
        ),
        derived(
            "That 1 is enough in the place of 4 is not said",
            "no draw lies below w² - 1 (proved)" if below <= SAME else f"a draw is {below:.3g} low",
            below <= SAME,
        ),
        derived(
            "Nothing on weights between 0.2404 and 1, where no convexity is proved",
            f"no draw lies below w² - 0.2404 (conjectured): all {len(open_)} weights tried there "
            f"look so; at w² = {max(bent):g} and below an example at n = 2 is not convex",
            under <= SAME and all(r["least"] > 0 for r in open_) and max(bent) < -CONJECTURED[0],
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.8))
    ranges, points = table.where(what="range"), table.where(what="convex")
    bounds = (("paper", RECALLED, VERMILLION, ":"), ("proved", PROVED, BLUE, "-"),
              ("conjectured", CONJECTURED, GREEN, "--"))  # fmt: skip
    for name, pair, hue, line in bounds:
        for k, y in enumerate(pair):
            left.axhline(y, color=hue, linestyle=line, label=None if k else name)
    for name in ("low", "high"):
        left.plot(ranges.column("n"), ranges.column(name), "o", color=BLACK, markersize=3.5,
                  label="found" if name == "low" else None)  # fmt: skip
    left.set_yscale("symlog", linthresh=0.5)
    left.set_yticks([-4, -1, -0.24, 0, 0.31, 1.25, 8])
    left.get_yaxis().set_major_formatter("{x:g}")
    left.minorticks_off()
    left.set(xlabel="rows $n$", ylabel="eigenvalues of $B$", ylim=(-6, 12))
    left.set_title("The range of the curvature")
    left.legend(ncols=2, fontsize="small", loc="center right", bbox_to_anchor=(1.0, 0.72))
    w2 = np.array(points.column("w2"))
    right.axvspan(-CONJECTURED[0], -PROVED[0], color=GREY, alpha=0.25, linewidth=0,
                  label="not proved")  # fmt: skip
    right.axhline(0, color=BLACK, linewidth=0.6)
    for name, (low, _), hue, line in bounds:
        right.plot(w2, w2 + low, color=hue, linestyle=line, label=name)
    right.plot(w2, points.column("least"), "o", color=BLACK, markersize=3.5, label="least draw")
    right.plot(w2, points.column("worst"), "x", color=BLACK, markersize=4, label="n = 2, worst f")
    right.set(xlabel="$w^2$", ylabel="smallest eigenvalue / $\\sigma(A)^2$")
    right.set(xlim=(-0.1, 5.1), ylim=(-4.3, 7.5))
    right.set_title("Where the loss is convex")
    right.legend(fontsize="small", loc="upper left")
    return figure
