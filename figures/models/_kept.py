"""Weights of some heads of the real model, kept with the sources: what can be counted without it.

`python -m dsf.figures.models._kept` makes heads.npz anew from the model (`make models`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dsf.figures.models import _subject
from dsf.figures.models._subject import REAL, subject
from dsf.models.capture import Call, run
from dsf.models.probes import REPEAT, TEXT, Probe, drawn, users

FILE = Path(__file__).parent / "heads.npz"
TOKENS = 128
LENGTHS = {TEXT: _subject.TOKENS, REPEAT: TOKENS}  # what is kept of a probe
HEADS = {
    TEXT: [(0, 0), (8, 0), (9, 2), (11, 6), (16, 0), (16, 6), (18, 6), (20, 6), (21, 2)],
    REPEAT: [(16, 0), (18, 6)],
}  # probe: (layer, head)
RETRIEVES = (17, 4)  # a head whose queries and keys are kept on more tokens
LONG = 512


def kept(layer: int, head: int, probe: str = TEXT, tokens: int = TOKENS) -> np.ndarray:
    """The weights [tokens tokens] of a head of SmolLM2-135M-Instruct, float64; a text to 154."""
    with np.load(FILE) as file:
        return np.asarray(file[f"{probe}.{layer}.{head}"][:tokens, :tokens], np.float64)


def long(probe: str) -> np.ndarray:
    """The weights [512 512] of head 4 of layer 17, from the queries and keys that are kept."""
    with np.load(FILE) as file:
        q, k = (np.asarray(file[f"{probe}.{name}"], np.float64) for name in ("queries", "keys"))
    scores = np.where(np.tri(len(q), dtype=bool), q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    w = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(w / w.sum(1, keepdims=True))


def keep() -> None:
    """Write heads.npz from the model."""
    found: dict[str, np.ndarray] = {}
    for name, length in LENGTHS.items():
        model, probe = _probe(name, length)

        calls: list[Call] = []
        run(model, probe.inputs, probe.named, calls.append)
        for layer, head in HEADS[name]:
            found[f"{name}.{layer}.{head}"] = calls[layer].weights(head).astype(np.float32)
        q, k = queries_and_keys(*_probe(name, LONG), *RETRIEVES)
        found |= {f"{name}.queries": q, f"{name}.keys": k}
    np.savez_compressed(FILE, allow_pickle=False, **found)


def _probe(name: str, length: int) -> tuple[Any, Probe]:
    model, tokens = subject(REAL, length)
    text = users(model, (tokens,), {})
    [repeat] = drawn(text, model.config.vocab_size, (REPEAT,), seed=0)
    return model, {TEXT: text, REPEAT: repeat}[name]


def queries_and_keys(model: Any, probe: Probe, layer: int, head: int) -> Any:
    """What attention is called with for a head, [L d] each: turned by their positions."""
    from torch.nn.functional import scaled_dot_product_attention
    from torch.overrides import TorchFunctionMode

    seen: list[Any] = []

    class Watch(TorchFunctionMode):
        """Notes queries and keys of every call."""

        def __torch_function__(
            self, function: Any, _: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is scaled_dot_product_attention:
                seen.append(args[:2])
            return function(*args, **(kwargs or {}))

    with Watch():
        run(model, probe.inputs, probe.named, lambda call: None)
    query, key = seen[layer]
    group = head * key.shape[1] // query.shape[1]
    return tuple(x[0, i].detach().numpy() for x, i in ((query, head), (key, group)))


if __name__ == "__main__":
    keep()
