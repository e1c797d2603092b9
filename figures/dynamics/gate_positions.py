"""Where a gate makes a head nonlinear, and where it raises its rank: not the same places."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.heads.interventions import GATES, gated_head, softmax
from dsf.tools.style import BLUE, GREY, SKY, TEXT

TITLE = "The gate after attention makes a head nonlinear; it does not raise its rank"
PAPER = (
    "Of five positions for a gate — after attention (G1), on values (G2), keys (G3), queries (G4), "
    "after the output projection (G5) — G1 works best, explained by a nonlinearity in the low-rank "
    "map from values to outputs (Qiu et al. 2025, arXiv 2505.06708). No rank is given there."
)
DIFFERS = (
    "One random head with d = 32, d_k = 4, T = 256; the attention rows are held fixed, so that "
    "only the path of the values is judged. Defect: |f(x+y) − f(x) − f(y)| / |f(x+y)|, for gates "
    "with logits of standard deviation 1 and 4 at inputs x."
)
SEE = (
    "The bars on the left are equal but for the gate after the output projection (G5), the only "
    "one that raises the rank. Those on the right differ from zero for G1, G2 and G5: these gates "
    "make the path of the values nonlinear."
)
ORDER = 8
THEOREMS = ("training/gated_attention",)
T, D, DK = 256, 32, 4
SCALES = [1.0, 4.0]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1},
    "default": {"seeds": 5},
    "paper": {"seeds": 50},
}
RANK = {gate: DK for gate in GATES} | {"G5": D}
NONLINEAR = ("G1", "G2", "G5")
ROUNDING = 1e-14  # defect of a map that is additive
NOTABLE = 0.2  # defect of a gate that matters: one that is open halfway everywhere has none


def one(seed: int, gate: str, scale: float) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    rows = softmax(np.where(np.tri(T, dtype=bool), rng.standard_normal((T, T)), -np.inf))
    Wq, Wk, Wv = rng.standard_normal((3, D, DK)) / D**0.5
    Wo, Wg = rng.standard_normal((DK, D)) / DK**0.5, rng.standard_normal((D, D)) / D**0.5
    x, y = rng.standard_normal((2, T, D))

    def head(x: np.ndarray) -> np.ndarray:
        W = scale * Wg[:, : D if gate == "G5" else DK]
        return gated_head(x, Wq, Wk, Wv, Wo, gate, W, rows)

    both = head(x + y)
    defect = np.linalg.norm(both - head(x) - head(y)) / np.linalg.norm(both)
    return {"rank": int(np.linalg.matrix_rank(head(x))), "defect": defect}


def compute(profile: str) -> Table:
    seeds = range(PARAMETERS[profile]["seeds"])
    grid = [{"seed": s, "gate": g, "scale": c} for s in seeds for g in GATES for c in SCALES]
    return sweep(one, grid)


def findings(table: Table) -> list[Finding]:
    ranks = {g: table.where(gate=g).values("rank") for g in GATES}
    defects = {
        (g, c): np.mean(table.where(gate=g, scale=c).column("defect"))
        for g in GATES
        for c in SCALES
    }
    listed = ", ".join(f"{' to '.join(map(str, ranks[g]))} ({g})" for g in GATES)
    shown = ", ".join(
        f"{defects[g, SCALES[0]]:.2f} and {defects[g, SCALES[1]]:.2f} ({g})" for g in NONLINEAR
    )
    rest = max(d for (g, _), d in defects.items() if g not in NONLINEAR)
    return [
        statement(
            "A gate after attention (G1) puts a nonlinearity into the map from values to outputs",
            f"additivity defect at the two scales of the gate {shown}; at most {rest:.0e} without "
            "a gate, on keys and on queries",
            rest < ROUNDING and min(defects[g, c] for g in NONLINEAR for c in SCALES) > NOTABLE,
        ),
        derived(
            "No rank is given",
            f"rank of the output matrix {listed}: G5 has both, and the paper finds it of little "
            "use, so the rank does not explain why a gate helps",
            all(ranks[g] == [RANK[g]] for g in GATES),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.3))
    places = np.arange(len(GATES))
    ranks = [table.where(gate=g)[0]["rank"] for g in GATES]
    left.bar(places, ranks, color=GREY, width=0.6)
    for x, rank in zip(places, ranks, strict=True):
        left.annotate(str(rank), (x, rank), ha="center", va="bottom", fontsize=7)
    left.set(ylabel="rank of the output matrix", ylim=(0, 36))
    left.set_title(f"Linear rank ($d_k$ = {DK}, $d$ = {D})")
    for k, (scale, hue) in enumerate(zip(SCALES, (SKY, BLUE), strict=True)):
        mean = [np.mean(table.where(gate=g, scale=scale).column("defect")) for g in GATES]
        right.bar(places + 0.3 * k - 0.15, mean, color=hue, width=0.3,
                  label=f"gate logits of std {scale:g}")  # fmt: skip
    right.set(ylabel="additivity defect", ylim=(0, 0.8))
    right.set_title("Nonlinearity of the value path")
    right.legend(loc="upper center")
    names = ("none", "G1\nattention", "G2\nvalues", "G3\nkeys", "G4\nqueries", "G5\noutput")
    for axes in (left, right):
        axes.set_xticks(places, names)
        axes.grid(axis="x", visible=False)
    return figure
