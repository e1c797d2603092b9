"""Small networks that call attention in every way that is known."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WAYS = ("sdpa", "mask", "bias", "written out")


def tokens(B=2, L=6, d=8, seed=0):
    return torch.randn(B, L, d, generator=torch.Generator().manual_seed(seed))


class SelfAttention(nn.Module):
    """Causal self-attention, by torch's function or written out; `groups` heads of keys."""

    def __init__(self, d=8, heads=2, groups=None, how="sdpa"):
        super().__init__()
        self.heads, self.groups, self.how = heads, groups or heads, how
        self.width = d // heads
        self.q = nn.Linear(d, d)
        self.k, self.v = (nn.Linear(d, self.groups * self.width) for _ in range(2))
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(d, d)

    def split(self, x, heads):
        return x.unflatten(-1, (heads, self.width)).transpose(-3, -2)

    def parts(self, x):
        return (
            self.split(self.q(x), self.heads),
            self.split(self.k(x), self.groups),
            self.split(self.v(x), self.groups),
        )

    def forward(self, x):
        q, k, v = self.parts(x)
        L = x.shape[-2]
        seen = torch.ones(L, L, dtype=torch.bool).tril()
        if self.how == "sdpa":
            y = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=self.groups < self.heads
            )
        elif self.how == "mask":
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        elif self.how == "bias":
            bias = torch.zeros(L, L).masked_fill(~seen, -torch.inf)
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.3)
        else:
            x = (q @ k.mT * self.width**-0.5).masked_fill(~seen, -torch.inf)
            y = self.drop(functional.softmax(x, -1)) @ v
        return self.out(y.transpose(-3, -2).flatten(-2))

    def wanted(self, x):
        """The weights [B H L L], as the formula has them."""
        q, k, _ = self.parts(x)
        k = k.repeat_interleave(self.heads // self.groups, -3)
        x = q.double() @ k.double().mT * (0.3 if self.how == "bias" else self.width**-0.5)
        L = x.shape[-1]
        return x.masked_fill(~torch.ones(L, L, dtype=torch.bool).tril(), -torch.inf).softmax(-1)


class LanguageModel(nn.Module):
    """Token ids [B L] in, logits out: attention called in two ways, with a residual path."""

    def __init__(self, vocabulary=100, d=8, heads=2, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(vocabulary, d)
            self.layers = nn.ModuleList(
                SelfAttention(d, heads, how=how) for how in ("sdpa", "written out")
            )

    def forward(self, input_ids, attention_mask=None):
        x = 3 * self.embedding(input_ids)
        for layer in self.layers:
            x = x + layer(x)
        return x @ self.embedding.weight.mT


class Retrieves(nn.Module):
    """One perfect induction head: it looks at what followed the last copy of the token."""

    def __init__(self, vocabulary=200):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 4)

    def forward(self, input_ids):
        ids = input_ids
        L = ids.shape[-1]
        same = ids[:, :, None] == ids[:, None, :]
        after = torch.zeros_like(same)
        after[..., 1:] = same[..., :-1].tril(-1)[..., 1 - L - 1 :] if L > 1 else False
        after = after & torch.ones(L, L, dtype=torch.bool).tril()
        after[..., 0] |= ~after.any(-1)
        logits = torch.where(after, 0.0, -torch.inf)[:, None].double()
        return torch.softmax(logits, -1) @ self.embedding(ids)[:, None].double()


class Translator(nn.Module):
    """An encoder and a decoder that looks at it, each of one layer, under transformers' names."""

    def __init__(self, vocabulary=50, d=8, how="sdpa", seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(vocabulary, d)
            self.encoder, self.decoder = (SelfAttention(d, how=how) for _ in range(2))
            self.decoder.cross = CrossAttention(d, how=how)
            self.decoder.last = SelfAttention(d, how=how)

    def forward(
        self, input_ids, attention_mask=None, decoder_input_ids=None, labels=None,
        decoder_attention_mask=None,
    ):  # fmt: skip
        if decoder_input_ids is None:
            given = input_ids if labels is None else labels
            decoder_input_ids = torch.cat([0 * given[:, :1], given[:, :-1]], 1)
        memory = 3 * self.embedding(input_ids)
        memory = memory + self.encoder(memory)
        x = 3 * self.embedding(decoder_input_ids)
        x = x + self.decoder(x)
        x = x + self.decoder.cross(x, memory)
        return x + self.decoder.last(x)


class CrossAttention(SelfAttention):
    """Queries of one sequence on keys of another."""

    def forward(self, x, memory):
        q, k, v = self.parts(x)[0], *self.parts(memory)[1:]
        if self.how == "sdpa":
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * self.width**-0.5
            y = torch.einsum("bhqk,bhkd->bhqd", scores.float().softmax(-1).type_as(v), v)
        return self.out(y.transpose(-3, -2).flatten(-2))
