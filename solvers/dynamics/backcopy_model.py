"""A small causal transformer in torch whose attention can be exchanged.

    h = E[x] + pos,  h += attention(norm(h)),  h += relu(norm(h) U) D,  logits = norm(h) R

One head, no biases.  With s_ij = q_i'k_j / sqrt d over the past j <= i the kinds of attention are

    softmax              A = softmax(s)
    relu, sigmoid        A = relu(s), sigmoid(s): rows are not normalised
    normalised sigmoid   A = sigmoid(s) / (sum sigmoid(s) + 1e-8)
    key bias             softmax with one more key, learned, in front; it has no value
    clipped              A = clip((1 - gamma) softmax(s) + gamma, 0, 1),  gamma = -alpha / T
    gate                 softmax, the output times sigmoid(x W) entry by entry, before W_O
    gate per head        softmax, the output times one sigmoid(x w)
    value gate           softmax, every value times one sigmoid(v w)

and the mixers of `dsf.solvers.heads.deconstructed`.  Clipping: Bondarenko et al. 2023 (2306.12929);
gates after attention: Qiu et al. 2025 (2505.06708); on values: 2510.09017; the others: Gu et al.
2024 (2410.10781).
"""

from __future__ import annotations

from typing import Any

from dsf.core.errors import UnknownNameError
from dsf.solvers.dynamics.relu_mlp import relu_mlp
from dsf.solvers.heads.deconstructed import MAPS, mixing_map, mlp, qk_source
from dsf.solvers.heads.interventions import clip_rows, gated_output
from dsf.solvers.svm.problem import Array

UNNORMALISED = ("relu", "sigmoid")
KINDS = (
    "softmax", *UNNORMALISED, "normalised sigmoid", "key bias", "clipped", "gate", "gate per head",
    "value gate",
)  # fmt: skip
ATTENTION = (*KINDS, *MAPS)


def model(
    vocabulary: int,
    length: int,
    width: int = 64,
    attention: str = "softmax",
    seed: int = 0,
    layers: int = 1,
    alpha: float = 3.0,
    text: Array | None = None,
) -> Any:
    """The transformer of this file, a torch module: net(x) -> (logits, what it looked at).

    x [batch length] tokens, logits [batch length vocabulary], float32.  What it looked at, of the
    last layer: `A` [... T T], `logits` (s with -inf for the future; not for every kind), `values`
    after W_O, `stream` (the h that is read out), `gate`.  net(x, "attention") and net(x, "mlp")
    leave that part of every layer out.

    Embeddings are N(0, 1), weights N(0, 1/(4 fan_in)).  On Bigram-Backcopy the recipe decides
    whether a sink appears: with small embeddings attention serves the bigram task and none does.
    `alpha` belongs to "clipped"; `text` [length] to "FixedSeqQK" (random tokens if None).  Raises
    UnknownNameError.
    """
    import torch
    from torch import nn

    if attention not in ATTENTION:
        raise UnknownNameError(f"attention {attention!r} is not one of {', '.join(ATTENTION)}")
    generator = torch.Generator().manual_seed(seed)

    def weight(rows: int, columns: int, std: float | None = None) -> Any:
        size = 0.5 / rows**0.5 if std is None else std
        return nn.Parameter(size * torch.randn(rows, columns, generator=generator))

    def norm(h: Any) -> Any:
        return nn.functional.layer_norm(h, (width,))

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = weight(width, 3 * width), weight(width, width)
            self.up, self.down = weight(width, 4 * width), weight(4 * width, width)

        def more(self) -> None:
            """Weights of one kind only, drawn last: the kinds share all others."""
            if attention == "key bias":
                self.key = weight(width, 1, 0.02)
            if attention in ("gate", "gate per head", "value gate"):
                self.gate = weight(width, width if attention == "gate" else 1)
            if attention == "mlp":  # as many weights as the four matrices of attention have
                third = round(4 * width / 3)
                self.mix = nn.ParameterList([
                    weight(width, third), weight(width, third), weight(third, width),
                ])  # fmt: skip

        def rows(self, q: Any, k: Any) -> tuple[Any, dict[str, Any]]:
            if attention in MAPS:
                return mixing_map(attention, q, k), {}
            s = torch.baddbmm(future, q, k.transpose(-1, -2), alpha=width**-0.5)
            if attention == "relu":
                A = torch.relu(s)
            elif attention == "sigmoid":
                A = torch.sigmoid(s)
            elif attention == "normalised sigmoid":
                A = torch.sigmoid(s)
                A = A / (A.sum(-1, keepdim=True) + 1e-8)
            elif attention == "key bias":
                A = torch.cat([q @ self.key / width**0.5, s], dim=-1).softmax(-1)[..., 1:]
            else:
                A = s.softmax(-1)
            return clip_rows(A, -alpha / length) if attention == "clipped" else A, {"logits": s}

        def attend(self, h: Any, source: Any, take: Any) -> tuple[Any, dict[str, Any]]:
            x = norm(h)
            if attention == "mlp":
                values = take(mlp(x, *self.mix))
                return values, {"A": torch.eye(length), "values": values}
            Wq, Wk, Wv = self.qkv.chunk(3, dim=1)
            if source is h:
                q, k = take(x @ Wq), take(x @ Wk)
            else:
                q, k = norm(source) @ Wq, norm(source) @ Wk
            v = x @ Wv
            if attention == "value gate":
                v = gated_output(v, v, self.gate)
            A, seen = self.rows(q, k)
            seen |= {"A": A, "values": take(v @ self.out)}
            if attention not in ("gate", "gate per head"):
                return A @ seen["values"], seen
            ones = torch.ones(*x.shape[:-1], self.gate.shape[1])
            seen["gate"] = take(gated_output(ones, x, self.gate))
            return (A @ take(v) * seen["gate"]) @ self.out, seen

        def forward(self, h: Any, source: Any, take: Any, skip: str) -> tuple[Any, dict[str, Any]]:
            y, seen = self.attend(h, source, take)
            h = take(h)
            if skip != "attention":
                h = h + y
            if skip != "mlp":
                h = h + relu_mlp(norm(h), self.up, self.down)
            return h, seen

    future = torch.full((length, length), -torch.inf).triu(1)
    places = torch.arange(length)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = weight(vocabulary, width, 1.0), weight(length, width, 1.0)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.read = weight(width, vocabulary)
            for layer in self.layers:
                layer.more()
            self.noise = torch.randn(length, width, generator=generator)
            words = torch.randint(vocabulary, (length,), generator=generator)
            self.text = words if text is None else torch.as_tensor(text)

        def fixed(self) -> Any:
            """The input of the stack from which the kinds with fixed maps compute q and k."""
            words = self.noise if attention == "RndEmbQK" else self.tokens[self.text]
            return (words + self.places)[None] if attention in ("RndEmbQK", "FixedSeqQK") else None

        def forward(self, x: Any, skip: str = "") -> tuple[Any, dict[str, Any]]:
            # What the first layer does to single tokens is done once per (token, place): a batch
            # holds each pair two to three times.  `take` puts the results in their places.
            pairs, where = torch.unique(x * length + places, return_inverse=True)
            embed = nn.functional.embedding
            first = embed(pairs // length, self.tokens) + embed(pairs % length, self.places)

            def take(rows: Any) -> Any:
                return embed(where, rows)

            h, fixed = first, self.fixed()
            for i, layer in enumerate(self.layers):
                if i == 1:
                    first, take = take(first), _keep
                source = qk_source(attention, h, first, fixed) if attention in MAPS else h
                if fixed is not None and i + 1 < layers:
                    fixed, _ = layer(fixed, fixed, _keep, skip)
                h, seen = layer(h, source, take, skip)
            return norm(h) @ self.read, {**seen, "stream": h}

    return Model()


def _keep(rows: Any) -> Any:
    return rows
