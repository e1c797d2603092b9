"""Edges between mechanisms with a constant, scalar or diagonal decay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dsf.mechanisms as m
from dsf import ops
from dsf.nestings.edge import Limit, Nesting, identity
from dsf.ops import Array
from dsf.tokens import Tokens

ONE = Limit("gamma", 1, "-")
ZERO = Limit("a", 0, "-")


def one(tok: Tokens) -> Array:
    """The number 1 for every token [... L 1]."""
    return ops.ones_like(tok.k[..., :1])


def unit_step(W: Array) -> tuple[Array, Array]:
    """Weights and bias with softplus(u W + b) = 1 for projections W [H d n]: 0 and log(e - 1)."""
    zero = ops.zeros_like(W[..., :1])
    return zero, ops.log(ops.exp(ops.ones_like(zero[..., :1, :])) - 1)


# ------------------------------------------------------------- from RetNet
def retnet_gla(tok: Tokens) -> Tokens:
    log_a = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.k, v=tok.v, log_a=log_a)


def retnet_gla_params(mech: Any) -> Any:
    return _constant_gate(mech, mech.gamma**16)


def _constant_gate(mech: Any, power: Array) -> Any:
    """GLA whose gate is alpha for every token, from power = alpha^16 = sigmoid(b)."""
    n = mech.Wq.shape[-1]
    W1 = ops.zeros_like(mech.Wq[:1, :, :1])
    W2 = ops.zeros_like(mech.Wq[:, :1, :])
    b = ops.log(power / (1 - power)) + ops.zeros_like(W2)
    return m.GLA(mech.Wq * ops.sqrt(ops.const(n, W1)), mech.Wk, mech.Wv, W1, W2, b)


def retnet_mamba2(tok: Tokens) -> Tokens:
    return Tokens(q=tok.q, k=tok.k, v=tok.v, dt=one(tok), a=ops.log(tok.gamma))


def retnet_mamba2_params(mech: Any) -> Any:
    return _constant_step(mech, ops.log(mech.gamma))


def _constant_step(mech: Any, a: Array) -> Any:
    W, b = unit_step(mech.Wq)
    return m.SSD(mech.Wq, mech.Wk, mech.Wv, W, b, ops.log(-a), ops.zeros_like(b))


def retnet_rwkv6(tok: Tokens) -> Tokens:
    log_w = ops.log(tok.gamma) + ops.zeros_like(tok.k)
    bonus = 1 / tok.gamma + ops.zeros_like(tok.k[..., :1, :])
    return Tokens(q=tok.gamma * tok.q, k=tok.k, v=tok.v, log_w=log_w, bonus=bonus)


def retnet_rwkv6_params(mech: Any) -> Any:
    return _constant_w(mech, mech.gamma * mech.Wq, ops.log(mech.gamma), 1 / mech.gamma)


def _constant_w(mech: Any, Wq: Array, log_w: Array, bonus: Array) -> Any:
    W1 = ops.zeros_like(mech.Wq[:1, :, :1])
    W2 = ops.zeros_like(mech.Wq[:, :1, :])
    w0, bonus = ops.log(-log_w) + W2, bonus + W2
    return m.RWKV6(Wq, mech.Wk, mech.Wv, W1, W2, w0, bonus)


def without_position(tok: Tokens) -> Tokens:
    return Tokens(**{k: v for k, v in tok.items() if k != "pos"})


def rotating_frame(S: Array, tok: Tokens) -> Array:
    """e^{i theta t} times the conjugate of the pairs of rows: a state that turns with the position."""
    half = S.shape[-2] // 2
    return ops.cis(ops.mT(tok.theta * tok.pos)) * ops.as_complex(S[..., :half, :], -S[..., half:, :])


def published_retnet(mech: Any) -> Any:
    return m.RetNet(mech.Wq, mech.Wk, mech.Wv, mech.gamma, mech.theta, rotation=True)


# ------------------------------------------------------------- from linear attention
def linear_retnet(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(gamma=x + ops.zeros((1, 1), tok.k))


def linear_retnet_params(mech: Any, x: Array) -> Any:
    theta = ops.zeros_like(mech.Wq[:, :1, : mech.Wq.shape[-1] // 2])
    return m.RetNet(mech.Wq, mech.Wk, mech.Wv, x + ops.zeros_like(mech.Wq[:, :1, :1]), theta)


def linear_gla(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(log_a=x + ops.zeros_like(tok.k))


def linear_gla_params(mech: Any, x: Array) -> Any:
    return _constant_gate(mech, ops.exp(16 * (x + ops.zeros_like(mech.Wq[:, :1, :]))))


def linear_mamba2(tok: Tokens, x: Array) -> Tokens:
    return tok.replace(dt=one(tok), a=x + ops.zeros((1, 1), tok.k))


def linear_mamba2_params(mech: Any, x: Array) -> Any:
    return _constant_step(mech, x + ops.zeros_like(mech.Wq[:, :1, :1]))


def linear_mamba(tok: Tokens, x: Array) -> Tokens:
    return mamba2_mamba(linear_mamba2(tok, x))


def linear_rwkv6(tok: Tokens, x: Array) -> Tokens:
    bonus = ops.ones_like(tok.k[..., :1, :])
    return tok.replace(log_w=x + ops.zeros_like(tok.k), bonus=bonus)


def linear_rwkv6_params(mech: Any, x: Array) -> Any:
    like = ops.zeros_like(mech.Wq[:, :1, :])
    return _constant_w(mech, mech.Wq, x + like, like + 1)


# ------------------------------------------------------------- state space models
def mamba2_gla(tok: Tokens) -> Tokens:
    log_a = tok.dt * tok.a + ops.zeros_like(tok.k)
    return Tokens(q=tok.q, k=tok.dt * tok.k, v=tok.v, log_a=log_a)


def channels_as_heads(x: Array) -> Array:
    """[L p] -> [p L 1]."""
    return ops.col(ops.mT(x))


def mamba2_mamba(tok: Tokens) -> Tokens:
    zero = ops.zeros_like(channels_as_heads(tok.v))
    a = tok.a + zero[..., :1, :] + ops.zeros_like(tok.k[..., :1, :])
    shared = Tokens(q=tok.q[None], k=tok.k[None], v=channels_as_heads(tok.v), dt=tok.dt + zero, a=a)
    return shared.replace(skip=tok.skip + zero[..., :1, :]) if "skip" in tok.names else shared


def mamba2_mamba_zoh(tok: Tokens) -> Tokens:
    rescaled = tok.dt * tok.a / (ops.exp(tok.dt * tok.a) - 1) * tok.k
    return mamba2_mamba(tok.replace(k=rescaled))


def columns_as_heads(S: Array, tok: Tokens) -> Array:
    """[n p] -> [p n 1]."""
    return ops.col(ops.mT(S))


def mamba_gla(tok: Tokens) -> Tokens:
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


def rotation_mamba3(tok: Tokens, x: Array) -> Tokens:
    theta = tok.theta + ops.zeros_like(tok.k[..., : tok.k.shape[-1] // 2])
    lam, a = x + ops.zeros_like(one(tok)), ops.log(tok.gamma) + ops.zeros_like(one(tok))
    return Tokens(q=tok.q, k=tok.k, v=tok.v, dt=one(tok), a=a, lam=lam, theta=theta)


# ------------------------------------------------------------- RWKV-6 and GLA
def gla_rwkv6(tok: Tokens) -> Tokens:
    """The bonus of two copies of every row cancels in what they remember, and adds what is new."""
    q = ops.cat([tok.q * (ops.exp(tok.log_a) + 1), -tok.q])
    none = ops.zeros_like(tok.k[..., :1, :])
    return Tokens(
        q=q,
        k=ops.cat([tok.k, tok.k]),
        v=tok.v,
        log_w=ops.cat([tok.log_a, tok.log_a]),
        bonus=ops.cat([none, none - 1]),
    )


def twice(S: Array, tok: Tokens) -> Array:
    """(S, S)."""
    return ops.cat([S, S], -2)


def rwkv6_gla(tok: Tokens, x: Array) -> Tokens:
    q = tok.q * ops.exp(-tok.log_w)
    return Tokens(
        q=ops.cat([q, tok.q * tok.bonus - q]),
        k=ops.cat([tok.k, tok.k]),
        v=tok.v,
        log_a=ops.cat([tok.log_w, ops.log(x + ops.zeros_like(tok.log_w))]),
    )


def state_and_write(S: Array, tok: Tokens) -> Array:
    """(S, k v'): the second half holds the last write only."""
    return ops.cat([S, ops.col(tok.k[..., -1, :]) * ops.row(tok.v[..., -1, :])], -2)


def other_reading(mech: Any) -> Any:
    return m.RWKV6(**mech.parameters(), read="after")


# ------------------------------------------------------------- normalised attention
def divided_query(tok: Tokens) -> Tokens:
    return Tokens(q=tok.q / tok.eta, k=tok.k, v=tok.v)


def eta_one(tok: Tokens) -> Tokens:
    return tok.replace(eta=one(tok))


def eta_half(tok: Tokens) -> Tokens:
    return tok.replace(q=tok.q / 2, eta=one(tok) / 2)


def _constant_eta(eta: str) -> Any:
    def constant_eta(mech: Any) -> Any:
        w, b = unit_step(mech.Wq)
        Wq = mech.Wq / 2 if eta == "sigmoid" else mech.Wq
        b = b if eta == "softplus" else ops.zeros_like(b)
        return m.NormalisedAttention(Wq, mech.Wk, mech.Wv, w, b, eta=eta)

    return constant_eta


def _normalised() -> tuple[Nesting, ...]:
    found = []
    for eta in ("exp", "softplus", "sigmoid"):
        family = m.normalised_attn if eta == "exp" else m.normalised_attn(eta=eta)
        back, text = (eta_one, "eta <- 1")
        if eta == "sigmoid":
            back, text = (eta_half, "q <- q/2, eta <- 1/2")
        found += [
            Nesting(family, m.linear_attn, divided_query, "q <- q/eta", reference=SIEBER),
            Nesting(m.linear_attn, family, back, text, params=_constant_eta(eta), reference=SIEBER),
        ]
    return tuple(found)


def _features() -> tuple[Nesting, ...]:
    """What is left of a feature map when features are free tokens: their signs."""
    included = [
        Nesting(m.linear_attn(phi=phi), m.linear_attn, identity, f"q, k <- {phi} features")
        for phi in ("elu+1", "exp", "taylor", "favor")
    ]
    free = "the same tokens: both feature maps reach every positive number"
    divided = m.linear_attn(phi="exp", normalise=True)
    return (
        *included,
        Nesting(m.linear_attn(phi="elu+1"), m.linear_attn(phi="exp"), identity, free, inverse=identity),
        Nesting(m.normalised_linear_attn, divided, identity, free, inverse=identity),
    )


SIEBER = "sieber2024"
EVEN = ((2, 1), (2, 2), (4, 2))
HEADS = "p heads of one value each; q, k are shared"
CHANNELS = "one head; its p columns are p channels with the same dt and scalar a"

EDGES = (
    Nesting(m.retnet, m.gla, retnet_gla, "log_a <- log gamma", params=retnet_gla_params),
    Nesting(m.retnet, m.mamba2, retnet_mamba2, "dt <- 1, a <- log gamma", params=retnet_mamba2_params),
    Nesting(
        m.retnet, m.rwkv6, retnet_rwkv6, "q <- gamma q, log_w <- log gamma, bonus <- 1/gamma",
        params=retnet_rwkv6_params,
    ),
    Nesting(
        m.retnet(rotation="qk"), m.retnet(rotation=True), without_position,
        "the same tokens, S <- e^{i theta t} conj(S1 + i S2)", rotating_frame, inverse=identity,
        params=published_retnet, sizes=EVEN, sample=(6, 3), reference="sun2023",
    ),
    Nesting(m.linear_attn, m.retnet, linear_retnet, "gamma", limit=ONE, params=linear_retnet_params),
    Nesting(
        m.linear_attn, m.gla, linear_gla, "log_a <- a", limit=ZERO, params=linear_gla_params
    ),
    Nesting(
        m.linear_attn, m.mamba2, linear_mamba2, "dt <- 1", limit=ZERO, params=linear_mamba2_params
    ),
    Nesting(
        m.linear_attn, m.mamba, linear_mamba, "dt <- 1", columns_as_heads, limit=ZERO,
        note=CHANNELS, reference=SIEBER,
    ),
    Nesting(
        m.linear_attn, m.mamba(discretisation="zoh"), linear_mamba, "dt <- 1", columns_as_heads,
        limit=ZERO, note=CHANNELS, reference=SIEBER,
    ),
    Nesting(
        m.linear_attn, m.rwkv6, linear_rwkv6, "log_w <- a, bonus <- 1", limit=ZERO,
        params=linear_rwkv6_params,
    ),
    Nesting(m.mamba2, m.gla, mamba2_gla, "k <- dt k, log_a <- dt a", reference="dao2024"),
    Nesting(
        m.mamba2, m.mamba, mamba2_mamba, "dt, a shared by the channels", columns_as_heads,
        note=CHANNELS, reference=SIEBER,
    ),
    Nesting(
        m.mamba2(skip=True), m.mamba(skip=True), mamba2_mamba, "dt, a, skip shared by the channels",
        columns_as_heads, note=CHANNELS, reference=SIEBER,
    ),
    Nesting(
        m.mamba2, m.mamba(discretisation="zoh"), mamba2_mamba_zoh,
        "k <- dt a/(e^{dt a} - 1) k, dt, a shared by the channels", columns_as_heads,
        note=CHANNELS, reference=SIEBER,
    ),
    Nesting(
        m.mamba, m.gla, mamba_gla, "k <- dt k, log_a <- dt a, one head per channel",
        note=HEADS, reference=SIEBER,
    ),
    Nesting(
        m.mamba(discretisation="zoh"), m.gla, mamba_zoh_gla,
        "k <- (e^{dt a} - 1)/a k, log_a <- dt a, one head per channel", note=HEADS, reference=SIEBER,
    ),
    Nesting(m.mamba2, m.mamba2(skip=True), no_skip, "skip <- 0", params=no_skip_params),
    Nesting(m.mamba, m.mamba(skip=True), no_skips, "skip <- 0", params=no_skip_params),
    Nesting(
        m.mamba3, m.mamba3(skip=True), no_skip, "skip <- 0", params=no_skip_params,
        sizes=EVEN, sample=(6, 3),
    ),
    Nesting(
        m.mamba2, m.mamba3, mamba2_mamba3, "lam, theta <- 0, S <- S1 - i S2", conjugate_pairs,
        limit=Limit("lam", 1, "-"), reference="mamba3",
    ),
    Nesting(
        m.mamba2(skip=True), m.mamba3(skip=True), mamba2_mamba3, "lam, theta <- 0, S <- S1 - i S2",
        conjugate_pairs, limit=Limit("lam", 1, "-"), reference="mamba3",
    ),
    Nesting(
        m.retnet(rotation=True), m.mamba3, rotation_mamba3, "lam, dt <- 1, a <- log gamma",
        limit=Limit("lam", 1, "-"), sizes=EVEN, sample=(6, 3), reference="mamba3",
    ),
    Nesting(
        m.rwkv6, m.rwkv6(read="after"), identity, "the same tokens, C = q/w", inverse=identity,
        params=other_reading, reference="peng2024",
    ),
    Nesting(
        m.gla, m.rwkv6, gla_rwkv6,
        "2n rows: q <- (q(1+e^log_a), -q), k <- (k, k), bonus <- (0, -1)", twice,
        note="every row twice; with n rows the constant bonus cannot be 1/w",
    ),
    Nesting(
        m.rwkv6, m.gla, rwkv6_gla,
        "2n rows: q <- (q/w, (bonus - 1/w)q), k <- (k, k), log_a <- (log_w, log x)", state_and_write,
        limit=Limit("x", 0, "+"), note="the second n rows forget at once, and hold the bonus",
    ),
    *_normalised(),
    *_features(),
)  # fmt: skip
