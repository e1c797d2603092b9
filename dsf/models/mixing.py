"""The values that an attention call mixes, and other mixed values put in the place of its own.

    sdpa, softmax      the result [... H L V] holds the mixed values of each head
    multi_head         the result is  (mixed values of all heads) Wo' + bo

Only what a call returns is changed: no weight of the model, and nothing that it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsf.core.errors import DomainError, ShapeError

PLAIN = {"matmul", "bmm", "__matmul__"}  # W V, with the weights on the left
Given = Mapping[int, Any]  # head: mixed values [batch rows V]


def of_heads(values: Any, heads: int) -> Any:
    """Values [... G T V] as [batch H T V]: head h takes those of group h G / H."""
    values = values.reshape(-1, *values.shape[-3:]) if values.ndim > 2 else values[None, None]
    groups = values.shape[1]
    return values if groups == heads else values.repeat_interleave(heads // groups, 1)


def put(out: Any, given: Given | None) -> Any:
    """A copy of the result [... H L V] with the mixed values of the heads given."""
    if not given:
        return out
    import torch

    new = out.clone(memory_format=torch.contiguous_format)
    view = new.view(-1, *new.shape[-3:]) if new.ndim > 2 else new[None, None]
    for head, mixed in given.items():
        if mixed.shape != view[:, head].shape:
            raise ShapeError(
                f"replace: head {head} mixes values [batch rows V] = {tuple(view[:, head].shape)}; "
                f"got {tuple(mixed.shape)}"
            )
        view[:, head] = mixed.to(view)
    return new


# ---------------------------------------------------------------------- softmax written out
@dataclass(frozen=True)
class Product:
    """The product of weights and values, as the function `name` was called; args[at]: the weights.

    matmul, bmm, @    W V, the weights on the left
    einsum            letters: those of heads, then q k for the weights; k once and one more for V
    """

    call: Any
    name: str
    at: int
    args: tuple[Any, ...]

    def factors(self) -> tuple[Any, Any]:
        """The weights, and what they were multiplied with."""
        tensors = self.args[-2:]
        return self.args[self.at], tensors[1] if tensors[0] is self.args[self.at] else tensors[0]

    def values(self) -> Any:
        """V [... H T V]."""
        import torch

        if self._plain:
            return self.args[1]
        heads, _, k, d, own, _ = self._letters()
        sizes = self.args[self.at].shape
        shared = [c for c in heads if c not in own]  # heads that have the same values
        ones = self.args[3 - self.at].new_ones([sizes[heads.index(c)] for c in shared])
        form = f"{own},{''.join(shared)}->{heads}{k}{d}"
        return torch.einsum(form, self.args[3 - self.at], ones)

    def groups(self) -> tuple[int, int]:
        """How many groups of heads read the same values, side by side, and the width of these.

        Grouped keys that were copied for each head are seen by this.  (heads, 0): not known.
        """
        heads = self.call.heads
        if not self._plain or self.args[1].ndim < 3 or self.args[1].shape[-3] != heads:
            return heads, 0
        V = of_heads(self.args[1].detach(), heads)
        width = V.shape[-1]
        if not V.numel() or not bool(V.flatten(2).any(-1).all()):  # zeros are alike for any heads
            return heads, width
        first = [h for h in range(heads) if not h or not bool((V[:, h] == V[:, h - 1]).all())]
        each = heads // len(first)
        return (len(first) if first == list(range(0, heads, each)) else heads), width

    def put(self, out: Any, given: Given | None) -> Any:
        """The result with the mixed values of the heads given."""
        import torch

        if not given or self._plain:
            return put(out, given)
        heads, q, _, d, _, result = self._letters()
        mixed = put(torch.einsum(f"{result}->{heads}{q}{d}", out), given)
        return torch.einsum(f"{heads}{q}{d}->{result}", mixed)

    @property
    def _plain(self) -> bool:
        return self.name in PLAIN and self.at == 0 and len(self.args) == 2

    def _letters(self) -> tuple[str, str, str, str, str, str]:
        """Of an einsum: heads, q, k and d, the letters of the values, those of the result."""
        form = str(self.args[0]).replace(" ", "") if self.name == "einsum" else ""
        left, _, result = form.partition("->")
        if form.isascii() and left.count(",") == 1 and "." not in form and len(self.args) == 3:
            factors = left.split(",")
            weights, own = factors[self.at - 1], factors[2 - self.at]
            heads, q, k = weights[:-2], weights[-2], weights[-1]
            d = "".join(c for c in own if c not in weights)
            if len(d) == 1 and k in own and q not in own and {*result} == {*heads, q, d}:
                return heads, q, k, d, own, result
        raise DomainError(
            f"replace: {self.call.module or 'the model'} mixes values by {self.name} {form} in a "
            "way that is not known here. Use matmul(weights, values), an einsum like "
            "'bhqk,bhkd->bhqd' or scaled_dot_product_attention there, or leave this module out "
            "with heads=."
        )


# ---------------------------------------------------------------------- nn.MultiheadAttention
def projected(out: Any, call: Any, given: Given, taken: Mapping[str, Any]) -> Any:
    """The result of `multi_head_attention_forward` with the mixed values of the heads given.

    (concatenated over heads: W_h V_h, or what is given) Wo' + bo
    """
    import torch

    values = call.values()
    weights = [[call.weigh(b, h) for h in range(call.heads)] for b in range(call.batch)]
    mixed = put(torch.stack([torch.stack(w) for w in weights]).to(values) @ values, given)
    joined = mixed.permute(2, 0, 1, 3).flatten(2)  # [L batch E]
    new = torch.nn.functional.linear(joined, taken["out_proj_weight"], taken["out_proj_bias"])
    return new.reshape(out[0].shape), *out[1:]


def of_projection(taken: Mapping[str, Any]) -> Any:
    """The values [batch H T V] inside `multi_head_attention_forward`."""
    import torch

    if any(
        taken.get(name) is not None for name in ("bias_k", "bias_v", "static_k", "static_v")
    ) or (taken.get("add_zero_attn")):
        raise DomainError(
            "replace: nn.MultiheadAttention with keys of its own (add_bias_kv, add_zero_attn) "
            "weighs what is no token; leave this module out with heads=."
        )
    value, bias, heads = taken["value"], taken["in_proj_bias"], taken["num_heads"]
    split = taken.get("use_separate_proj_weight")
    weight = taken["v_proj_weight"] if split else taken["in_proj_weight"].chunk(3)[2]
    V = torch.nn.functional.linear(value, weight, None if bias is None else bias.chunk(3)[2])
    V = V[:, None] if V.ndim == 2 else V  # [T batch E]
    return V.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
