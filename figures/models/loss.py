"""What a language model loses when its heads are recurrences of few states."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import dsf
from dsf.figures import Finding, Table, statement, sweep, unknown
from dsf.figures.dsf._common import plain_log
from dsf.figures.models._again import KEPT, beside, numbers, part
from dsf.figures.models._kept import HEADS, kept
from dsf.figures.models._subject import RANDOM, REAL, TOKENS, subject
from dsf.models import Plan, inspect, plan, replace
from dsf.models.capture import run
from dsf.models.head import entropy
from dsf.models.probes import TEXT as OWN
from dsf.models.replacement import next_token_loss
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, TEXT, VERMILLION

TITLE = "On one text all heads as recurrences of 4 states lose next to nothing"
SEE = (
    "Left: the loss comes down to that of the model as it is (grey) at 4 states for each head; the "
    "half of the heads with the lower effective state-size costs as much as the other, and a plan "
    "by errors gains little. Right: yet heads with a higher effective state-size are further from "
    "a recurrence of 4 states."
)
PAPER = (
    "The effective state-size of a mixer, made from the singular values of its Hankel blocks, "
    "tells how well it can be distilled into a smaller state: the higher, the harder (Parnichkun "
    "et al. 2025, arXiv 2504.19561; read about, its numbers are not known)."
)
DIFFERS = (
    "Nothing is distilled: each head becomes the linear recurrence that the truncated realization "
    "of its own weights gives on this text, with coefficients that know all of it. One English "
    "text of 154 tokens, SmolLM2-135M-Instruct with weights of 4 bits, 270 heads. Losses are "
    "measured, errors of heads proved, relative in the operator norm. The effective state-size is "
    "the exponential of the entropy of singular values, its mean over 16 cuts. Profile default "
    "draws the kept result and computes the right panel again for nine heads, from their weights; "
    "profile smoke takes random weights, whose losses mean nothing."
)
ORDER = 2
THEOREMS = ("dsf/sequential_truncation", "dsf/hankel_lower_bound")
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {"source": RANDOM, "sizes": [1, 2, 4], "some": [1, 2], "layers": 2},
    "default": {"source": KEPT},
    "paper": {"source": REAL, "sizes": [1, 2, 4, 8, 16], "some": [1, 2], "layers": 30},
}
NAMES = {
    "all": "all heads", "low": "half of lower effective state-size",
    "high": "half of higher effective state-size", "plan": "all heads, states by plan",
}  # fmt: skip
HUES = {"all": BLACK, "low": BLUE, "high": VERMILLION, "plan": GREEN}
SHOWN = ("error", "floor", "size")
PLANNED = (1, 2, 4)
LENGTHS = {REAL: TOKENS, RANDOM: 24}
AT = 4  # states at which the errors of heads are compared
RANKS = 0.5  # a rank correlation from which on one tells of the other
ENOUGH = 0.05  # nats per token: a loss this near to that of the model is the same on 154 tokens


@cache
def sizes_of(source: str) -> dict[tuple[str, int], float]:
    """The effective state-size (entropy) of each head."""
    model, tokens = subject(source, LENGTHS[source])
    found = inspect(model, tokens, rtol=(0.1,), probes="text", keep=False).rows
    return {(h.module, h.head): float(h.entropy or 0.0) for h in found}


@cache
def plain(source: str) -> tuple[float, tuple[str, ...]]:
    """The loss of the model as it is, and its modules in the order of their calls."""
    model, tokens = subject(source, LENGTHS[source])
    seen: list[str] = []
    out = run(model, (tokens,), {}, lambda call: seen.append(call.module))
    return next_token_loss(out, tokens), tuple(dict.fromkeys(seen))


def replaced(source: str, **chosen: Any) -> dict[str, Any]:
    """The loss with heads replaced, and what was replaced."""
    model, tokens = subject(source, LENGTHS[source])
    with replace(model, **chosen) as found:
        loss = next_token_loss(model(tokens), tokens)
    return {
        "loss": loss, "plain": plain(source)[0], "heads": len(found.rows), "states": found.states,
        "error": float(np.median(found.errors)), "worst": float(found.errors.max()),
        "floor": 0.0, "head": -1, "size": 0.0,
    }  # fmt: skip


def one(source: str, what: str, part: int, n: int) -> list[dict[str, Any]]:
    """A run with heads replaced; "plan": states n for each head on average; "heads": no run."""
    if what == "heads":
        return each_head(source, n)
    if what == "plan":
        found = plans(source)[PLANNED.index(n)]
        return [{**replaced(source, plan=found), "floor": found.floor}]
    if what == "module":
        name = plain(source)[1][part]
        return [replaced(source, states=n, heads=lambda module, _: module == name)]
    order = sorted(sizes := sizes_of(source), key=sizes.__getitem__)
    half = len(order) // 2
    chosen = {"all": order, "low": order[:half], "high": order[half:]}[what]
    return [replaced(source, states=n, heads=set(chosen))]


@cache
def plans(source: str) -> tuple[Plan, ...]:
    """Plans whose totals are 1, 2 and 4 states for each head."""
    model, tokens = subject(source, LENGTHS[source])
    return plan(model, tokens, total=[n * len(sizes_of(source)) for n in PLANNED])


def each_head(source: str, n: int) -> list[dict[str, Any]]:
    """The effective state-size of each head and the proved error of its n states."""
    model, tokens = subject(source, LENGTHS[source])
    rows: list[dict[str, Any]] = []
    names = plain(source)[1]

    def visit(call: Any) -> None:
        for h in range(call.heads):
            found = dsf.realize(call.weights(h), states=n)
            rows.append({
                "loss": 0.0, "plain": 0.0, "heads": names.index(call.module), "states": n,
                "error": float(found.upper), "worst": 0.0, "floor": float(found.lower),
                "head": h, "size": sizes_of(source)[call.module, h],
            })  # fmt: skip

    run(model, (tokens,), {}, visit)
    return rows


def again() -> list[dict[str, Any]]:
    """What `each_head` tells of the heads whose weights are kept."""
    rows = []
    for layer, head in HEADS[OWN]:
        M = kept(layer, head, tokens=TOKENS)
        found = dsf.realize(M, states=AT)
        rows.append({
            "what": "heads", "heads": layer, "head": head,
            "error": float(found.upper), "floor": float(found.lower), "size": entropy(M),
        })  # fmt: skip
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    if p["source"] == KEPT:
        return beside(__file__, ("what", "heads", "head"), again())
    runs = [("all", -1, n) for n in p["sizes"]]
    runs += [(what, -1, n) for what in ("low", "high", "plan") for n in p["some"]]
    runs += [("module", i, 1) for i in range(p["layers"])] + [("heads", -1, AT)]
    return sweep(one, [
        {"source": p["source"], "what": what, "part": part, "n": n} for what, part, n in runs
    ])  # fmt: skip


def losses(table: Table, what: str) -> tuple[np.ndarray, np.ndarray]:
    """States for each head, and the losses."""
    rows = table.where(what=what)
    return np.array(rows.column("n")), np.array(rows.column("loss"))


def costs(table: Table) -> np.ndarray:
    """What one state for each head of a layer costs, in nats per token: [layers]."""
    rows = table.where(what="module")
    return np.array(rows.column("loss")) - np.array(rows.column("plain"))


def _told(table: Table, what: str) -> str:
    return ", ".join(f"{x:.3f} (n = {n})" for n, x in zip(*losses(table, what), strict=True))


def findings(table: Table) -> list[Finding]:
    if table.values("source") != [REAL]:
        return [unknown("A trained model", "random weights, whose losses mean nothing")]
    each = table.where(what="heads")
    rank = float(spearmanr(each.column("size"), each.column("error")).statistic)
    base = float(table.where(what="all").column("plain")[0])
    half = {w: losses(table, w)[1][0] - base for w in ("low", "high")}
    cost = costs(table)
    dear = np.argsort(-cost)[:3]
    sizes, all_ = losses(table, "all")
    enough = [int(n) for n, x in zip(sizes, all_, strict=True) if x - base < ENOUGH]
    sums = ", ".join(f"{r['floor']:.3g} (n = {r['n']})" for r in table.where(what="plan"))
    return [
        statement(
            "The higher the effective state-size, the harder a head is to bring to a small state",
            f"rank correlation (Spearman) of the effective state-size of a head and the proved "
            f"error of its {AT} states over {len(each)} heads: {rank:.2f}",
            rank > RANKS,
        ),
        unknown(
            "No loss by halves of the heads",
            f"one state each costs {half['low']:.3f} nats per token in the half of the heads with "
            f"the lower effective state-size and {half['high']:.3f} in the other",
        ),
        unknown(
            "No loss of a language model as a function of the states of all heads",
            f"{base:.3f} nats per token as it is; {_told(table, 'all')}; within {ENOUGH:g} of it "
            f"for n = {', '.join(map(str, enough)) or 'none'}",
        ),
        unknown(
            "Nothing on layers",
            f"one state for each head of one layer costs most in layers "
            f"{', '.join(f'{i} ({cost[i]:.3f})' for i in dear)}, in the median layer "
            f"{np.median(cost):.3f} nats per token",
        ),
        unknown(
            "Nothing on plans",
            f"n states for each head on average, spent by the sum of squared errors: "
            f"{_told(table, 'plan')} nats per token; no plan brings that sum below {sums}, proved",
        ),
        *numbers(table, SHOWN, f"errors and sizes of {len(HEADS[OWN])} heads"),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TEXT, 2.8))
    for what, name in NAMES.items():
        mark = {"all": "o", "low": "v", "high": "^", "plan": "s"}[what]
        left.plot(*losses(table, what), mark + "-", color=HUES[what], markersize=4, label=name)
    left.axhline(table.where(what="all").column("plain")[0], color=GREY, linewidth=0.8)
    left.set(xscale="log", xlabel="states of a head, n", ylabel="nats per token")
    left.set_xticks(ticks := sorted(set(table.where(what="all").column("n"))), map(str, ticks))
    left.minorticks_off()
    left.set_title("Loss, heads as recurrences")
    cost = costs(table)
    middle.bar(range(len(cost)), cost, color=BLACK, width=0.8)
    middle.axhline(0, color=GREY, linewidth=0.8)
    middle.set(xlabel="layer", ylabel="nats per token more")
    middle.set_title("One layer, n = 1")
    each = table.where(what="heads")
    size, error = each.column("size"), each.column("error")
    right.vlines(size, each.column("floor"), error, color=BLUE, linewidth=0.8,
                 label="down to its floor")  # fmt: skip
    right.plot(size, error, ".", color=BLACK, markersize=2, label="proved error")
    if redone := part(table, "error"):
        right.plot(redone.column("size_again"), redone.column("error_again"), "o", ms=5,
                   mfc="none", mec=VERMILLION, label="computed again")  # fmt: skip
    right.set(xlabel="effective state-size", ylabel="error / |M|", xscale="log", yscale="log")
    plain_log(right.xaxis)
    right.set_title(f"Heads, n = {AT}")
    right.legend(fontsize="small", loc="lower right")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncol=4,
                  fontsize="small")  # fmt: skip
    return figure
