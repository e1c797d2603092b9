"""Edges between the kinds of linear attention: a divided query, feature maps."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.fields import POSITIVE as POSITIVE_NUMBERS
from dsf.core.fields import Domain
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, identity, in_words
from dsf.relations.maps import one, unit_step


def divided_query(tok: Tokens) -> Tokens:
    return Tokens(q=tok.q / tok.eta, k=tok.k, v=tok.v)


def eta_one(tok: Tokens) -> Tokens:
    return tok.replace(eta=one(tok))


def eta_half(tok: Tokens) -> Tokens:
    return tok.replace(q=tok.q / 2, eta=one(tok) / 2)


def _constant_eta(eta: str) -> Any:
    @in_words("w <- 0; b <- 0 (exp), log(e - 1) (softplus); sigmoid: b <- 0, W_q <- W_q/2")
    def constant_eta(mech: Any) -> Any:
        w, b = unit_step(mech.Wq)
        Wq = mech.Wq / 2 if eta == "sigmoid" else mech.Wq
        b = b if eta == "softplus" else ops.zeros_like(b)
        return m.NormalisedAttention(Wq, mech.Wk, mech.Wv, w, b, eta=eta)

    return constant_eta


def _divided(eta: str) -> tuple[Nesting, Nesting]:
    family = m.normalised_attn if eta == "exp" else m.normalised_attn(eta=eta)
    back, text = eta_one, "eta <- 1"
    if eta == "sigmoid":
        back, text = eta_half, "q <- q/2, eta <- 1/2"
    down = Nesting(family, m.linear_attn, divided_query, "q <- q/eta", reference="sieber2024")
    return down, Nesting(m.linear_attn, family, back, text, params=_constant_eta(eta))


def large_normaliser(tok: Tokens, x: Array) -> Tokens:
    """The division by max(|q'n|/x, 1) is one by q'n/x as soon as x < q'n."""
    half = ops.ones_like(tok.v) / 2
    return Tokens(q=tok.q / x, k=tok.k, v=2 * tok.v, i=one(tok), log_f=-x * one(tok), gate=half)


def values_doubled(S: Array, tok: Tokens) -> Array:
    """(2 S, n): the last column is the sum of the keys."""
    return ops.cat([2 * S[..., :-1], S[..., -1:]])


def summed_keys(S: Array, z: Any) -> tuple[tuple[Array, Domain], ...]:
    return ((S[..., -1:], POSITIVE_NUMBERS),)


def weight(S: Array, tok: Tokens, z: Any) -> tuple[Array, ...]:
    return (tok.q @ S[..., -1:],)


# What is left of a feature map when features are free tokens: their signs.  Of these maps elu+1 and
# exp reach all positive numbers; favor does not.
POSITIVE = "the same positive tokens"

EDGES = (
    *(e for eta in ("exp", "softplus", "sigmoid") for e in _divided(eta)),
    *(
        Nesting(m.linear_attn(phi=phi), m.linear_attn, identity, f"q, k <- {phi} features")
        for phi in ("elu+1", "exp", "taylor", "favor")
    ),
    *(
        Nesting(
            m.linear_attn(phi=phi, normalise=True), m.linear_attn(normalise=True), identity,
            f"q, k <- {phi} features",
        )
        for phi in ("exp", "taylor")
    ),
    Nesting(
        m.linear_attn(phi="elu+1"), m.linear_attn(phi="exp"), identity, POSITIVE, inverse=identity
    ),
    Nesting(m.linear_attn(phi="favor"), m.linear_attn(phi="exp"), identity, POSITIVE),
    Nesting(
        m.normalised_linear_attn, m.linear_attn(phi="exp", normalise=True), identity, POSITIVE,
        inverse=identity,
    ),
    Nesting(
        m.normalised_linear_attn, m.mlstm, large_normaliser,
        "q <- q/x, v <- 2v, i <- 1, log_f <- -x, gate <- 1/2", values_doubled,
        limit=Limit("x", 0, "+"), stays=summed_keys, positive=weight,
        note="the sum of the weights is positive",
    ),
)  # fmt: skip
