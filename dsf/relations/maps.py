"""What several token and parameter maps share."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens

EVEN: dict[str, Any] = {
    "sizes": ((2, 1), (2, 2), (4, 2)),
    "sample": (6, 3),
}  # where the state is pairs


def one(tok: Tokens) -> Array:
    """The number 1 for every token [... L 1]."""
    return ops.ones_like(tok.k[..., :1])


def unit_step(W: Array) -> tuple[Array, Array]:
    """Weights and bias with softplus(u W + b) = 1 for projections W [H d n]: 0 and log(e - 1)."""
    zero = ops.zeros_like(W[..., :1])
    return zero, ops.log(ops.exp(ops.ones_like(zero[..., :1, :])) - 1)


def columns_as_heads(S: Array, tok: Tokens) -> Array:
    """[n p] -> [p n 1]: the columns of one head become channels."""
    return ops.col(ops.mT(S))


def constant_gate(mech: Any, power: Array) -> Any:
    """GLA whose gate is alpha for every token, from power = alpha^16 = sigmoid(b) [H 1 1|n]."""
    n = mech.Wq.shape[-1]
    W1 = ops.zeros_like(mech.Wq[:1, :, :1])
    W2 = ops.zeros_like(mech.Wq[:, :1, :])
    b = ops.log(power / (1 - power)) + ops.zeros_like(W2)
    return m.GLA(mech.Wq * ops.sqrt(ops.const(n, W1)), mech.Wk, mech.Wv, W1, W2, b)


def constant_step(mech: Any, a: Array) -> Any:
    """SSD with dt = 1 for every token."""
    W, b = unit_step(mech.Wq)
    return m.SSD(mech.Wq, mech.Wk, mech.Wv, W, b, ops.log(-a), ops.zeros_like(b))


def constant_decay(mech: Any, Wq: Array, log_w: Array, bonus: Array) -> Any:
    """RWKV-6 whose decay w and bonus are numbers per head."""
    W1 = ops.zeros_like(mech.Wq[:1, :, :1])
    W2 = ops.zeros_like(mech.Wq[:, :1, :])
    return m.RWKV6(Wq, mech.Wk, mech.Wv, W1, W2, ops.log(-log_w) + W2, bonus + W2)
