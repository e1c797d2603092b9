"""Edges of a window of one token: its output is the value, which others pass on in two ways.

Numbers that make no difference in these maps are `idle`.
"""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Nesting
from dsf.relations.maps import EVEN, one


# ------------------------------------------------------------- what is stored is replaced
def replaced_value(tok: Tokens) -> Tokens:
    """What is stored under the one key e1 is replaced by the present value, and read."""
    first = one(tok)
    key = ops.cat([first, ops.zeros_like(tok.k[..., 1:])])
    return Tokens(q=key, k=key, v=tok.v, beta=first)


def replaced_value_of_a_gate(tok: Tokens) -> Tokens:
    return replaced_value(tok).replace(log_a=-one(tok))


def last_value(S: Array, tok: Tokens) -> Array:
    """(v', 0): the first row holds the value; special has no state."""
    v = tok.v[..., -1:, :]
    return ops.cat([v, *[ops.zeros_like(v)] * (tok.k.shape[-1] - 1)], -2)


# ------------------------------------------------------------- a skip, and nothing is written
def only_skip(tok: Tokens) -> Tokens:
    ones, dt = ops.ones_like(tok.k), one(tok)
    return Tokens(q=ones, k=0 * ones, v=tok.v, dt=dt, a=-dt[:1], skip=dt[:1])


def only_skip_of_pairs(tok: Tokens) -> Tokens:
    image, dt = only_skip(tok), one(tok)
    half = ops.zeros_like(tok.k[..., : tok.k.shape[-1] // 2])
    return image.replace(a=-dt, lam=dt / 2, theta=half)


def only_skip_of_channels(tok: Tokens) -> Tokens:
    v = ops.col(ops.mT(tok.v))
    ones = ops.ones_like(v[:, :1]) + ops.zeros_like(tok.k[:1])
    none, first = ops.zeros_like(ones), ops.ones_like(v[:, :1])
    return Tokens(
        v=v, dt=first, a_re=-ones, a_im=none, b_re=none, b_im=none, c_re=ones, c_im=ones, skip=first
    )


def nothing(S: Array, tok: Tokens) -> Array:
    """0 [n p]."""
    return ops.zeros_like(ops.col(tok.k[-1]) * tok.v[-1:])


def nothing_in_pairs(S: Array, tok: Tokens) -> Array:
    half = nothing(S, tok)[: tok.k.shape[-1] // 2]
    return ops.as_complex(half, half)


def nothing_in_channels(S: Array, tok: Tokens) -> Array:
    zero = columns(nothing(S, tok))
    return ops.as_complex(zero, zero)


def columns(S: Array) -> Array:
    """[n p] -> [p n 1]."""
    return ops.col(ops.mT(S))


ONE = m.window_softmax(width=1)
SKIP = "k <- 0, skip <- 1, q, dt <- 1, a <- -1"
CONSTANT = "b <- 0, skip <- 1, dt <- 1, a <- -1, c <- 1 + i"
LTI: dict[str, Any] = {"idle": ("dt", "a_re", "a_im", "c_re", "c_im")}

EDGES = (
    Nesting(ONE, m.deltanet(reach=2), replaced_value, "q, k <- e1, beta <- 1", last_value),
    Nesting(
        ONE, m.gated_deltanet(reach=2), replaced_value_of_a_gate,
        "q, k <- e1, beta <- 1, log_a <- -1", last_value, idle=("log_a",),
    ),
    Nesting(ONE, m.mamba2(skip=True), only_skip, SKIP, nothing, idle=("q", "dt", "a")),
    Nesting(
        ONE, m.mamba3(skip=True), only_skip_of_pairs, SKIP + ", lam <- 1/2, theta <- 0",
        nothing_in_pairs,
        idle=("q", "dt", "a", "lam", "theta"), **EVEN,
    ),
    Nesting(ONE, m.s4d, only_skip_of_channels, CONSTANT, nothing_in_channels, **LTI),
    Nesting(
        ONE, m.s4d(discretisation="bilinear"), only_skip_of_channels, CONSTANT,
        nothing_in_channels, **LTI,
    ),
)  # fmt: skip
