"""Which random features of the softmax kernel have the least error, at which norms and angles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.mechanisms.linear.features import RANDOM
from dsf.solvers import (
    optimal_favor_parameter,
    random_directions,
    softmax_kernel_features,
    softmax_kernel_mse,
)
from dsf.tools.style import BLACK, BLUE, GREEN, ORANGE, TEXT, VERMILLION

TITLE = "Which random features at which norm: none is best everywhere, at large norms few work"
SEE = (
    "The colours on the left change where x and y begin to point the same way: trigonometric "
    "features win there. To the right of the black line even the best kind is off by as much as "
    "the kernel itself."
)
CHOROMANSKI, LIKHOSHERSTOV = "2009.14794", "2205.15317"
PAPER = (
    "Positive features have a vanishing error where the kernel tends to zero, trigonometric ones "
    "do not; orthogonal directions lower the error of positive features in every dimension "
    "(Choromanski et al. 2021, arXiv 2009.14794). favor++ has a lower variance than favor "
    "(Likhosherstov et al. 2022, arXiv 2205.15317)."
)
DIFFERS = (
    "d = 16 and 64 features in all figures, so half as many directions for trig and hyperbolic, "
    "which have two features each; |x| = |y|. Errors are exact: closed forms, independent "
    "directions on the left, orthogonal blocks on the right, root mean square over e^{x'y}. "
    "favor++ has its best parameter for every pair, which attention over many keys cannot have. "
    "Marks are sampled, up to |x| = 0.9: beyond, a sample misses the tail that carries the mean."
)
ORDER = 1
THEOREMS = (
    "random_features/kernel_mse",
    "random_features/orthogonal_mse",
    "random_features/which_features",
)
SEED = 0
D, FEATURES = 16, 64
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"grid": 13, "draws": 400},
    "default": {"grid": 61, "draws": 4000},
    "paper": {"grid": 61, "draws": 40_000},
}
NORMS, LAST = (0.1, 4.0), 0.9  # of the grid; the largest norm that is sampled
TIES = ("hyperbolic", "favor++", "trig", "favor")  # whom a tie is given to, first of all
HUES = dict(zip(RANDOM, (BLUE, GREEN, ORANGE, VERMILLION), strict=True))
WORKS = 1.0  # a root mean square error of the kernel's own size
AGREE = 5.0  # standard errors of the mean square
ROUNDING = 1e-9  # relative, of two errors that may tie


def directions(kind: str) -> int:
    """How many directions give FEATURES features."""
    return FEATURES // 2 if kind in ("trig", "hyperbolic") else FEATURES


def pair(norm: float, cosine: float) -> tuple[np.ndarray, np.ndarray]:
    """x, y [D] of this norm and angle."""
    x, y = np.zeros((2, D))
    x[0], y[0], y[1] = norm, norm * cosine, norm * math.sqrt(max(0.0, 1 - cosine**2))
    return x, y


def exact(norm: float, cosine: float, kind: str, orthogonal: bool) -> float:
    """Root mean square error over the kernel."""
    x, y = pair(norm, cosine)
    square = float(softmax_kernel_mse(x, y, directions(kind), kind, orthogonal=orthogonal))
    return math.sqrt(max(square, 0.0)) / math.exp(x @ y)


def sampled(norm: float, kind: str, orthogonal: bool, draws: int, seed: int) -> tuple[float, float]:
    """The same from draws at x orthogonal to y, and how many standard errors its square is off."""
    x, y = pair(norm, 0.0)
    m = directions(kind)
    A = float(optimal_favor_parameter(x, y)) if kind == "favor++" else 0.0
    rows = m if not orthogonal else -(-m // D) * D
    omega = random_directions(draws * rows, D, seed, orthogonal=orthogonal)
    phi, psi = (softmax_kernel_features(z, omega, kind, A=A) for z in (x, y))
    count = len(omega)
    terms = (phi * psi * count).reshape(-1, draws, rows)[..., :m].sum((0, 2)) / m
    squares = (terms - math.exp(x @ y)) ** 2
    error = squares.std() / math.sqrt(draws)
    wanted = exact(norm, 0.0, kind, orthogonal) * math.exp(x @ y)
    return math.sqrt(squares.mean()) / math.exp(x @ y), (squares.mean() - wanted**2) / error


def one(norm: float, grid: int, draws: int, seed: int) -> list[dict[str, Any]]:
    rows = [
        {"cosine": c, "kind": kind, "orthogonal": o, "error": exact(norm, c, kind, o)}
        for c in np.linspace(-1, 1, grid)
        for kind in RANDOM
        for o in (False, True)
    ]
    return rows


def dots(norm: float, draws: int, seed: int) -> list[dict[str, Any]]:
    found = []
    for kind in RANDOM:
        for o in (False, True):
            value, off = sampled(norm, kind, o, draws, seed)
            found.append({"kind": kind, "orthogonal": o, "sampled": value, "off": off})
    return found


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    norms = np.linspace(*NORMS, p["grid"])
    maps = sweep(one, [{"norm": r, **p, "seed": SEED} for r in norms])
    some = [r for r in np.linspace(0.3, LAST, 4)]
    return Table([
        *maps, *sweep(dots, [{"norm": r, "draws": p["draws"], "seed": SEED} for r in some])
    ])  # fmt: skip


def best(table: Table, orthogonal: bool) -> dict[tuple[float, float], tuple[str, float]]:
    """The kind of least error, and that error, at each (norm, cosine)."""
    found: dict[tuple[float, float], tuple[str, float]] = {}
    for r in (r for kind in TIES for r in table.where(kind=kind, orthogonal=orthogonal)):
        if r["error"] is None:
            continue
        at = r["norm"], r["cosine"]
        if at not in found or r["error"] < found[at][1] * (1 - ROUNDING):
            found[at] = r["kind"], r["error"]
    return found


def errors(table: Table, kind: str, orthogonal: bool) -> np.ndarray:
    """Exact errors of a kind over the grid, in the order of the table."""
    rows = table.where(kind=kind, orthogonal=orthogonal)
    return np.array([r["error"] for r in rows if r["error"] is not None])


def findings(table: Table) -> list[Finding]:
    favor, trig, plus = (errors(table, k, False) for k in ("favor", "trig", "favor++"))
    gain = errors(table, "favor", True) / np.maximum(favor, 1e-300)
    rows = [r for r in table.where(kind="favor", orthogonal=False) if r["error"] is not None]
    opposite = [i for i, r in enumerate(rows) if r["cosine"] == -1]
    off = np.array([r["off"] for r in table if r["error"] is None])
    shares = {kind: np.mean([k == kind for k, _ in best(table, False).values()]) for kind in RANDOM}
    limit = min(n for (n, c), (_, e) in best(table, True).items() if e > WORKS)
    zero = [r for r in rows if abs(r["cosine"]) < 1e-9]
    at_zero = min((r["norm"] for r in zero if r["error"] > WORKS), default=float("nan"))
    listed = ", ".join(f"{100 * s:.0f} % ({k})" for k, s in shares.items())
    return [
        statement(
            "Where the kernel tends to zero the error of positive features vanishes, that of "
            "trigonometric ones does not",
            f"at y = -x and |x| = {NORMS[1]:g}: favor {favor[opposite[-1]]:.1g} of the kernel, "
            f"trig {trig[opposite[-1]]:.2g}",
            favor[opposite].max() < ROUNDING and trig[opposite[-1]] > WORKS,
            CHOROMANSKI,
        ),
        statement(
            "Orthogonal directions lower the error of positive features",
            f"exact errors are {gain[favor > ROUNDING].min():.2f} to {gain.max():.2f} of those of "
            "independent directions on the grid",
            bool(gain.max() <= 1 + ROUNDING),
            CHOROMANSKI,
        ),
        statement(
            "favor++ has a lower variance than favor",
            f"its error is {np.min(plus[favor > ROUNDING] / favor[favor > ROUNDING]):.2g} to "
            f"{np.max(plus[favor > ROUNDING] / favor[favor > ROUNDING]):.2g} of that of favor",
            bool(np.all(plus <= favor * (1 + ROUNDING) + ROUNDING)),
            LIKHOSHERSTOV,
        ),
        derived(
            "No map of which kind is best is given",
            f"share of the grid on which each kind has the least error, independent directions: "
            f"{listed}; with orthogonal ones the best kind is off by more than the kernel from "
            f"|x| = {limit:.2f} on at some angle; favor at a right angle from {at_zero:.2f}",
            True,
        ),
        derived(
            "The closed forms of orthogonal directions are ours",
            f"sampled mean squares differ by {np.abs(off).max():.1f} standard errors at most",
            bool(np.abs(off).max() < AGREE),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.6))
    for axes, orthogonal in ((left, False), (middle, True)):
        found = best(table, orthogonal)
        norms, cosines = (np.array(sorted({at[i] for at in found})) for i in (0, 1))
        kinds = np.array([[RANDOM.index(found[n, c][0]) for n in norms] for c in cosines])
        size = np.array([[found[n, c][1] for n in norms] for c in cosines])
        axes.pcolormesh(
            norms, cosines, kinds, cmap=ListedColormap(list(HUES.values())), vmin=-0.5,
            vmax=len(RANDOM) - 0.5, alpha=0.55, shading="nearest", rasterized=True,
        )  # fmt: skip
        axes.contour(norms, cosines, size, levels=[WORKS], colors=BLACK, linewidths=1.2)
        axes.set(xlabel="$|x| = |y|$", xlim=NORMS, ylim=(-1, 1))
        axes.set_title("Orthogonal directions" if orthogonal else "Independent directions")
        axes.grid(visible=False)
    left.set_ylabel("cosine of the angle of x and y")
    zero = min((c for c in table.values("cosine") if c is not None), key=abs)
    for kind, hue in HUES.items():
        rows = table.where(kind=kind, orthogonal=True, cosine=zero)
        right.plot(rows.column("norm"), rows.column("error"), color=hue, label=kind)
        marks = [r for r in table.where(kind=kind, orthogonal=True) if r["sampled"] is not None]
        right.plot([r["norm"] for r in marks], [r["sampled"] for r in marks], "o", color=hue, ms=3)
    right.axhline(WORKS, color=BLACK, linewidth=0.8)
    right.set(yscale="log", xlabel="$|x| = |y|$", ylim=(1e-3, 1e2), xlim=NORMS)
    right.set_ylabel("error over $e^{x'y}$")
    right.set_title("Orthogonal, cosine 0")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
