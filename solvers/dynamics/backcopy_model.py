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

and the mixers of `dsf.solvers.heads.deconstructed`.  Every softmax is the one of `dsf.softmax`.
Clipping: Bondarenko et al. 2023 (2306.12929); gates after attention: Qiu et al. 2025 (2505.06708);
on values: 2510.09017; the others: Gu et al. 2024 (2410.10781).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.ops import sigmoid
from dsf.solvers.dynamics.relu_mlp import relu_mlp
from dsf.solvers.heads.deconstructed import (
    MAPS,
    mixing_map,
    mlp,
    past,
    qk_source,
    scaled,
    standard,
)
from dsf.solvers.heads.interventions import clip_rows, gated_output
from dsf.solvers.svm.problem import Array

FLOOR = 1e-8  # in the denominator of the normalised sigmoid: a row of zeros stays finite
UNNORMALISED = ("relu", "sigmoid")
KINDS = (
    "softmax", *UNNORMALISED, "normalised sigmoid", "key bias", "clipped", "gate", "gate per head",
    "value gate",
)  # fmt: skip
ATTENTION = (*KINDS, *MAPS)


def attention_map(kind: str, q: Any, k: Any, key: Any = None, alpha: float = 3.0) -> Any:
    """The map A [... T T] of a kind of attention from q and k [... T d], numpy or torch.

    `key` [d 1] belongs to "key bias", `alpha` to "clipped"; gates do not change the map.

    >>> import numpy as np
    >>> zero = np.zeros((2, 1))
    >>> attention_map("sigmoid", zero, zero), attention_map("key bias", zero, zero, zero[:1])
    (array([[0.5, 0. ],
           [0.5, 0.5]]), array([[0.5       , 0.        ],
           [0.33333333, 0.33333333]]))
    """
    if kind in MAPS:
        return mixing_map(kind, q, k)
    if kind == "relu":
        return past(ops.relu(scaled(q, k)))
    if kind.endswith("sigmoid"):
        A = past(sigmoid(scaled(q, k)))
        return A if kind == "sigmoid" else A / (ops.asum(A) + FLOOR)
    if kind == "key bias":
        return standard(q, ops.cat([ops.mT(key), k], -2))[..., 1:]
    A = standard(q, k)
    return clip_rows(A, -alpha / A.shape[-1]) if kind == "clipped" else A


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
    """The transformer of this file, a torch module: net(x) -> (logits, internals).

    x [batch length] tokens, logits [batch length vocabulary], float32.  Internals of the last
    layer: `A` [... T T], `q` and `k` (not of "mlp"), `values` after W_O, `stream` (the h that is
    read out), `gate`.  net(x, "attention") and net(x, "mlp") leave that part of every layer out.

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

    ends = {"tokens": weight(vocabulary, width, 1.0), "places": weight(length, width, 1.0)}
    stack = [
        nn.ParameterDict({
            "qkv": weight(width, 3 * width), "out": weight(width, width),
            "up": weight(width, 4 * width), "down": weight(4 * width, width),
        })
        for _ in range(layers)
    ]  # fmt: skip
    ends["read"] = weight(width, vocabulary)
    for layer in stack:
        layer.update(_own_weights(attention, width, weight))
    noise = torch.randn(length, width, generator=generator)
    words = torch.randint(vocabulary, (length,), generator=generator)
    fixed_text = words if text is None else torch.as_tensor(text)
    return _transformer()(attention, alpha, ends, stack, noise, fixed_text)


def _own_weights(kind: str, width: int, weight: Callable[..., Any]) -> dict[str, Any]:
    """Weights of one kind only, drawn last: the kinds share all others."""
    if kind == "key bias":
        return {"key": weight(width, 1, 0.02)}
    if kind in ("gate", "gate per head", "value gate"):
        return {"gate": weight(width, width if kind == "gate" else 1)}
    if kind == "mlp":  # as many weights as the four matrices of attention have
        third = round(4 * width / 3)
        shapes = {"mix_gate": (width, third), "mix_up": (width, third), "mix_down": (third, width)}
        return {name: weight(*shape) for name, shape in shapes.items()}
    return {}


@cache
def _transformer() -> Any:
    """The class of the network: torch is imported when the first one is made."""
    import torch
    from torch import nn

    class Transformer(nn.Module):
        def __init__(
            self, kind: str, alpha: float, ends: Any, stack: Any, noise: Any, text: Any
        ) -> None:
            super().__init__()
            self.kind, self.alpha, self.noise, self.text = kind, alpha, noise, text
            self.tokens, self.places, self.read = ends["tokens"], ends["places"], ends["read"]
            self.layers = nn.ModuleList(stack)

        def fixed(self) -> Any:
            """The input of the stack from which the kinds with fixed maps compute q and k."""
            if self.kind not in ("RndEmbQK", "FixedSeqQK"):
                return None
            words = self.noise if self.kind == "RndEmbQK" else self.tokens[self.text]
            return (words + self.places)[None]

        def forward(self, x: Any, skip: str = "") -> tuple[Any, dict[str, Any]]:
            # What the first layer does to single tokens is done once per (token, place): a batch
            # holds each pair two to three times.  `take` puts the results in their places.
            length, embed = len(self.places), nn.functional.embedding
            pairs, where = torch.unique(x * length + torch.arange(length), return_inverse=True)
            first = embed(pairs // length, self.tokens) + embed(pairs % length, self.places)
            take: Callable[[Any], Any] = partial(embed, where)
            h, fixed = first, self.fixed()
            for i, layer in enumerate(self.layers):
                if i == 1:
                    first, take = take(first), _keep
                source = qk_source(self.kind, h, first, fixed) if self.kind in MAPS else h
                if fixed is not None and i + 1 < len(self.layers):
                    fixed, _ = _layer(self, layer, fixed, fixed, _keep, skip)
                h, seen = _layer(self, layer, h, source, take, skip)
            return _norm(h) @ self.read, {**seen, "stream": h}

    return Transformer


def _layer(
    net: Any, w: Any, h: Any, source: Any, take: Callable[[Any], Any], skip: str
) -> tuple[Any, dict[str, Any]]:
    """One layer with the weights w: h -> (h, internals), without the part `skip`."""
    y, seen = _attention(net, w, h, source, take)
    h = take(h)
    if skip != "attention":
        h = h + y
    if skip != "mlp":
        h = h + relu_mlp(_norm(h), w.up, w.down)
    return h, seen


def _attention(
    net: Any, w: Any, h: Any, source: Any, take: Callable[[Any], Any]
) -> tuple[Any, dict[str, Any]]:
    """(what attention adds to h, internals), with q and k computed from `source`."""
    x = _norm(h)
    if net.kind == "mlp":
        values = take(mlp(x, w.mix_gate, w.mix_up, w.mix_down))
        return values, {"A": ops.eye(values.shape[-2], values), "values": values}
    Wq, Wk, Wv = w.qkv.chunk(3, dim=1)
    if source is h:
        q, k = take(x @ Wq), take(x @ Wk)
    else:
        q, k = _norm(source) @ Wq, _norm(source) @ Wk
    v = x @ Wv
    if net.kind == "value gate":
        v = gated_output(v, v, w.gate)
    A = attention_map(net.kind, q, k, w.key if net.kind == "key bias" else None, net.alpha)
    seen = {"A": A, "q": q, "k": k, "values": take(v @ w.out)}
    if net.kind not in ("gate", "gate per head"):
        return A @ seen["values"], seen
    seen["gate"] = take(sigmoid(x @ w.gate))
    return (A @ take(v) * seen["gate"]) @ w.out, seen


def _norm(h: Any) -> Any:
    from torch.nn.functional import layer_norm

    return layer_norm(h, h.shape[-1:])


def _keep(rows: Any) -> Any:
    return rows
