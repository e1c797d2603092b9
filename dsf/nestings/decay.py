"""Edges between mechanisms with a scalar or diagonal decay."""

from __future__ import annotations

import dsf.mechanisms as m
from dsf import ops
from dsf.nestings.edge import Limit, Nesting
from dsf.ops import Array
from dsf.tokens import Tokens


def retnet_gla(tok: Tokens) -> Tokens:
    log_a = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.k, v=tok.v, log_a=log_a)


def mamba2_gla(tok: Tokens) -> Tokens:
    log_a = tok.dt * tok.a + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.dt * tok.k, v=tok.v, log_a=log_a)


def linear_retnet(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(gamma=x + ops.zeros((1, 1), tok.k))


EDGES = (
    Nesting(m.retnet, m.gla, retnet_gla, "log_a <- log gamma"),
    Nesting(m.mamba2, m.gla, mamba2_gla, "k <- dt k, log_a <- dt a"),
    Nesting(m.linear_attn, m.retnet, linear_retnet, "gamma <- x", limit=Limit("x", 1, "-")),
)
