"""Edges of regression at test time: what a ridge leaves as it grows, and directions that are 0."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, in_words
from dsf.relations.maps import one


# ------------------------------------------------------------------ attention
def no_direction(tok: Tokens) -> Tokens:
    return tok.replace(r=ops.zeros_like(tok.k))


@in_words("W_r <- 0")
def no_direction_params(mech: Any) -> Any:
    return m.Parallax(mech.Wq, mech.Wk, mech.Wv, ops.zeros_like(mech.Wk))


def large_ridge(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(ridge=one(tok)[..., :1, :] / x)


# ------------------------------------------------------------------ the recurrence
def scaled_query(tok: Tokens, x: Array) -> Tokens:
    """q (H + I/x)^-1 / x goes to q."""
    return large_ridge(tok, x).replace(q=tok.q / x)


def scaled_query_of_retention(tok: Tokens, x: Array) -> Tokens:
    alike = Tokens(q=tok.q, k=tok.k, v=tok.v)
    return scaled_query(alike, x).replace(log_g=one(tok) * ops.log(tok.gamma))


def gate_one(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(log_g=-x * one(tok))


def keys_in_front(S: Array, tok: Tokens, z: Array) -> Array:
    """(z, S): z is the matrix of the keys, which the linear state does not hold."""
    return ops.cat([z, S])


def keys(R: Array) -> Array:
    """H of (H, G) [n n+p]."""
    return R[..., : R.shape[-2]]


GROWS = Limit("x", 0, "+")
SMALL: dict[str, Any] = {"sizes": ((1, 1), (2, 1)), "sample": (3, 2)}

EDGES = (
    Nesting(
        m.softmax, m.parallax, no_direction, "r <- 0", params=no_direction_params,
        reference="zuo2026parallax",
    ),
    *(
        Nesting(
            m.softmax, family, large_ridge, "ridge <- 1/x", limit=GROWS, reference="zuo2026",
            **SMALL,
        )
        for family in (m.lla, m.lla(ridge_times="one"))
    ),
    Nesting(
        m.linear_attn, m.mesa(gated=False), scaled_query, "q <- q/x, ridge <- 1/x", keys_in_front,
        limit=GROWS, rest=keys, reference="wang2025", **SMALL,
    ),
    Nesting(
        m.retnet, m.mesa, scaled_query_of_retention,
        "q <- q/x, ridge <- 1/x, log_g <- log gamma", keys_in_front, limit=GROWS, rest=keys,
        reference="wang2025", **SMALL,
    ),
    *(
        Nesting(
            m.mesa(gated=False), family, gate_one, "log_g <- -x", limit=GROWS, **SMALL,
        )
        for family in (m.mesa, m.mesa(ridge_forgets=True))
    ),
)  # fmt: skip
