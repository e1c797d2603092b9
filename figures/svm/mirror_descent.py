"""Mirror descent with three potentials against the solutions of least p-norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.solvers import attention_svm
from dsf.solvers.dynamics.outcomes import corr
from dsf.solvers.dynamics.paths import mirror_descent
from dsf.solvers.svm.instances import attention
from dsf.solvers.svm.instances import draw as instance
from dsf.tools.style import COLUMN

TITLE = "With each potential mirror descent converges in direction to the solution of its own norm"
PAPER = (
    "Mirror descent with potential sum |W_ij|^p / p for p in {1.75, 2, 3} on 100 synthetic data "
    "sets: of the attention-SVM solutions of least entrywise q-norm, the iterates of each p "
    "correlate most with the one of q = p (Julistiono et al. 2024, Optimizing Attention with "
    "Mirror Descent). The numbers of the table are not known to us."
)
DIFFERS = (
    "Our own random data, n = 4, T = 4, d = 6 on the unit sphere; steps along the normalised "
    "gradient; every run is compared with the solutions of the tokens that it selects."
)
SEE = (
    "Each row is one potential, and its darkest cell lies on the diagonal: the iterates point "
    "along the solution of their own norm. The further two powers are apart, the paler the cell."
)
ORDER = 11
THEOREMS = ("svm/mirror_descent",)
SEED = 0
POWERS = (1.75, 2.0, 3.0)
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue: white text on dark cells only
SIZE = {"n": 4, "T": 4, "d": 6}
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2, "steps": 300},
    "default": {"seeds": 12, "steps": 2000},
    "paper": {"seeds": 100, "steps": 10_000},
}


def one(seed: int, n: int, T: int, d: int, steps: int) -> list[dict[str, Any]]:
    """Correlations of the last iterate of every p with the solutions of every q."""
    i = instance(seed, n, T, d)
    rows: list[dict[str, Any]] = []
    for p in POWERS:
        data = np.zeros((1, d, d)), i.X[None], i.z[None], i.scores[None]
        W = mirror_descent(*data, p=p, steps=steps)[0]
        picked = attention(W, i.X, i.z).argmax(axis=1)
        for q in POWERS:
            V = attention_svm(i.X, i.z, picked, norm="entrywise", p=q).W
            rows.append({"p": p, "q": q, "corr": None if V is None else corr(W, V)})
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(one, [{"seed": SEED + s, **SIZE, "steps": p["steps"]} for s in range(p["seeds"])])


def matrix(table: Table) -> np.ndarray:
    """Mean correlations [p q] over the runs whose selection is separable."""
    return np.array([
        [
            np.mean([v for v in table.where(p=p, q=q).column("corr") if v is not None])
            for q in POWERS
        ]
        for p in POWERS
    ])  # fmt: skip


def findings(table: Table) -> list[Finding]:
    M = matrix(table)
    wins = M.argmax(axis=1) == range(3)
    own = sum(
        max(r, key=lambda x: x["corr"])["q"] == p
        for s in table.values("seed")
        for p in POWERS
        for r in [[x for x in table.where(seed=s, p=p) if x["corr"] is not None]]
        if r
    )
    runs = sum(x["corr"] is not None for x in table) // len(POWERS)
    lines = "; ".join(
        f"{', '.join(f'{x:.3f}' for x in row)} for p = {p:g}"
        for p, row in zip(POWERS, M, strict=True)
    )
    return [
        statement(
            "The iterates of each p correlate most with the solution of q = p",
            f"q = p has the largest mean correlation for {np.sum(wins)} of 3 "
            f"values of p, and the largest correlation in {own} of {runs} single runs",
            bool(np.all(wins)),
        ),
        unknown(
            "The numbers of the table are not known to us",
            f"mean correlations with q = 1.75, 2, 3 over {len(table.values('seed'))} data sets "
            f"after {table[0]['steps']} steps: {lines}",
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    M = matrix(table)
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6))
    image = axes.imshow(M, cmap="Blues", vmin=min(0.85, M.min()), vmax=1.0)
    for (row, column), value in np.ndenumerate(M):
        dark = np.dot(image.cmap(image.norm(value))[:3], LUMINANCE) < 0.4
        axes.annotate(f"{value:.3f}", (column, row), ha="center", va="center",
                      color="white" if dark else "black")  # fmt: skip
    names = [f"{p:g}" for p in POWERS]
    axes.set_xticks(range(3), names)
    axes.set_yticks(range(3), names)
    axes.set(xlabel="solution of least $q$-norm, $q$", ylabel="mirror descent, $p$")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="mean correlation")
    return figure
