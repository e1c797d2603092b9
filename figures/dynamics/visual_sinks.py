"""Moving attention from sinks to the other image tokens: one row, and the entropy of many."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, sweep
from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.interventions import redistribute
from dsf.tools.style import BLUE, GREEN, GREY, ORANGE, PURPLE, TEXT, VERMILLION

TITLE = "Redistribution raises the entropy while the sinks still lead; beyond that, not always"
PAPER = (
    "Sinks keep the share p = 0.6 of their attention, the freed weight goes to the image tokens "
    "that are no sinks, in proportion to theirs (Kang et al. 2025, arXiv 2503.03321, with the "
    "convention of its code). Nothing is said on entropy."
)
DIFFERS = (
    "Random rows over 4 text and 12 image tokens, one text sink and two image sinks, no trained "
    "model. If the least sink weight stays above the largest weight of the other image tokens, "
    "the new row is majorised by the old one, so its entropy cannot fall."
)
SEE = (
    "On the left the three sinks give up two fifths of their bars, and all other image tokens grow "
    "in proportion. On the right the entropy rises on average where sinks are strong and falls "
    "where they weigh no more than the others."
)
ORDER = 9
THEOREMS = ("training/var_entropy", "training/var_redistribution")
T, SHOWN, STRENGTHS = 16, 0.6, [20.0, 6.0, 1.0]
KEPT = [  # 0 to 1 in steps of 0.05
    0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8,
    0.85, 0.9, 0.95, 1.0,
]  # fmt: skip
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"rows": 60, "kept": [0.0, 0.3, 0.6, 0.9]},
    "default": {"rows": 400, "kept": KEPT},
    "paper": {"rows": 4000, "kept": KEPT},
}
SINKS, IMAGE = np.isin(np.arange(T), [0, 5, 11]), np.arange(T) >= 4
KINDS = ("text", "sink", "image")
ROUNDING = 1e-12  # of an entropy; a smaller fall is none
FALL = 0.01  # of an entropy: a fall that is seen
ENOUGH = 100  # rows in which the sinks lead


def sample(strength: float, count: int) -> np.ndarray:
    """Rows [count T] whose sinks hold `strength` times the Dirichlet weight of the others."""
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.where(SINKS, strength, 1.0), count)


def kind(j: int) -> str:
    return "sink" if SINKS[j] else "image" if IMAGE[j] else "text"


def example() -> list[dict[str, Any]]:
    """One row before and after."""
    before = sample(STRENGTHS[1], 1)[0]
    after = redistribute(before, IMAGE, SINKS, SHOWN)
    return [
        {"what": "row", "token": j, "kind": kind(j), "before": before[j], "after": after[j]}
        for j in range(T)
    ]


def change(kept: float, strength: float, rows: int) -> dict[str, Any]:
    """Entropy change over random rows, by whether the sinks still lead."""
    a = sample(strength, rows)
    new = redistribute(a, IMAGE, SINKS, kept)
    lead = new[:, SINKS].min(axis=1) >= new[:, IMAGE & ~SINKS].max(axis=1)
    moved = entropy(new) - entropy(a)
    return {
        "what": "entropy", "mean": moved.mean(), "low": np.quantile(moved, 0.05),
        "high": np.quantile(moved, 0.95), "leading": int(lead.sum()),
        "least_leading": moved[lead].min() if lead.any() else None, "least": moved.min(),
        "fell": int(np.sum(moved < -ROUNDING)),
        "off": np.abs(new.sum(axis=1) - 1).max(),
    }  # fmt: skip


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    grid = [{"kept": k, "strength": s, "rows": p["rows"]} for s in STRENGTHS for k in p["kept"]]
    return Table([*sweep(example, [{}]), *sweep(change, grid)])


def findings(table: Table) -> list[Finding]:
    rows = Table(r for r in table.where(what="entropy") if r["kept"] < 1)
    leading = [r for r in rows if r["least_leading"] is not None]
    least, fall = min(r["least_leading"] for r in leading), min(r["least"] for r in rows)
    parts = []
    for s in STRENGTHS:
        r = rows.where(strength=s, kept=SHOWN)[0]
        parts.append(f"{r['mean']:+.3f} (sinks × {s:g}; {r['fell']} of {r['rows']} fall)")
    count = sum(r["leading"] for r in rows)
    return [
        derived(
            "Nothing on entropy",
            f"mean change at p = {SHOWN} {', '.join(parts)}; a row falls by up to {-fall:.2f}",
            fall < -FALL,
        ),
        derived(
            "That it cannot fall while the sinks lead is ours (majorisation)",
            f"they lead in {count} rows over all p < 1; the least change there is {least:+.1e}",
            count > ENOUGH and least > -ROUNDING,
        ),
        derived(
            "Row sums stay 1, by construction",
            f"they differ from 1 by at most {max(r['off'] for r in rows):.0e}",
            max(r["off"] for r in rows) < ROUNDING,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.5), width_ratios=(1.3, 1))
    hues = {"text": GREY, "sink": VERMILLION, "image": BLUE}
    names = {"text": "text", "sink": "sinks", "image": "other image tokens"}
    for k, hue in hues.items():
        rows = table.where(what="row", kind=k)
        x = np.array(rows.column("token"))
        left.bar(x - 0.2, rows.column("before"), width=0.4, color=hue, alpha=0.35)
        left.bar(x + 0.2, rows.column("after"), width=0.4, color=hue, label=names[k])
    left.set(xlabel="token", ylabel="attention")
    left.set_xticks(range(T))
    left.grid(axis="x", visible=False)
    left.set_title(f"One row before (pale) and after, $p$ = {SHOWN}")
    left.legend(loc="upper right")
    looks = ((PURPLE, "-"), (GREEN, "--"), (ORANGE, ":"))
    for s, (hue, line) in zip(STRENGTHS, looks, strict=True):
        rows = table.where(what="entropy", strength=s)
        p = rows.column("kept")
        right.fill_between(p, rows.column("low"), rows.column("high"), color=hue, alpha=0.15, lw=0)
        right.plot(
            p, rows.column("mean"), color=hue, linestyle=line, label=f"sinks weigh {s:g} × others"
        )
    right.axhline(0, color="black", linewidth=0.6)
    right.axvline(SHOWN, color="black", linewidth=0.6, linestyle=":")
    right.set(xlabel="share $p$ that sinks keep", ylabel="change of entropy, nats")
    right.set_title("Mean and 5–95 % of random rows")
    right.set_ylim(top=1.35)
    right.legend(loc="upper right")
    return figure
