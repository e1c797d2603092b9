"""Edges between the selective state space models: S6, SSD, Mamba-3, and GLA above them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, in_words
from dsf.relations.maps import EVEN, columns_as_heads


def mamba2_gla(tok: Tokens) -> Tokens:
    log_a = tok.dt * tok.a + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.dt * tok.k, v=tok.v, log_a=log_a)


def mamba2_mamba(tok: Tokens) -> Tokens:
    """The p columns of one head are p channels with the same dt and the same a in every row."""
    v = ops.col(ops.mT(tok.v))
    zero = ops.zeros_like(v)
    a = tok.a + zero[..., :1, :] + ops.zeros_like(tok.k[..., :1, :])
    image = Tokens(q=tok.q[None], k=tok.k[None], v=v, dt=tok.dt + zero, a=a)
    return image.replace(skip=tok.skip + zero[..., :1, :]) if "skip" in tok.names else image


def mamba2_mamba_zoh(tok: Tokens) -> Tokens:
    return mamba2_mamba(tok.replace(k=tok.dt * tok.a / (ops.exp(tok.dt * tok.a) - 1) * tok.k))


def mamba_gla(tok: Tokens) -> Tokens:
    """One head for every channel, with the same q and k in all of them."""
    log_a = tok.dt * tok.a
    q = tok.q + ops.zeros_like(log_a)
    return Tokens(q=q, k=tok.dt * tok.k, v=tok.v, log_a=log_a)


def mamba_zoh_gla(tok: Tokens) -> Tokens:
    log_a = tok.dt * tok.a
    q = tok.q + ops.zeros_like(log_a)
    return Tokens(q=q, k=(ops.exp(log_a) - 1) / tok.a * tok.k, v=tok.v, log_a=log_a)


def no_skip(tok: Tokens) -> Tokens:
    return tok.replace(skip=ops.zeros((1, 1), tok.v))


def no_skips(tok: Tokens) -> Tokens:
    return tok.replace(skip=ops.zeros_like(tok.a[..., :1]))


@in_words("D <- 0")
def no_skip_params(mech: Any) -> Any:
    return replace(mech, D=ops.zeros_like(mech.D), skip=True)


def mamba2_mamba3(tok: Tokens, x: Array) -> Tokens:
    q, k = _even(tok.q, -1), _even(tok.k, -1)
    theta = ops.zeros_like(q[..., : q.shape[-1] // 2])
    rest = {"skip": tok.skip} if "skip" in tok.names else {}
    lam, a = x + ops.zeros_like(tok.dt), tok.a + ops.zeros_like(tok.dt)
    return Tokens(q=q, k=k, v=tok.v, dt=tok.dt, a=a, lam=lam, theta=theta, **rest)


def conjugate_pairs(S: Array, tok: Tokens) -> Array:
    """Rows (S1, S2) -> S1 - i S2, with a row of zeros if their number is odd."""
    S = _even(S, -2)
    half = S.shape[-2] // 2
    return ops.as_complex(S[..., :half, :], -S[..., half:, :])


def _even(x: Array, axis: int) -> Array:
    first = x[..., :1] if axis == -1 else x[..., :1, :]
    return ops.cat([x, ops.zeros_like(first)], axis) if x.shape[axis] % 2 else x


SHARED = "one head as p channels with the same dt and a"
ZOH = m.mamba(discretisation="zoh")
NO_ROTATION: dict[str, Any] = {"limit": Limit("lam", 1, "-"), "reference": "mamba3"}

EDGES = (
    Nesting(m.mamba2, m.gla, mamba2_gla, "k <- dt k, log_a <- dt a", reference="dao2024"),
    Nesting(m.mamba2, m.mamba, mamba2_mamba, SHARED, columns_as_heads, reference="sieber2024"),
    Nesting(
        m.mamba2(skip=True), m.mamba(skip=True), mamba2_mamba, SHARED + ", skip",
        columns_as_heads, reference="sieber2024",
    ),
    Nesting(
        m.mamba2, ZOH, mamba2_mamba_zoh, SHARED + ", k <- dt a/(e^{dt a} - 1) k", columns_as_heads,
        reference="sieber2024",
    ),
    Nesting(
        m.mamba, m.gla, mamba_gla, "one head per channel, k <- dt k, log_a <- dt a",
        reference="sieber2024",
    ),
    Nesting(
        ZOH, m.gla, mamba_zoh_gla, "one head per channel, k <- (e^{dt a} - 1)/a k, log_a <- dt a",
        reference="sieber2024",
    ),
    Nesting(m.mamba2, m.mamba2(skip=True), no_skip, "skip <- 0", params=no_skip_params),
    Nesting(m.mamba, m.mamba(skip=True), no_skips, "skip <- 0", params=no_skip_params),
    Nesting(m.mamba3, m.mamba3(skip=True), no_skip, "skip <- 0", params=no_skip_params, **EVEN),
    Nesting(
        m.mamba2, m.mamba3, mamba2_mamba3, "theta <- 0, S <- S1 - i S2", conjugate_pairs,
        **NO_ROTATION,
    ),
    Nesting(
        m.mamba2(skip=True), m.mamba3(skip=True), mamba2_mamba3, "theta <- 0, S <- S1 - i S2",
        conjugate_pairs, **NO_ROTATION,
    ),
)  # fmt: skip
