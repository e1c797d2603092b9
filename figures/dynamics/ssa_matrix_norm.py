"""A graph with sharp and flat rows, learned with one temperature and with one per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Table, sweep
from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.transition_toy import DEGREES, fit, graph
from dsf.tools.style import BLACK, BLUE, TEXT, VERMILLION

TITLE = "With one temperature sharp and flat rows leave an error that larger weights do not remove"
PAPER = (
    "On a small graph whose nodes have few or many neighbours, selective self-attention learns the "
    "transition matrix better and with smaller weights than attention with one temperature (Zhang "
    "et al. 2024, arXiv 2411.12892). The setting and the numbers of that figure are not known."
)
DIFFERS = (
    "Our own graph: 12 tokens, random unit embeddings in 6 dimensions, nodes with 1, 2, 4, 8 "
    "neighbours; L-BFGS on the mean KL divergence with a ridge on W. The temperatures are 1 + "
    "tanh(f) in (0, 2), f free per token. Only τW counts, so with free τ |W| alone could be as "
    "small as one likes; the axis is max τ |W|."
)
ORDER = 5.5
RIDGES = [10**-e for e in (1, 1.5, 2, 2.5, 3, 4, 5)]
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2, "ridges": [1e-1, 1e-2, 1e-3]},
    "default": {"seeds": 5, "ridges": RIDGES},
    "paper": {"seeds": 20, "ridges": RIDGES},
}
NAMES = ("one temperature", "one per token")
SHOWN = 1e-3  # the ridge of the right panel


def one(seed: int, ridge: float) -> list[dict[str, Any]]:
    E, P = graph(seed)
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        found = fit(E, P, ridge, scales=name == NAMES[1])
        H = entropy(found.rows)
        rows.append({
            "attention": name, "kl": found.kl, "l1": found.l1(P), "size": found.size,
            "norm": np.linalg.norm(found.W), "converged": found.converged,
            **{f"H{k}": H[i :: len(DEGREES)].mean() for i, k in enumerate(DEGREES)},
        })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    return sweep(one, [{"seed": s, "ridge": r} for s in range(p["seeds"]) for r in p["ridges"]])


def mean(table: Table, name: str, column: str) -> list[float]:
    """Mean over seeds, per ridge."""
    rows = table.where(attention=name)
    return [float(np.mean(rows.where(ridge=r).column(column))) for r in rows.values("ridge")]


def at_equal(table: Table, size: str) -> list[float]:
    """KL with a temperature per token over KL with one, per seed, at the `size` that one
    temperature needs at the ridge shown; interpolated over the ridges."""
    found = []
    for seed in table.values("seed"):
        plain = table.where(seed=seed, attention=NAMES[0], ridge=SHOWN)[0]
        rows = sorted(table.where(seed=seed, attention=NAMES[1]), key=lambda r: r[size])
        kl = np.interp(plain[size], [r[size] for r in rows], [r["kl"] for r in rows])
        found.append(float(kl) / plain["kl"])
    return found


def measured(table: Table) -> tuple[str, str]:
    parts = []
    k = table.values("ridge").index(SHOWN)
    for name in NAMES:
        kl, l1, norm = (mean(table, name, c)[k] for c in ("kl", "l1", "norm"))
        parts.append(f"KL {kl:.2f}, L1 {l1:.2f}, |W| {norm:.1f} ({name})")
    sharp, flat = (
        " and ".join(f"{mean(table, name, c)[k]:.2f}" for name in NAMES) for c in ("H1", "H8")
    )
    last = [mean(table, name, "kl")[-1] for name in NAMES]
    ratios = {c: at_equal(table, c) for c in ("size", "norm")}
    at = ", ".join(
        f"{min(r):.2f} to {max(r):.2f} at the same {name}"
        for name, r in zip(("max τ |W|", "|W|"), ratios.values(), strict=True)
    )
    least = min(table.values("ridge"))
    text = (
        f"Ridge {SHOWN:g}, means over {len(table.values('seed'))} graphs: {'; '.join(parts)}. KL "
        f"with temperatures over KL without: {at}. At ridge {least:g} KL is {last[0]:.2f} and "
        f"{last[1]:.2f}. Entropy of the rows with one neighbour (0 is right): {sharp}; with eight "
        f"(ln 8 = 2.08): {flat}."
    )
    holds = max(ratios["size"]) < 1 and last[1] < 0.6 * last[0]
    return text, "no number in the paper" if holds else "does not hold"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.5))
    looks = ((BLUE, "-", "o"), (VERMILLION, "--", "s"))
    for name, (hue, line, marker) in zip(NAMES, looks, strict=True):
        for seed in table.values("seed"):
            rows = table.where(attention=name, seed=seed)
            left.plot(rows.column("size"), rows.column("kl"), color=hue, linewidth=0.5, alpha=0.4)
        look = {"color": hue, "linestyle": line, "marker": marker, "label": name}
        left.plot(mean(table, name, "size"), mean(table, name, "kl"), **look)
        ridge = table.values("ridge").index(SHOWN)
        H = [mean(table, name, f"H{k}")[ridge] for k in DEGREES]
        right.plot(DEGREES, H, **look)
    right.plot(DEGREES, np.log(DEGREES), color=BLACK, linestyle=":", label="the graph")
    left.set(
        xscale="log",
        xlabel="size of the weights, $\\max_i\\tau_i\\,|W|_F$",
        ylabel="mean KL divergence, nats",
    )
    left.set_ylim(bottom=0)
    left.set_title("Error against size (thin: single graphs)")
    right.set_xscale("log", base=2)
    right.set_xticks(DEGREES, [str(k) for k in DEGREES])
    right.set(xlabel="neighbours of the node", ylabel="entropy of its row, nats")
    right.set_title("Sharp and flat rows, ridge $10^{-3}$")
    right.legend(loc="lower right")
    return figure
