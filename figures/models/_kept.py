"""Weights of some heads of the real model, kept with the sources: what can be counted without it.

`python -m dsf.figures.models._kept` makes heads.npz anew from the model (`make models`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsf.figures.models._subject import REAL, subject
from dsf.models.capture import Call, run
from dsf.models.probes import REPEAT, drawn, users

FILE = Path(__file__).parent / "heads.npz"
TOKENS = 128
HEADS = {
    "text": [(0, 0), (8, 0), (9, 2), (11, 6), (16, 0), (16, 6), (18, 6), (20, 6), (21, 2)],
    "repeat": [(16, 0), (18, 6)],
}  # probe: (layer, head)


def kept(layer: int, head: int, probe: str = "text") -> np.ndarray:
    """The weights [128 128] of a head of SmolLM2-135M-Instruct, float64."""
    with np.load(FILE) as file:
        return np.asarray(file[f"{probe}.{layer}.{head}"], np.float64)


def keep() -> None:
    """Write heads.npz from the model."""
    model, tokens = subject(REAL, TOKENS)
    text = users(model, (tokens,), {})
    [repeat] = drawn(text, model.config.vocab_size, (REPEAT,), seed=0)
    found: dict[str, np.ndarray] = {}
    for name, probe in (("text", text), ("repeat", repeat)):
        wanted = HEADS[name]

        def visit(call: Call, name: str = name, wanted: list[tuple[int, int]] = wanted) -> None:
            for layer, head in wanted:
                if layer == call.index:
                    M = call.weights(head).astype(np.float32)
                    found[f"{name}.{layer}.{head}"] = M

        run(model, probe.inputs, probe.named, visit)
    np.savez_compressed(FILE, allow_pickle=False, **found)


if __name__ == "__main__":
    keep()
