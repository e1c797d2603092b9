"""Edges between the delta rules."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, identity, in_words
from dsf.relations.maps import unit_step


def twice_per_token(x: Array) -> Array:
    """Each row twice: [L n] -> [2L n]."""
    return interleave(x, x)


def interleave(x: Array, y: Array) -> Array:
    """Rows x_0, y_0, x_1, y_1, ...: two substeps per token."""
    both = ops.stack([x, y], -2)
    return both.reshape(*both.shape[:-3], 2 * both.shape[-3], both.shape[-1])


def equal_steps(tok: Tokens) -> Tokens:
    """(1 - b)^2 = 1 - beta."""
    b = 1 - ops.sqrt(1 - tok.beta)
    return Tokens(
        q=tok.q, k=twice_per_token(tok.k), v=twice_per_token(tok.v), beta=twice_per_token(b)
    )


def rational_steps(tok: Tokens) -> Tokens:
    """(1 - b1)(1 - b2) = x with 1 - b1 = (1 + x^2)/2, 1 - b2 = 2x/(1 + x^2), for x in (-1, 1)."""
    x = 1 - tok.beta
    b1, b2 = (1 - x * x) / 2, (1 - x) * (1 - x) / (1 + x * x)
    return Tokens(
        q=tok.q, k=twice_per_token(tok.k), v=twice_per_token(tok.v), beta=interleave(b1, b2)
    )


@in_words("the same parameters")
def single_step(mech: Any) -> Any:
    weights = mech.Wq, mech.Wk[None], mech.Wv[None], mech.Wb[None]
    return m.DeltaProduct(*weights, steps=1, reach=mech.reach)


def gate_open(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(log_a=x + ops.zeros_like(tok.beta))


@in_words("W_dt <- 0, b <- log(e - 1), A_log <- log(-log_a)")
def gate_open_params(mech: Any, x: Array) -> Any:
    W, b = unit_step(mech.Wq)
    A_log = ops.log(-(x + ops.zeros_like(b)))
    same = {"reach": mech.reach, "unit_keys": mech.unit_keys}
    return m.GatedDeltaNet(mech.Wq, mech.Wk, mech.Wv, mech.Wb, W, b, A_log, **same)


def small_writes(tok: Tokens, x: Array) -> Tokens:
    size = ops.l2norm(tok.k)
    return Tokens(q=tok.q, k=tok.k / size, v=tok.v * size / x, beta=x + ops.zeros_like(size))


def small_raw_writes(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(v=tok.v / x, beta=x + ops.zeros_like(tok.k[..., :1]))


def small_decayed_writes(tok: Tokens, x: Array) -> Tokens:
    image = small_writes(Tokens(q=tok.q, k=tok.k, v=tok.dt * tok.v), x)
    return image.replace(log_a=tok.dt * tok.a)


WRITE = Limit("beta", 0, "+")
KEPT = (
    "values grow like 1/beta, so the write survives while the erasure vanishes; k = 0 by continuity"
)
WIDER = "the same tokens: beta in (0, 1) lies in (0, 2)"

EDGES = (
    Nesting(
        m.deltanet, m.deltaproduct(reach=1), equal_steps,
        "each key and value twice, beta_1 = beta_2 = 1 - sqrt(1 - beta)", reference="siems2025",
    ),
    Nesting(
        m.deltanet(reach=2), m.deltaproduct, rational_steps,
        "each key and value twice, (1 - beta_1)(1 - beta_2) = 1 - beta",
        note="beta_1 = (1 - x^2)/2, beta_2 = (1 - x)^2/(1 + x^2), x = 1 - beta",
    ),
    Nesting(
        m.deltanet(reach=2), m.deltaproduct(steps=1), identity, "the same tokens",
        inverse=identity, params=single_step, reference="siems2025",
    ),
    Nesting(
        m.deltanet, m.deltaproduct(steps=1, reach=1), identity, "the same tokens",
        inverse=identity, params=single_step, reference="siems2025",
    ),
    Nesting(m.deltanet, m.deltanet(reach=2), identity, WIDER),
    Nesting(m.gated_deltanet, m.gated_deltanet(reach=2), identity, WIDER),
    Nesting(m.deltaproduct(reach=1), m.deltaproduct, identity, WIDER),
    Nesting(m.deltanet, m.deltanet(unit_keys=False), identity, "the same tokens"),
    Nesting(
        m.deltanet(reach=2), m.deltanet(reach=2, unit_keys=False), identity, "the same tokens"
    ),
    Nesting(m.gated_deltanet, m.gated_deltanet(unit_keys=False), identity, "the same tokens"),
    Nesting(
        m.deltanet, m.gated_deltanet, gate_open, "", limit=Limit("log_a", 0, "-"),
        params=gate_open_params, reference="yang2024gated",
    ),
    Nesting(
        m.deltanet(reach=2), m.gated_deltanet(reach=2), gate_open, "",
        limit=Limit("log_a", 0, "-"), params=gate_open_params, reference="yang2024gated",
    ),
    Nesting(
        m.linear_attn, m.deltanet, small_writes, "k <- k/|k|, v <- |k| v/beta", limit=WRITE,
        note=KEPT,
    ),
    Nesting(
        m.linear_attn, m.deltanet(unit_keys=False), small_raw_writes, "v <- v/beta", limit=WRITE,
    ),
    Nesting(
        m.mamba2, m.gated_deltanet, small_decayed_writes,
        "k <- k/|k|, v <- dt |k| v/beta, log_a <- dt a", limit=WRITE, note=KEPT,
        reference="yang2024gated",
    ),
)  # fmt: skip
