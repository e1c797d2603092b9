"""How many states each mechanism needs on a text that comes with Python."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import replace
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import dsf
from dsf.core.kinds import Attention
from dsf.core.mechanism import Mechanism
from dsf.core.transition import dense
from dsf.figures import Finding, Table, derived, sweep, unknown
from dsf.figures.dsf._common import plain_log
from dsf.tools.style import BLACK, GREY, TEXT, color

TITLE = "On a real text most untrained mechanisms need fewer states than they have"
SEE = (
    "Almost every mark lies to the left of the grey bar of its row, the size of the state: on this "
    "text a smaller recurrence would do the same up to the error. Softmax, which has no fixed "
    "state, stays below the dotted line, the number of different bytes."
)
PAPER = (
    "The state dimension N = n d is the size by which attention, state space models and RNNs are "
    "compared: softmax attention has an unbounded state, the others the one they are built with "
    "(Sieber et al. 2024). How much of it a text needs is not in the paper."
)
DIFFERS = (
    "The text is the start of the topic OBJECTS of Python's built-in help, read as bytes; each "
    "byte has a fixed Gaussian embedding (d = 64). Nothing is trained: parameters are drawn with "
    "the initialisation of each paper, n = 32, one head or channel (LRU: from input channel 0 to "
    "output channel 0); logits × 4 is temperature 1/4. Counted are the states of any recurrence "
    "whose kernel is within the error, relative in the operator 2-norm, on this text. Softmax "
    "without positions never needs more of them than there are different bytes. Text and counts "
    "change a little between versions of Python; the table holds the version and the SHA-256 of "
    "the text."
)
ORDER = 7
THEOREMS = ("dsf/hankel_lower_bound", "dsf/balanced_truncation")
SEED = 0
TOPIC = "objects"
ERRORS = (0.1, 0.01)
HEADS = {
    "softmax*4": "softmax, logits × 4",
    "softmax*1": "softmax",
    "softmax*1/4": "softmax, logits / 4",
    "window_softmax(width=32)": "window softmax (32)",
    "linear_attn": "linear attention",
    "linear_attn(phi=elu+1,normalise=True)": "linear attention, elu+1, normalised",
    "normalised_attn": "normalised attention",
    "retnet": "RetNet",
    "retnet(rotation=True)": "RetNet, rotation",
    "s4d": "S4D",
    "lru": "LRU",
    "mamba": "S6 (Mamba)",
    "mamba2": "SSD (Mamba-2)",
    "mamba3": "Mamba-3",
    "gla": "GLA",
    "rwkv6": "RWKV-6",
    "mlstm": "mLSTM",
    "deltanet": "DeltaNet",
    "gated_deltanet": "gated DeltaNet",
    "deltaproduct": "DeltaProduct",
    "qlstm": "qLSTM",
    "rglru": "RG-LRU",
}
PARAMETERS = {
    "smoke": {
        "length": 96, "width": 8, "states": 4, "heads": ["softmax*1", "gla", "s4d", "mamba3"],
    },
    "default": {"length": 1024, "width": 64, "states": 32, "heads": list(HEADS)},
    "paper": {"length": 2048, "width": 64, "states": 64, "heads": list(HEADS)},
}  # fmt: skip


def text(length: int) -> bytes:
    """The first `length` bytes of the topic."""
    return topics[TOPIC].encode()[:length]


def embedded(data: bytes, width: int, seed: int) -> np.ndarray:
    """u [L width]: every byte value has a row of Gaussian numbers."""
    table = np.random.default_rng(seed).standard_normal((256, width))
    return table[np.frombuffer(data, np.uint8)]


def drawn(head: str, width: int, states: int, seed: int) -> Mechanism:
    """An instance; "softmax*4" has its logits multiplied by 4."""
    name, _, scale = head.partition("*")
    mech = dsf.family(name).init(d=width, n=states, p=1, seed=seed)
    if scale:
        top, _, bottom = scale.partition("/")
        mech = replace(mech, Wq=mech.Wq * (float(top) / float(bottom or 1)))
    return mech


def single_kernel(mech: Mechanism, u: np.ndarray) -> np.ndarray:
    """The map from values to outputs of the first head or channel: M [L L], or [L r L m]."""
    if isinstance(mech, Attention):
        return mech.kernel(u)[0]
    ltv = mech.ltv(u)
    if ltv.batch:  # one of the heads, or of the channels, which act as heads
        heads = ltv.batch[0]
        ltv = ltv.map(lambda x: x[:1] if x.ndim > 2 and x.shape[0] == heads else x)
        M = np.real(ltv.kernel())[0]
    else:  # LRU mixes the channels
        B, C, D = dense(ltv.B), dense(ltv.C), None if ltv.D is None else dense(ltv.D)[..., :1, :1]
        M = np.real(replace(ltv, B=B[..., :1], C=C[..., :1, :], D=D).kernel())
    if mech.lookback == 1:  # two writes per token, of v_{t-1} and of v_t
        now, before = M[:, 0, :, 1], M[:, 0, :, 0]
        now[:, :-1] += before[:, 1:]
        M = now
    return M


def own_states(mech: Mechanism) -> int | None:
    """Real numbers in the state of one head and value channel; None if it grows."""
    if isinstance(mech, Attention):
        return None if mech.lookback is None else mech.lookback + 1
    complex_state = mech.facts.state.startswith("2*")
    return mech.sizes.get("n", 1) * (2 if complex_state else 1)


def one(
    head: str, length: int, width: int, states: int, seed: int, topic: str, python: str
) -> list[dict[str, Any]]:
    data = text(length)
    mech = drawn(head, width, states, seed)
    M = single_kernel(mech, embedded(data, width, seed))
    rows = []
    for error in ERRORS:
        found = dsf.realize(M, rtol=error, time_limit=120.0)
        rows.append({"error": error, "lower": int(found.lower), "upper": int(found.upper)})
    common = {
        "own": own_states(mech),
        "bytes": len(data),
        "distinct": len(set(data)),
        "sha256": "sha256:" + hashlib.sha256(data).hexdigest(),
    }
    return [{**row, **common} for row in rows]


def compute(profile: str) -> Table:
    p: dict[str, Any] = dict(PARAMETERS[profile])
    heads = p.pop("heads")
    point = {**p, "seed": SEED, "topic": TOPIC, "python": "Python " + platform.python_version()}
    return sweep(one, [{"head": h, **point} for h in heads])


def findings(table: Table) -> list[Finding]:
    def counts(head: str) -> str:
        rows = table.where(head=head)
        return " and ".join(
            f"{r['lower']}" if r["lower"] == r["upper"] else f"{r['lower']} to {r['upper']}"
            for r in rows
        )

    softmax = [h for h in table.values("head") if h.startswith("softmax")]
    heads = "; ".join(f"{HEADS[h]} {counts(h)}" for h in softmax)
    first = table[0]
    fixed = [r for r in table.where(error=ERRORS[-1]) if r["own"] is not None]
    fewer = sum(r["upper"] < r["own"] for r in fixed)
    gap = max(r["upper"] - r["lower"] for r in table)
    bound = all(r["lower"] <= r["upper"] <= (r["own"] or r["distinct"]) for r in table)
    return [
        derived(
            "Softmax attention has an unbounded state; what a text needs is not in the paper",
            f"states for relative errors {ERRORS[0]} and {ERRORS[1]} on {first['bytes']} bytes "
            f"with {first['distinct']} different values: {heads}",
            bound,
        ),
        unknown(
            "The others have the state they are built with",
            f"{fewer} of {len(fixed)} untrained heads with a fixed state need fewer states even "
            f"for error {ERRORS[1]}; lower and upper bound differ by {gap} at most "
            f"({first['python']}, {first['sha256'][:19]}…)",
        ),
    ]


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    heads = table.values("head")
    figure, axes = plt.subplots(figsize=(TEXT, 0.8 + 0.19 * len(heads)))
    looks = {0.1: ("o", -0.16, None), 0.01: ("s", 0.16, "w")}
    for y, head in enumerate(heads):
        hue = color(head.partition("(")[0].partition("*")[0])
        for row in table.where(head=head):
            marker, shift, fill = looks[row["error"]]
            axes.plot(
                [row["lower"], row["upper"]], [y + shift, y + shift], color=hue, marker=marker,
                markerfacecolor=fill or hue, linewidth=1.5,
            )  # fmt: skip
        if row["own"]:
            axes.plot(row["own"], y, color=GREY, marker="|", markersize=9, linestyle="none")
    distinct = table[0]["distinct"]
    axes.axvline(distinct, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(heads)), [HEADS[h] for h in heads])
    axes.set_ylim(len(heads) - 0.4, -0.6)
    axes.set(xscale="log", xlabel="states")
    plain_log(axes.xaxis, (1,))
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64])
    axes.minorticks_off()
    labels = ("error 0.1, lower to upper", "error 0.01, lower to upper")
    handles = [
        Line2D([], [], color=BLACK, marker=m, markerfacecolor=fill or BLACK, label=label)
        for (m, _, fill), label in zip(looks.values(), labels, strict=True)
    ]
    handles.append(Line2D([], [], color=GREY, marker="|", markersize=9, linestyle="none"))
    handles[-1].set_label("size of its state")
    label = f"different bytes in the text ({distinct})"
    handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=0.8, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure
