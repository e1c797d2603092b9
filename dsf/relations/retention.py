"""Edges from RetNet, whose decay is a constant, and from linear attention, which has none."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, identity, in_words
from dsf.relations.maps import (
    EVEN,
    columns_as_heads,
    constant_decay,
    constant_gate,
    constant_step,
    one,
)
from dsf.relations.ssm import mamba2_mamba


# ------------------------------------------------------------- from RetNet
def retnet_gla(tok: Tokens) -> Tokens:
    log_a = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.k, v=tok.v, log_a=log_a)


@in_words("W_1, W_2 <- 0, b <- logit(gamma^16), W_q <- sqrt(n) W_q")
def retnet_gla_params(mech: Any) -> Any:
    return constant_gate(mech, mech.gamma**16)


def retnet_mamba2(tok: Tokens) -> Tokens:
    return Tokens(q=tok.q, k=tok.k, v=tok.v, dt=one(tok), a=ops.log(tok.gamma))


@in_words("W_dt <- 0, b <- log(e - 1), A_log <- log(-log gamma)")
def retnet_mamba2_params(mech: Any) -> Any:
    return constant_step(mech, ops.log(mech.gamma))


def retnet_rwkv6(tok: Tokens) -> Tokens:
    log_w = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    bonus = 1 / tok.gamma + ops.zeros_like(tok.k[..., :1, :])
    return Tokens(q=tok.gamma * tok.q, k=tok.k, v=tok.v, log_w=log_w, bonus=bonus)


@in_words("W_1, W_2 <- 0, w_0 <- log(-log gamma), bonus <- 1/gamma, W_q <- gamma W_q")
def retnet_rwkv6_params(mech: Any) -> Any:
    return constant_decay(mech, mech.gamma * mech.Wq, ops.log(mech.gamma), 1 / mech.gamma)


def without_position(tok: Tokens) -> Tokens:
    return Tokens(**{k: v for k, v in tok.items() if k != "pos"})


def rotating_frame(S: Array, tok: Tokens) -> Array:
    """e^{i theta t} conj(S1 + i S2): a state that turns with the position."""
    half = S.shape[-2] // 2
    pairs = ops.as_complex(S[..., :half, :], -S[..., half:, :])
    return ops.cis(ops.mT(tok.theta * tok.pos)) * pairs


@in_words("the same parameters")
def published_retnet(mech: Any) -> Any:
    return m.RetNet(mech.Wq, mech.Wk, mech.Wv, mech.gamma, mech.theta, rotation=True)


def no_rotation(tok: Tokens) -> Tokens:
    """Each row as a pair whose second half is 0."""
    double = (ops.cat([x, ops.zeros_like(x)]) for x in (tok.q, tok.k))
    q, k = double
    return Tokens(q=q, k=k, v=tok.v, gamma=tok.gamma, theta=ops.zeros_like(tok.k[..., :1, :]))


def as_it_is_complex(S: Array, tok: Tokens) -> Array:
    return ops.as_complex(S, ops.zeros_like(S))


def rotation_mamba3(tok: Tokens, x: Array) -> Tokens:
    theta = tok.theta + ops.zeros_like(tok.k[..., : tok.k.shape[-1] // 2])
    lam, a = x + ops.zeros_like(one(tok)), ops.log(tok.gamma) + ops.zeros_like(one(tok))
    return Tokens(q=tok.q, k=tok.k, v=tok.v, dt=one(tok), a=a, lam=lam, theta=theta)


# ------------------------------------------------------------- from linear attention
def linear_retnet(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(gamma=x + ops.zeros((1, 1), tok.k))


@in_words("gamma close to 1")
def linear_retnet_params(mech: Any, x: Array) -> Any:
    theta = ops.zeros_like(mech.Wq[:, :1, : mech.Wq.shape[-1] // 2])
    return m.RetNet(mech.Wq, mech.Wk, mech.Wv, x + ops.zeros_like(mech.Wq[:, :1, :1]), theta)


def linear_gla(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(log_a=x + ops.zeros_like(tok.k))


@in_words("W_1, W_2 <- 0, b <- logit(e^{16 log_a}), W_q <- sqrt(n) W_q")
def linear_gla_params(mech: Any, x: Array) -> Any:
    return constant_gate(mech, ops.exp(16 * (x + ops.zeros_like(mech.Wq[:, :1, :]))))


def linear_mamba2(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(dt=one(tok), a=x + ops.zeros((1, 1), tok.k))


@in_words("W_dt <- 0, b <- log(e - 1), A_log <- log(-a)")
def linear_mamba2_params(mech: Any, x: Array) -> Any:
    return constant_step(mech, x + ops.zeros_like(mech.Wq[:, :1, :1]))


def linear_mamba(tok: Tokens, x: Array) -> Tokens:
    return mamba2_mamba(linear_mamba2(tok, x))


def linear_rwkv6(tok: Tokens, x: Array) -> Tokens:
    bonus = ops.ones_like(tok.k[..., :1, :])
    return tok.replace(log_w=x + ops.zeros_like(tok.k), bonus=bonus)


@in_words("W_1, W_2 <- 0, w_0 <- log(-log_w), bonus <- 1")
def linear_rwkv6_params(mech: Any, x: Array) -> Any:
    like = ops.zeros_like(mech.Wq[:, :1, :])
    return constant_decay(mech, mech.Wq, x + like, like + 1)


STEP = Limit("a", 0, "-")
CHANNELS = "one head as p channels, dt <- 1"

EDGES = (
    Nesting(m.retnet, m.gla, retnet_gla, "log_a <- log gamma", params=retnet_gla_params),
    Nesting(
        m.retnet, m.mamba2, retnet_mamba2, "dt <- 1, a <- log gamma", params=retnet_mamba2_params
    ),
    Nesting(
        m.retnet, m.rwkv6, retnet_rwkv6, "q <- gamma q, log_w <- log gamma, bonus <- 1/gamma",
        params=retnet_rwkv6_params,
    ),
    Nesting(
        m.retnet(rotation="qk"), m.retnet(rotation=True), without_position,
        "the same tokens, S <- e^{i theta t} conj(S1 + i S2)", rotating_frame, inverse=identity,
        params=published_retnet, reference="sun2023", **EVEN,
    ),
    Nesting(
        m.retnet, m.retnet(rotation=True), no_rotation, "q, k <- (q, 0), (k, 0), theta <- 0",
        as_it_is_complex,
    ),
    Nesting(
        m.retnet(rotation=True), m.mamba3, rotation_mamba3, "dt <- 1, a <- log gamma",
        limit=Limit("lam", 1, "-"), reference="mamba3", **EVEN,
    ),
    Nesting(
        m.linear_attn, m.retnet, linear_retnet, "", limit=Limit("gamma", 1, "-"),
        params=linear_retnet_params,
    ),
    Nesting(
        m.linear_attn, m.gla, linear_gla, "", limit=Limit("log_a", 0, "-"),
        params=linear_gla_params,
    ),
    Nesting(
        m.linear_attn, m.mamba2, linear_mamba2, "dt <- 1", limit=STEP, params=linear_mamba2_params
    ),
    Nesting(
        m.linear_attn, m.mamba, linear_mamba, CHANNELS, columns_as_heads, limit=STEP,
        reference="sieber2024",
    ),
    Nesting(
        m.linear_attn, m.mamba(discretisation="zoh"), linear_mamba, CHANNELS, columns_as_heads,
        limit=STEP, reference="sieber2024",
    ),
    Nesting(
        m.linear_attn, m.rwkv6, linear_rwkv6, "bonus <- 1", limit=Limit("log_w", 0, "-"),
        params=linear_rwkv6_params,
    ),
)  # fmt: skip
