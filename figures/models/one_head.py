"""One head of a language model: its weights, a spectrum, and the recurrence with four states."""

from __future__ import annotations

from typing import Any

import numpy as np

import dsf
from dsf.figures import Finding, Table, derived
from dsf.figures.dsf._common import plain_log
from dsf.figures.models._kept import TOKENS, kept
from dsf.tools.style import BLUE, GREY, TEXT, VERMILLION

TITLE = "Three states cannot imitate this head to a tenth, four can: both are proved"
SEE = (
    "The recurrence with four states (middle) repeats the bright columns of the head's weights "
    "(left). On the right the fourth singular value lies above the line at a tenth: what three "
    "states hand on from past to future misses at least that."
)
PAPER = (
    "How many states a head needs is known to us from no paper; that a recurrence with n states "
    "has Hankel blocks of rank n, and what they miss, are theorems (Dewilde and van der Veen 1998; "
    "Eckart and Young)."
)
DIFFERS = (
    "Head 0 of layer 8 of SmolLM2-135M-Instruct (weights of 4 bits) on 128 tokens of a text "
    "of our own; counts hold for these weights alone. The page tells the story of this head below."
)
ORDER = 5
THEOREMS = ("dsf/hankel_lower_bound", "dsf/minimal_realization")
PARAMETERS: dict[str, dict[str, Any]] = {"smoke": {}, "default": {}, "paper": {}}
LAYER, HEAD, ERROR = 8, 0, 0.1
TIME = 100.0  # seconds that a count may take
SHOWN = 12  # singular values


def compute(profile: str) -> Table:
    M = kept(LAYER, HEAD)
    norm = float(np.linalg.norm(M, 2))
    four = dsf.realize(M, rtol=ERROR, time_limit=TIME)
    three = dsf.realize(M, states=four.lower - 1, time_limit=TIME)
    four.check(), three.check()
    n = four.upper
    cut = max(range(n, TOKENS - n), key=lambda k: np.linalg.svd(M[k:, :k], compute_uv=False)[n - 1])
    s = np.linalg.svd(M[cut:, :cut], compute_uv=False) / norm
    fixed = {
        "necessary": four.lower, "sufficient": n, "error": four.error / norm,
        "floor": three.lower, "reached": three.upper, "cut": cut,
    }  # fmt: skip
    K = four.system.kernel()
    rows = [{"kind": "sigma", "i": i, "j": 0, "head": float(s[i]), "recurrence": 0.0, **fixed}
            for i in range(SHOWN)]  # fmt: skip
    i, j = np.tril_indices(TOKENS)
    rows += [
        {"kind": "weight", "i": int(a), "j": int(b), "head": round(float(M[a, b]), 5),
         "recurrence": round(float(K[a, b]), 5), **fixed}
        for a, b in zip(i, j, strict=True)
    ]  # fmt: skip
    return Table(rows)


def findings(table: Table) -> list[Finding]:
    r = table[0]
    return [
        derived(
            f"States for an error of {ERROR:g} |M| are not known",
            f"{r['necessary']} are necessary, {r['sufficient']} suffice; the recurrence misses by "
            f"at most {r['error']:.3f} |M|",
            True,
        ),
        derived(
            f"The best error of {r['necessary'] - 1} states is not known",
            f"between {r['floor']:.5f} and {r['reached']:.5f} of |M|",
            True,
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    figure, axes = plt.subplots(1, 3, figsize=(TEXT, 2.5), width_ratios=(1, 1, 0.9))
    weights = table.where(kind="weight")
    n = table[0]["sufficient"]
    for at, name, title in zip(
        axes, ("head", "recurrence"), ("the head", f"a recurrence, {n} states"), strict=False
    ):
        M = np.full((TOKENS, TOKENS), np.nan)
        M[weights.column("i"), weights.column("j")] = np.abs(weights.column(name))
        picture = at.imshow(M, norm=LogNorm(1e-3, 1, clip=True), cmap="Blues")
        at.set(title=title, xlabel="token looked at")
        at.grid(visible=False)
    axes[0].set_ylabel("token that looks")
    figure.colorbar(picture, ax=axes[:2].tolist(), label="weight (absolute value)", shrink=0.85)
    s = table.where(kind="sigma").column("head")
    axes[2].plot(range(1, len(s) + 1), s, color=BLUE, marker="o")
    axes[2].plot(n, s[n - 1], color=VERMILLION, marker="o")
    axes[2].axhline(ERROR, color=GREY, lw=1)
    axes[2].set(yscale="log", xlabel="singular value", ylabel="over |M|")
    axes[2].set_title(f"past to future, token {table[0]['cut']}")
    axes[2].set_xticks([1, 4, 8, 12])
    plain_log(axes[2].yaxis)
    return figure
