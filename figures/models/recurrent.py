"""How many states of trained recurrent layers work on a real input."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.figures import Finding, Table, derived, sweep, unknown
from dsf.figures.models._again import beside, part
from dsf.figures.models._again import counts as counts_again
from dsf.models import library
from dsf.tools.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, TEXT, VERMILLION

TITLE = "On an input trained recurrent layers use a few dozen of their 256 states"
SEE = (
    "Left: trained layers (lines) need fewer states at every error than the same networks with "
    "random weights (dashed), bands reach from what is necessary to what suffices, and the dotted "
    "line is what each layer keeps. Right: the same at an error of a tenth, a bar for each input, "
    "from necessary (left end) to sufficient (mark)."
)
PAPER = (
    "The state dimension is the size by which recurrent layers are built and compared. How many "
    "states of a trained GRU or LSTM work on its inputs is not in the papers that we cover."
)
DIFFERS = (
    "The layers are linearised along their run, in float64: coefficients may depend on the whole "
    "input, so the count is about small changes of it. Necessary states are proved for "
    "compressions of the Hankel blocks, sufficient ones are those of a balanced truncation whose "
    "error was tested in float64. Networks: g2p-en (GRU, letters to sounds), textgenrnn (LSTM, "
    "the next of 40 characters), silero-vad (LSTM, speech or not; the voice is synthetic). "
    "Random weights are drawn as torch does, embeddings included. Profile default draws the kept "
    "result and counts g2p-en again on one word: with random weights, and trained where it has "
    "been fetched. Profile smoke uses random weights alone."
)
ORDER = 7
THEOREMS = ("dsf/hankel_lower_bound", "dsf/balanced_truncation")
SEED = 0
PARAMETERS: dict[str, dict[str, Any]] = {
    "smoke": {
        "networks": ["voice"], "weights": ["random"], "inputs": 1, "seconds": 0.3,
    },
    "default": {
        "networks": ["letters"], "weights": ["random", "trained"], "inputs": 1, "seconds": 2.0,
    },
    "paper": {
        "networks": ["letters", "characters", "voice"], "weights": ["trained", "random"],
        "inputs": 2, "seconds": 2.0,
    },
}  # fmt: skip
KEYS = ("name", "weights", "which", "seconds", "layer", "error")
STORED = {"letters": "g2p-en", "characters": "textgenrnn", "voice": "silero-vad"}
NAMES = {
    "letters/encoder": "g2p-en, encoder", "letters/decoder": "g2p-en, decoder",
    "characters/rnn_1": "textgenrnn, first", "characters/rnn_2": "textgenrnn, second",
    "voice/lstm": "silero-vad",
}  # fmt: skip
HUES = dict(zip(NAMES, (BLUE, GREEN, ORANGE, VERMILLION, PURPLE), strict=True))
ERRORS = (0.3, 0.1, 0.03, 0.01, 0.003)
COARSE = ERRORS[1]
HALF = 0.5  # a layer that needs less than half of its states could be half as large there


def network(name: str, weights: str) -> Any:
    """A network, trained or with the random weights of torch's layers."""
    import torch

    from dsf.models.library import networks

    kinds = {
        "letters": networks.Pronouncer, "characters": networks.CharacterModel,
        "voice": networks.VoiceDetector,
    }  # fmt: skip
    if weights == "trained":
        return library.load(STORED[name]).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return kinds[name]().eval()


def given(name: str, net: Any, which: int, seconds: float) -> tuple[Any, ...]:
    """The input of a network, by number; characters are numbered as the trained network has them,
    or by their code where it is not here."""
    import torch

    from dsf.models.library.inputs import TEXTS, WORDS, noise, syllables
    from dsf.models.library.networks import SOUNDS

    if name == "voice":
        return ((syllables, noise)[which](seconds),)
    if name == "characters":
        text = TEXTS[which][:40]
        numbers = net.characters or {c: ord(c) for c in text}
        return (torch.tensor([[numbers[c] for c in text]]),)
    word, sounds = list(WORDS.items())[which]
    said = [SOUNDS.index(s) for s in ("<s>", *sounds.split())]
    return net.encode(word), torch.tensor([said])


def one(name: str, weights: str, which: int, seconds: float) -> list[Any]:
    from dsf.models.layers import row, run

    rows: list[dict[str, Any]] = []

    def visit(layer: Any) -> None:
        if layer.kind == "convolution":
            return
        found, _ = row(layer, rtol=ERRORS)
        for e, (low, high) in found.states.items():
            rows.append({
                "layer": f"{name}/{layer.module}", "tokens": found.tokens, "own": found.own,
                "error": e, "necessary": low, "sufficient": high, "rate": found.rate,
                "growth": found.growth, "horizon": found.horizon,
            })  # fmt: skip

    net = network(name, weights)
    run(net, given(name, net, which, seconds), {}, visit)
    return rows


def compute(profile: str) -> Table:
    p = PARAMETERS[profile]
    points = [
        {"name": name, "weights": weights, "which": which, "seconds": p["seconds"]}
        for name in p["networks"] for weights in p["weights"] for which in range(p["inputs"])
    ]  # fmt: skip
    if profile != "default":
        return sweep(one, points)
    here = [x for x in points if x["weights"] == "random" or library.present(STORED[x["name"]])]
    columns = (*KEYS, "necessary", "sufficient")
    return beside(__file__, KEYS, [{k: r[k] for k in columns} for r in sweep(one, here)])


def counts(table: Table, weights: str) -> dict[str, tuple[int, int, int]]:
    """layer: (necessary, sufficient, own) at the coarse error, the largest over inputs."""
    rows = table.where(weights=weights, error=COARSE)
    found = {}
    for layer in rows.values("layer"):
        part = rows.where(layer=layer)
        found[layer] = tuple(max(part.column(k)) for k in ("necessary", "sufficient", "own"))
    return found


def findings(table: Table) -> list[Finding]:
    trained, random = (counts(table, w) for w in ("trained", "random"))
    if not trained:
        return [unknown("Trained weights", "random weights alone in this profile")]

    def told(found: dict[str, tuple[int, int, int]]) -> str:
        return ", ".join(f"{NAMES[k]} {low} to {high} of {own}"
                         for k, (low, high, own) in found.items())  # fmt: skip

    growth = {k: max(table.where(weights="trained", layer=k).column("growth")) for k in trained}
    return [
        derived(
            "Nothing on the states that work",
            f"at error {COARSE:g}, the larger of two inputs: {told(trained)}; less than half of "
            "them suffice in each layer",
            all(high < HALF * own for _, high, own in trained.values()),
        ),
        derived(
            "Nothing on random weights",
            f"the same networks, not trained, need more in each layer: {told(random)}",
            all(random[k][0] > high for k, (_, high, _) in trained.items()),
        ),
        unknown(
            "Nothing on growth along the run",
            "a change of the first state grows at most by "
            + ", ".join(f"{x:.3g} in {NAMES[k]}" for k, x in growth.items()),
        ),
        *counts_again(table, f"g2p-en on one word, {told_again(table)}"),
    ]


def told_again(table: Table) -> str:
    """Which weights were counted again."""
    some = part(table, "necessary").values("weights") if part(table, "necessary") else []
    return "trained and random weights" if "trained" in some else "random weights alone"


def draw(table: Table) -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 3.0), width_ratios=(3, 2))
    layers = [k for k in NAMES if k in table.values("layer")]
    for weights, line in (("trained", "-"), ("random", "--")):
        for layer in layers:
            rows = table.where(weights=weights, layer=layer, which=0)
            e, low, high = (np.array(rows.column(k)) for k in ("error", "necessary", "sufficient"))
            left.plot(e, low, line, color=HUES[layer], marker=".", markersize=4)
            if len(e):
                left.fill_between(e, low, high, color=HUES[layer], alpha=0.2, linewidth=0)
    own = max(table.column("own"))
    left.axhline(own, color=GREY, linewidth=0.6, linestyle=":")
    left.set(xscale="log", yscale="log", xlabel="error, relative to the layer's map",
             ylabel="states needed", ylim=(1, 1.3 * own))  # fmt: skip
    left.invert_xaxis()
    left.set_title("Against the error")
    for place, layer in enumerate(layers):
        for weights, mark, shift in (("trained", "o", 0.12), ("random", "x", -0.12)):
            rows = table.where(weights=weights, layer=layer, error=COARSE)
            for low, high in zip(rows.column("necessary"), rows.column("sufficient"), strict=True):
                y = place + shift
                right.plot([low, high], [y, y], color=HUES[layer], linewidth=1.5)
                right.plot(high, y, mark, color=HUES[layer], markersize=4)
    redone = part(table.where(error=COARSE), "sufficient")
    for r in redone:
        y = layers.index(r["layer"]) + (0.12 if r["weights"] == "trained" else -0.12)
        right.plot(r["sufficient_again"], y, "o", mfc="none", mec=BLACK, markersize=8)
    right.axvline(own, color=GREY, linewidth=0.6, linestyle=":")
    right.set(xscale="log", xlim=(1, 1.3 * own), xlabel="states needed", ylim=(-0.5, None),
              yticks=range(len(layers)), yticklabels=[NAMES[k] for k in layers])  # fmt: skip
    right.invert_yaxis()
    right.set_title("At an error of a tenth")
    handles = [Line2D([], [], color=GREY, marker=m, linestyle=s, markersize=4, label=t)
               for m, s, t in (("o", "-", "trained"), ("x", "--", "random weights"))]  # fmt: skip
    if redone:
        handles.append(Line2D([], [], color=BLACK, marker="o", mfc="none", linestyle="",
                              label="counted again"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncol=3, fontsize="small")
    return figure
