"""Softmax attention by torch's own `scaled_dot_product_attention`."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import scaled_dot_product_attention


def refused(arrays: list[Any], numbers: list[float]) -> str:
    """Why torch cannot take this call; "" if it can."""
    q, k, _, _, forget, sink = arrays
    _, causal, window = numbers
    if forget.shape[1] or sink.shape[1] or window:
        return "scaled_dot_product_attention has no window, forget gate or sink"
    if causal and q.shape[1] not in (1, k.shape[1]):
        return "scaled_dot_product_attention counts causal queries from the first key"
    return ""


def forward(
    q: Any, k: Any, v: Any, bias: Any, forget: Any, sink: Any,
    scale: float, causal: float, window: float,
) -> tuple[Any, None]:  # fmt: skip
    """See `reference.forward`; what `refused` lets pass.  The denominators are not told."""
    groups = q.shape[2] // k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    several = bool(causal) and q.shape[2] > 1
    mask = bias if bias.shape[-1] else None
    if several and mask is not None:
        later = mask.new_ones(mask.shape[-2:]).triu(1).bool()
        mask, several = mask.masked_fill(later, -float("inf")), False
    y = scaled_dot_product_attention(
        q, k, v, mask, is_causal=several, scale=scale, enable_gqa=groups > 1
    )
    return y.transpose(1, 2), None
