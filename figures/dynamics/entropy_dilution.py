"""Attention over more and more keys flattens unless its temperature grows with their number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, statement, sweep
from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.interventions import position_temperature, softmax
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, PURPLE, TEXT, VERMILLION

TITLE = (
    "A constant temperature dilutes attention; one that grows like c log n keeps a share for long "
    "only if c is above 1/Δ"
)
SEE = (
    "On the left the weight of the relevant key falls to zero at a constant temperature, falls "
    "slowly at c = 1/Δ and tends to a share for the larger c. On the right the marks approach the "
    "lines of the law slowly, and only the temperature with the square root keeps a level entropy."
)
PAPER = (
    "Selective self-attention scales the queries by 1 + c log n over n keys so that attention does "
    "not flatten in long contexts; the code learns c = exp(−exp(b)) per layer (Zhang et al. 2024, "
    "arXiv 2411.12892). No number is given for this experiment."
)
DIFFERS = (
    "An experiment of our own: one relevant key leads by Δ = 3 on average, all logits carry "
    "uniform noise of ±2, so that it does not always win; c is fitted on n ≤ 256 by the "
    "cross-entropy of the relevant key and used for all n. The right panel has no relevant key: "
    "independent Gaussian logits, for which log n is the wrong order and √(2 log n) the right one. "
    "The limit of the weight is the share of noise for which the lead outgrows log n, so it is "
    "zero at c = 1/Δ and below. The thin lines are laws of ours: on the left the mean of 1/(1 + "
    "(n−1) e^{−τ(Δ+u)} sinh(2τ)/2τ) over the noise u of the relevant key, on the right 1 − τ²/(2 "
    "log n) down to 0 (random energy model, large n)."
)
ORDER = 5
THEOREMS = ("training/gaussian_logits", "training/ssa_temperature")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"largest": 10, "draws": 50},
    "default": {"largest": 14, "draws": 200},
    "paper": {"largest": 16, "draws": 1000},
}
GAP, NOISE, FITTED = 3.0, 2.0, (16, 64, 256)
LOST, KEPT = 0.1, 0.5  # of the weight at the fewest keys: less is left, or more than half
LAW, LAWFUL = 0.01, 256  # how far weights are from the law, from how many keys on
BOUNDED = ("constant", "logarithmic, c = 1/Δ", "learned c")
LAWS = {
    "bounded": "law: $1/(1 + (n-1)\\,e^{-\\tau(\\Delta+u)}\\,\\sinh(2\\tau)/2\\tau)$, mean over u",
    "gaussian": "law for large n: $1 - \\tau^2/(2\\log n)$ down to 0",
}
GAUSSIAN = {
    "constant": lambda n: 1.0,
    "0.5 log n": lambda n: 0.5 * math.log(n),
    "0.7 √(2 log n)": lambda n: 0.7 * math.sqrt(2 * math.log(n)),
}


def logits(n: int, draws: int, seed: int) -> np.ndarray:
    """Bounded logits [draws n]; key 0 is the relevant one."""
    s = np.random.default_rng([seed, n]).uniform(-NOISE, NOISE, (draws, n))
    # the same noise of the relevant key for every n, so that only n differs
    s[:, 0] = GAP + np.random.default_rng(seed).uniform(-NOISE, NOISE, draws)
    return s


def loss(coefficient: float, draws: int, seed: int) -> float:
    """Cross-entropy of the relevant key, mean over the lengths used for fitting."""
    total = 0.0
    for n in FITTED:
        s = float(position_temperature(np.array(n), coefficient)) * logits(n, draws, seed)
        total += float(np.mean(np.logaddexp.reduce(s, axis=1) - s[:, 0]))
    return total / len(FITTED)


def fitted(draws: int, seed: int) -> float:
    """The c = exp(-exp(b)) in (0, 1) of least loss, on draws that are not used otherwise."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda b: loss(math.exp(-math.exp(b)), draws, seed + 1), bounds=(-6, 3), method="bounded"
    )
    return math.exp(-math.exp(found.x))


def weight_law(n: int, tau: float, lead: np.ndarray) -> float:
    """Mean over draws of the relevant key's weight, with the sum over the others replaced by its
    expectation (n - 1) sinh(tau B) / (tau B); logits `lead` of the relevant key."""
    log_others = math.log(n - 1) + tau * NOISE + math.log(-math.expm1(-2 * tau * NOISE))
    log_others -= math.log(2 * tau * NOISE)
    return float(np.mean(1 / (1 + np.exp(log_others - tau * lead))))


def one(largest: int, draws: int, seed: int) -> list[dict[str, Any]]:
    learned = fitted(1000, seed)
    rows: list[dict[str, Any]] = []
    for n in 2 ** np.arange(4, largest + 1):
        s = logits(int(n), draws, seed)
        for name, c in zip(BOUNDED, (0.0, 1 / GAP, learned), strict=True):
            tau = float(position_temperature(np.array(n), c))
            A = softmax(tau * s)
            rows.append({
                "logits": "bounded", "temperature": name, "n": n, "c": c,
                "entropy": entropy(A).mean() / math.log(n), "weight": A[:, 0].mean(),
                "law": weight_law(int(n), tau, s[:, 0]),
            })  # fmt: skip
        g = np.random.default_rng([int(seed), int(n), 1]).standard_normal((draws, n))
        for name, scale in GAUSSIAN.items():
            H = entropy(softmax(scale(n) * g)).mean() / math.log(n)
            law = max(0.0, 1 - scale(n) ** 2 / (2 * math.log(n)))
            rows.append({
                "logits": "gaussian", "temperature": name, "n": n, "entropy": H, "law": law,
            })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    return sweep(one, [{**PARAMETERS[profile], "seed": SEED}])


def limit(c: float) -> float:
    """The weight for n -> inf: the share of the noise u with c (GAP - NOISE + u) > 1."""
    return min(1.0, max(0.0, (GAP - 1 / c) / (2 * NOISE))) if c > 0 else 0.0


def findings(table: Table) -> list[Finding]:
    first, last = min(table.column("n")), max(table.column("n"))
    bounded, gaussian = table.where(logits="bounded"), table.where(logits="gaussian")
    ends, words = {}, {}
    for name in BOUNDED:
        rows = bounded.where(temperature=name)
        ends[name] = rows[-1]["weight"] / rows[0]["weight"]
        c = rows[0]["c"]
        words[name] = (
            f"{rows[0]['weight']:.3f} at n = {first}, {rows[-1]['weight']:.3f} at {last} "
            f"(c = {c:.3f}, limit {limit(c):.2f})"
        )
    spread = []
    for name in GAUSSIAN:
        rows = gaussian.where(temperature=name)
        spread.append(f"{rows[0]['entropy']:.2f} to {rows[-1]['entropy']:.2f} ({name})")
    off = max(abs(r["weight"] - r["law"]) for r in bounded if r["n"] >= LAWFUL)
    constant, edge, learned = BOUNDED
    return [
        statement(
            "Attention flattens in long contexts",
            f"weight of the relevant key at a constant temperature {words[constant]}",
            ends[constant] < LOST,
        ),
        statement(
            "Queries scaled by 1 + c log n do not flatten",
            f"weight with the fitted c {words[learned]}; with c = 1/Δ {words[edge]}",
            ends[learned] > KEPT and limit(bounded.where(temperature=learned)[0]["c"]) > 0,
        ),
        derived(
            "The law of the weight, and with it the limits, is ours",
            f"the weights are within {off:.3f} of it for n ≥ {LAWFUL}",
            off < LAW and ends[constant] < ends[edge] < ends[learned],
        ),
        derived(
            "Nothing on Gaussian logits",
            f"entropy over log n for n from {first} to {last}: {', '.join(spread)}",
            True,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.9))
    blue, red = (BLUE, "o"), (VERMILLION, "s")
    panels = (
        (left, "bounded", BOUNDED, "weight", (blue, red, (GREEN, "^"))),
        (right, "gaussian", tuple(GAUSSIAN), "entropy", (blue, red, (PURPLE, "D"))),
    )
    for axes, kind, names, column, looks in panels:
        for name, (hue, marker) in zip(names, looks, strict=True):
            rows = table.where(logits=kind, temperature=name)
            n = rows.column("n")
            c = rows[0]["c"]
            label = f"τ = 1 + {c:.2f} log n ({name})" if kind == "bounded" and c else f"τ = {name}"
            label = "τ = 1" if name == "constant" else label.replace("logarithmic, ", "")
            axes.plot(n, rows.column(column), color=hue, marker=marker, linestyle="", label=label)
            axes.plot(n, rows.column("law"), color=hue, linewidth=0.8)
        axes.plot([], [], color=BLACK, linewidth=0.8, label=LAWS[kind])
        axes.set_xscale("log", base=2)
        axes.set(xlabel="number of keys $n$", ylim=(0, 1))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25))
    for name in BOUNDED:
        rows = table.where(logits="bounded", temperature=name)
        left.annotate(
            f"limit {limit(rows[0]['c']):.2f}", (1, max(rows[-1]["weight"], 0.03)), xytext=(-2, 5),
            xycoords=left.get_yaxis_transform(), textcoords="offset points", ha="right",
            fontsize="small", color=GREY,
        )  # fmt: skip
    left.set(ylabel="weight of the relevant key")
    left.set_title("Bounded logits: one key leads by Δ = 3 on average")
    right.set(ylabel="entropy / log $n$")
    right.set_title("Gaussian logits: no key leads")
    return figure
