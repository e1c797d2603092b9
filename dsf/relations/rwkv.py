"""Edges of RWKV-6: its two reading conventions, and GLA with twice the rows."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, identity, in_words
from dsf.relations.ssm import mamba2_gla


@in_words("the same parameters")
def other_reading(mech: Any) -> Any:
    return m.RWKV6(**mech.parameters(), read="after")


def gla_rwkv6(tok: Tokens) -> Tokens:
    """Two copies of every row: what they remember cancels, what their bonus adds does not.

    With n rows alone the bonus would have to be 1/w, and it is a constant.
    """
    none = ops.zeros_like(tok.k[..., :1, :])
    return Tokens(
        q=ops.cat([tok.q * (ops.exp(tok.log_a) + 1), -tok.q]),
        k=ops.cat([tok.k, tok.k]),
        v=tok.v,
        log_w=ops.cat([tok.log_a, tok.log_a]),
        bonus=ops.cat([none, none - 1]),
    )


def twice(S: Array, tok: Tokens) -> Array:
    """(S, S)."""
    return ops.cat([S, S], -2)


def rwkv6_gla(tok: Tokens, x: Array) -> Tokens:
    """The second n rows forget at once, so they hold the current write, which the bonus reads."""
    q = tok.q * ops.exp(-tok.log_w)
    return Tokens(
        q=ops.cat([q, tok.q * tok.bonus - q]),
        k=ops.cat([tok.k, tok.k]),
        v=tok.v,
        log_a=ops.cat([tok.log_w, ops.log(x + ops.zeros_like(tok.log_w))]),
    )


def state_and_write(S: Array, tok: Tokens) -> Array:
    """(S, k v')."""
    return ops.cat([S, ops.col(tok.k[..., -1, :]) * ops.row(tok.v[..., -1, :])], -2)


def mamba2_skip_rwkv6(tok: Tokens) -> Tokens:
    """Two more rows with the key 1: what they remember cancels, what one bonus adds is skip v."""
    image = gla_rwkv6(mamba2_gla(tok))
    read = tok.skip + ops.zeros_like(tok.dt)
    ones = ops.ones_like(read)
    none = ops.zeros_like(image.bonus[..., :1])
    return Tokens(
        q=ops.cat([image.q, read, -read]),
        k=ops.cat([image.k, ones, ones]),
        v=image.v,
        log_w=ops.cat([image.log_w, -ones, -ones]),
        bonus=ops.cat([image.bonus, none + 1, none]),
    )


def twice_and_rows(S: Array, tok: Tokens, z: Array) -> Array:
    """(S, S, z, z)."""
    return ops.cat([S, S, z, z], -2)


def last_row(R: Array) -> Array:
    return R[..., -1:, :]


EDGES = (
    Nesting(
        m.rwkv6, m.rwkv6(read="after"), identity, "the same tokens, C = q/w", inverse=identity,
        params=other_reading, reference="peng2024",
    ),
    Nesting(
        m.gla, m.rwkv6, gla_rwkv6,
        "2n rows, q <- (q + q e^log_a, -q), k <- (k, k), bonus <- (0, -1)", twice,
    ),
    Nesting(
        m.mamba2(skip=True), m.rwkv6, mamba2_skip_rwkv6,
        "2n + 2 rows, q <- (q + q e^{dt a}, -q, skip, -skip), k <- dt (k, k), 1, 1, "
        "bonus <- (0, -1, 1, 0)",
        twice_and_rows, rest=last_row,
        note="the last two rows hold a sum of the values, which is no function of the state",
    ),
    Nesting(
        m.rwkv6, m.gla, rwkv6_gla,
        "2n rows, q <- (q/w, (bonus - 1/w) q), k <- (k, k), gate <- (w, x)", state_and_write,
        limit=Limit("x", 0, "+"),
    ),
)  # fmt: skip
