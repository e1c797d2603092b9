"""How much of a memory is in use: at a separator, and with gates that forget more or less."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, statement, sweep
from dsf.jacobians.linearise import Kernel
from dsf.kernels import linear_attention, softmax_attention
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, TEXT, VERMILLION

TITLE = "A gate that closes at a separator empties the memory, linear attention keeps it full"
SEE = (
    "Left: at the separator (grey line) the effective state-size of GLA falls to 0 and that of "
    "softmax over keys that change sides falls, while linear attention and fixed decays keep "
    "theirs. Right: with gates that forget less, more states are in use, and more pairs are "
    "recalled."
)
PAPER = (
    "The effective state-size of mixers with input-dependent gates falls at separators, that of "
    "linear attention does not; the size goes with recall, and shows when an initialisation of "
    "gates leaves states unused (Parnichkun et al. 2025, arXiv 2504.19561; read about, settings "
    "and numbers are not known)."
)
DIFFERS = (
    "Random tokens and no trained model: 16 states, 64 tokens with a separator in the middle, "
    "singular values above 0.05 of the kernel's norm, mean over seeds; the gate of GLA is 0.02 at "
    "the separator, keys of the second softmax get an offset of another sign after it. Right: "
    "gates are sigmoids of normal numbers plus 1, to the power 1/t; 16 pairs of unit keys and "
    "codes of 16 signs, of which the nearest to what is read after the last pair counts; sizes "
    "above 0.1 of the norm."
)
ORDER = 8
THEOREMS = ("dsf/hankel_lower_bound",)
SEED = 0
STATES, TOKENS, PAIRS, CODE = 16, 64, 16, 16
MIDDLE = TOKENS // 2
TOLERANCE, COARSE = 0.05, 0.1
CLOSED, OFFSET = 0.02, 3.0
TEMPERATURES = (1, 4, 16, 64)
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 12},
    "default": {"seeds": 16},
    "paper": {"seeds": 64},
}
HUES = {
    "linear attention": BLUE, "fixed decays": GREEN, "GLA": VERMILLION, "softmax": BLACK,
    "softmax, two sides": ORANGE,
}  # fmt: skip
FALLS = 0.5  # of the size away from the separator


def size_of(M: np.ndarray, cut: int, rtol: float) -> float:
    """The tolerance form at one cut: singular values above rtol |M|."""
    values = Kernel(M[:, None, :, None], leak=0.0).hankel_singular_values(cut)
    return float(np.sum(values > rtol * np.linalg.norm(M, 2)))


def separated(seed: int) -> list[dict[str, Any]]:
    """The size at every cut, for each mixer."""
    rng = np.random.default_rng([SEED, seed, 0])
    q, k = rng.standard_normal((2, TOKENS, 1, STATES)) / STATES**0.5
    v = np.eye(TOKENS)[:, None]
    gate = np.log(0.9 + 0.099 * rng.random((TOKENS, 1, STATES)))
    fixed = np.log(np.linspace(0.9, 0.999, STATES)) * np.ones((TOKENS, 1, 1))
    closing = gate.copy()
    closing[MIDDLE] = np.log(CLOSED)
    side = np.zeros(STATES)
    side[0] = OFFSET
    sides = np.where(np.arange(TOKENS) < MIDDLE, 1.0, -1.0)[:, None, None] * side
    wide = STATES**0.5
    kernels = {
        "linear attention": linear_attention(q, k, v)[0],
        "fixed decays": linear_attention(q, k, v, fixed)[0],
        "GLA": linear_attention(q, k, v, closing)[0],
        "softmax": softmax_attention(wide * q, wide * k, v),
        "softmax, two sides": softmax_attention(wide * q + sides, wide * k + sides, v),
    }
    return [
        {"mixer": name, "cut": cut, "size": size_of(M[:, 0], cut, TOLERANCE)}
        for name, M in kernels.items()
        for cut in range(2, TOKENS - 1, 2)
    ]


def recalled(temperature: int, seed: int) -> dict[str, Any]:
    """The mean size over cuts, and the share of pairs whose code is the nearest to what is read."""
    rng = np.random.default_rng([SEED, seed, temperature])
    L = 128
    q, k = rng.standard_normal((2, L, 1, STATES))
    gates = np.log(1 / (1 + np.exp(-rng.standard_normal((L, 1, STATES)) - 1))) / temperature
    M = linear_attention(q, k, np.eye(L)[:, None], gates)[0][:, 0]
    size = np.mean([size_of(M, c, COARSE) for c in range(8, L, 8)])
    keys = rng.standard_normal((PAIRS, 1, STATES))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    signs = rng.choice([-1.0, 1.0], (PAIRS, 1, CODE))
    S = linear_attention(keys, keys, signs, gates[:PAIRS])[1][0]
    nearest = np.argmax(keys[:, 0] @ S @ signs[:, 0].T, 1)
    return {"size": float(size), "recall": float(np.mean(nearest == np.arange(PAIRS)))}


def one(what: str, temperature: int, seed: int) -> list[dict[str, Any]]:
    if what == "separator":
        blank = {"recall": 0.0}
        return [{**r, **blank} for r in separated(seed)]
    return [{"mixer": "gates", "cut": 0, **recalled(temperature, seed)}]


def compute(profile: str) -> Table:
    seeds = range(PARAMETERS[profile]["seeds"])
    points = [("separator", 0, s) for s in seeds]
    points += [("gates", t, s) for t in TEMPERATURES for s in seeds]
    return sweep(one, [{"what": w, "temperature": t, "seed": s} for w, t, s in points])


def profile_of(table: Table, mixer: str) -> tuple[np.ndarray, np.ndarray]:
    """Cuts, and mean sizes there."""
    rows = table.where(what="separator", mixer=mixer)
    cuts = sorted(rows.values("cut"))
    return np.array(cuts), np.array([np.mean(rows.where(cut=c).column("size")) for c in cuts])


def at_the_separator(table: Table, mixer: str) -> tuple[float, float]:
    """The mean size away from the separator, and at it: what later tokens read of earlier ones."""
    cuts, sizes = profile_of(table, mixer)
    away = (np.abs(cuts - MIDDLE) >= 8) & (np.abs(cuts - MIDDLE) <= 16)
    return float(sizes[away].mean()), float(sizes[cuts == MIDDLE][0])


def gates(table: Table, name: str) -> np.ndarray:
    return np.array([
        np.mean(table.where(what="gates", temperature=t).column(name)) for t in TEMPERATURES
    ])  # fmt: skip


def findings(table: Table) -> list[Finding]:
    sizes = {m: at_the_separator(table, m) for m in HUES}
    told = ", ".join(f"{m} {a:.1f} to {b:.1f}" for m, (a, b) in sizes.items())
    falls = {m: b < FALLS * a for m, (a, b) in sizes.items()}
    size, recall = gates(table, "size"), gates(table, "recall")
    return [
        statement(
            "Gates that depend on the input empty the memory at a separator, linear attention and "
            "fixed decays do not",
            f"size away from the separator, and at it: {told}",
            falls["GLA"] and not falls["linear attention"] and not falls["fixed decays"],
        ),
        statement(
            "Softmax falls more at separators than GLA",
            f"softmax over random keys {sizes['softmax'][0]:.1f} to {sizes['softmax'][1]:.1f}, "
            f"over keys that change sides {sizes['softmax, two sides'][0]:.1f} to "
            f"{sizes['softmax, two sides'][1]:.1f}, GLA to {sizes['GLA'][1]:.1f}: by construction "
            "of the gates and keys, not by the mixer",
            sizes["softmax"][1] / sizes["softmax"][0] < sizes["GLA"][1] / sizes["GLA"][0],
        ),
        statement(
            "The size goes with recall, and gates that forget fast leave states unused",
            "t = 1, 4, 16, 64: size "
            + ", ".join(f"{x:.1f}" for x in size)
            + " of 16; pairs recalled "
            + ", ".join(f"{x:.2f}" for x in recall),
            bool(np.all(np.diff(size) > 0) and np.all(np.diff(recall) > 0)),
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.8))
    for mixer, hue in HUES.items():
        left.plot(*profile_of(table, mixer), color=hue, label=mixer)
    left.axvline(MIDDLE, color=GREY, lw=1)
    left.set(xlabel="cut after token", ylabel="effective state-size", title="a separator")
    right.plot(TEMPERATURES, gates(table, "size") / STATES, color=BLUE, marker="o",
               label="states in use")  # fmt: skip
    right.plot(TEMPERATURES, gates(table, "recall"), color=VERMILLION, marker="s",
               label="pairs recalled")  # fmt: skip
    right.set(xscale="log", xlabel="t, gates to the power 1/t", ylabel="share", ylim=(0, 1))
    right.set_xticks(TEMPERATURES, [str(t) for t in TEMPERATURES])
    right.minorticks_off()
    right.set_title("gates at the start")
    right.legend()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure
