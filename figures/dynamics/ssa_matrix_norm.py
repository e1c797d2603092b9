"""A graph with sharp and flat rows, learned with one temperature and with one per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.transition_toy import DEGREES, fit, graph
from dsf.tools.style import BLACK, BLUE, TEXT, VERMILLION

TITLE = "With one temperature sharp and flat rows leave an error that larger weights hardly remove"
SEE = (
    "On the left the blue curve of one temperature flattens out above the red one, so larger "
    "weights hardly help it. On the right one temperature makes the rows with one neighbour too "
    "flat, and one temperature per token brings the sharp ones closer to the dotted line of the "
    "graph."
)
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
THEOREMS = ("training/ssa_decoupling",)
# powers 10^-1 to 10^-5 as stored with the kept results: the last bits of a power are the CPU's
RIDGES = [0.1, 0.03162277660168379, 0.01, 0.0031622776601683794, 0.001, 0.0001, 1e-05]
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


def findings(table: Table) -> list[Finding]:
    k = table.values("ridge").index(SHOWN)
    ratios = {c: at_equal(table, c) for c in ("size", "norm")}
    kl, norm = ([mean(table, name, c)[k] for name in NAMES] for c in ("kl", "norm"))
    sharp, flat = (
        " and ".join(f"{mean(table, name, c)[k]:.2f}" for name in NAMES) for c in ("H1", "H8")
    )
    least = min(table.values("ridge"))
    last = [mean(table, name, "kl")[-1] for name in NAMES]
    size, plain = ratios["size"], ratios["norm"]
    return [
        statement(
            "A temperature per token learns the transition matrix better",
            f"mean KL divergence {kl[1]:.2f}, with one temperature {kl[0]:.2f}, at ridge {SHOWN:g} "
            f"over {len(table.values('seed'))} graphs; {min(size):.2f} to {max(size):.2f} of it at "
            "the same max τ |W|",
            max(size) < 1 and kl[1] < kl[0],
        ),
        statement(
            "It does so with smaller weights",
            f"at the same |W| the KL divergence is {min(plain):.2f} to {max(plain):.2f} of that "
            f"with one temperature (at the same ridge |W| is {norm[1]:.1f} for {norm[0]:.1f})",
            max(plain) < 1,
        ),
        unknown(
            "The setting and the numbers of the figure",
            f"KL {last[0]:.2f} and {last[1]:.2f} at ridge {least:g}; entropy of rows with one "
            f"neighbour (0 is right) {sharp}, with eight (ln 8 = 2.08) {flat}",
        ),
    ]


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
