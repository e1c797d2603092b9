"""Edges of the gated recurrent units: qLSTM, RG-LRU, mLSTM."""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.fields import GATE, Domain
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Limit, Nesting, identity, in_words


@in_words("alpha <- 1, (W_f, b_f) <- -(W_f, b_f)")
def flipped_gate(mech: Any) -> Any:
    changed = {
        "Wf": -mech.Wf, "bf": -mech.bf, "alpha": ops.ones_like(mech.alpha), "reversed": True,
    }  # fmt: skip
    return m.QLSTM(**{**mech.parameters(), **changed})


def qlstm_gla(tok: Tokens) -> Tokens:
    return Tokens(q=tok.o, k=tok.g, v=tok.v, log_a=tok.log_f)


def tied_write(tok: Tokens) -> Array:
    """sqrt(1 - a^2) i."""
    return ops.sqrt(1 - ops.exp(2 * tok.log_a)) * tok.i


def rglru_gla(tok: Tokens) -> Tokens:
    return Tokens(q=ops.ones_like(tok.v), k=tied_write(tok), v=tok.v, log_a=tok.log_a)


def rglru_mamba(tok: Tokens) -> Tokens:
    """q and k are shared by the channels, so the write goes into the values."""
    ones = ops.ones_like(tok.v[:1])
    v = tied_write(tok) * tok.v / -tok.log_a
    return Tokens(q=ones, k=ones, v=v, dt=-tok.log_a, a=-ops.ones_like(tok.v[:, :1]))


def rglru_qlstm(tok: Tokens) -> Tokens:
    """The output gate is open at 1, so half of twice the state is read."""
    half = ops.ones_like(tok.i) / 2
    return Tokens(v=2 * tok.v, log_f=tok.log_a, g=tied_write(tok), o=half)


def doubled(S: Array, tok: Tokens) -> Array:
    return 2 * S


def rglru_mamba3(tok: Tokens) -> Tokens:
    """Half of every write comes a step late; as reads and keys are 1, the skip adds that half."""
    ones = ops.ones_like(tok.v)
    pair = ops.cat([ones, ops.zeros_like(ones)])
    return Tokens(
        q=pair,
        k=pair,
        v=tied_write(tok) * tok.v,
        dt=ones,
        a=tok.log_a,
        lam=ones / 2,
        theta=ops.zeros_like(ones),
        skip=ones[:, :1] / 2,
    )


def half_a_write_less(S: Array, tok: Tokens) -> Array:
    """S - w/2, w the last write; the number is the real part of one pair."""
    S = S - (tied_write(tok) * tok.v)[..., -1:, :] / 2
    return ops.as_complex(S, ops.zeros_like(S))


def qlstm_mamba2(tok: Tokens) -> Tokens:
    return _decay_as_step(tok.o, tok.g, tok.v, tok.log_f)


def rglru_mamba2(tok: Tokens) -> Tokens:
    return _decay_as_step(ops.ones_like(tok.v), tied_write(tok), tok.v, tok.log_a)


def _decay_as_step(read: Array, write: Array, v: Array, log_f: Array) -> Tokens:
    """dt = -log f with a = -1, and k = write/dt, as SSD writes dt k v'."""
    return Tokens(q=read, k=write / -log_f, v=v, dt=-log_f, a=-ops.ones_like(v[:, :1]))


def qlstm_deltanet(tok: Tokens) -> Tokens:
    """Erasing 1 - f of a state of one row by the key 1 leaves f of it."""
    beta = 1 - ops.exp(tok.log_f)
    return _erasure(tok.o, tok.g * tok.v, beta)


def rglru_deltanet(tok: Tokens) -> Tokens:
    return _erasure(ops.ones_like(tok.v), tied_write(tok) * tok.v, 1 - ops.exp(tok.log_a))


def qlstm_gated_deltanet(tok: Tokens) -> Tokens:
    """Half of the decay by the gate, half by erasure."""
    root = tok.log_f / 2
    return _erasure(tok.o, tok.g * tok.v, 1 - ops.exp(root)).replace(log_a=root)


def rglru_gated_deltanet(tok: Tokens) -> Tokens:
    root = tok.log_a / 2
    image = _erasure(ops.ones_like(tok.v), tied_write(tok) * tok.v, 1 - ops.exp(root))
    return image.replace(log_a=root)


def _erasure(read: Array, write: Array, beta: Array) -> Tokens:
    """The delta rule with one row, whose unit key is 1; beta v is the write."""
    return Tokens(q=read, k=ops.ones_like(write), v=write / beta, beta=beta)


def small_normaliser(tok: Tokens, x: Array) -> Tokens:
    half = ops.ones_like(tok.v) / 2
    return Tokens(q=tok.q, k=x * tok.k, v=2 * tok.v / x, i=tok.dt, log_f=tok.dt * tok.a, gate=half)


def doubled_and_zero(S: Array, tok: Tokens) -> Array:
    """(2 S, 0): the column of the normaliser vanishes."""
    return ops.cat([2 * S, ops.zeros_like(S[..., :1])])


def qlstm_mlstm(tok: Tokens) -> Tokens:
    """With input gates 1 - f the normaliser is 1 - (the product of all f): below 1."""
    return _convex(tok.o, tok.g * tok.v, tok.log_f)


def rglru_mlstm(tok: Tokens) -> Tokens:
    half = ops.ones_like(tok.i) / 2
    return _convex(half, 2 * tied_write(tok) * tok.v, tok.log_a)


def _convex(gate: Array, write: Array, log_f: Array) -> Tokens:
    ones, i = ops.ones_like(write), 1 - ops.exp(log_f)
    return Tokens(q=ones, k=ones, v=write / i, i=i, log_f=log_f, gate=gate)


def with_normaliser(S: Array, tok: Tokens, z: Array) -> Array:
    return ops.cat([S, z])


def twice_with_normaliser(S: Array, tok: Tokens, z: Array) -> Array:
    return ops.cat([2 * S, z])


def last_column(R: Array) -> Array:
    return R[..., -1:]


def below_one(S: Array, z: Array) -> tuple[tuple[Array, Domain], ...]:
    return ((z, GATE),)


def normaliser_below_one(S: Array, tok: Tokens, z: Array) -> tuple[Array, ...]:
    return z, 1 - z


NORMALISER: dict[str, Any] = {
    "rest": last_column, "stays": below_one, "positive": normaliser_below_one,
    "note": "the normaliser 1 - (the product of all f) is no function of the state",
}  # fmt: skip

EDGES = (
    Nesting(
        m.qlstm, m.qlstm(reversed=True), identity, "the same tokens", inverse=identity,
        params=flipped_gate, reference="sieber2024",
    ),
    Nesting(m.qlstm, m.gla, qlstm_gla, "q <- o, k <- g, log_a <- log_f, one head per channel"),
    Nesting(
        m.rglru, m.gla, rglru_gla, "q <- 1, k <- sqrt(1 - a^2) i, one head per channel",
        reference="de2024",
    ),
    Nesting(
        m.rglru, m.mamba, rglru_mamba,
        "q, k <- 1, v <- sqrt(1 - a^2) i v/dt, dt <- -log_a, a <- -1", reference="de2024",
    ),
    Nesting(
        m.rglru, m.qlstm, rglru_qlstm, "v <- 2v, g <- sqrt(1 - a^2) i, o <- 1/2, S <- 2S", doubled,
        reference="sieber2024",
    ),
    Nesting(
        m.qlstm, m.mamba2, qlstm_mamba2,
        "q <- o, k <- g/dt, dt <- -log f, a <- -1, one head per channel",
    ),
    Nesting(
        m.rglru, m.mamba2, rglru_mamba2,
        "q <- 1, k <- sqrt(1 - a^2) i/dt, dt <- -log a, a <- -1, one head per channel",
    ),
    Nesting(
        m.rglru, m.mamba3(skip=True), rglru_mamba3,
        "q, k <- (1, 0), v <- sqrt(1 - a^2) i v, dt <- 1, a <- log a, lam, skip <- 1/2, "
        "theta <- 0, one head per channel",
        half_a_write_less,
        note="the trapezoidal rule leaves half of the last write out, which the skip adds",
    ),
    Nesting(
        m.qlstm, m.deltanet, qlstm_deltanet,
        "q <- o, k <- 1, beta <- 1 - f, v <- g v/(1 - f), one head per channel",
    ),
    Nesting(
        m.rglru, m.deltanet, rglru_deltanet,
        "q, k <- 1, beta <- 1 - a, v <- sqrt(1 - a^2) i v/(1 - a), one head per channel",
    ),
    Nesting(
        m.qlstm, m.gated_deltanet, qlstm_gated_deltanet,
        "q <- o, k <- 1, log_a <- log f/2, beta <- 1 - sqrt f, v <- g v/beta, one head per channel",
    ),
    Nesting(
        m.rglru, m.gated_deltanet, rglru_gated_deltanet,
        "q, k <- 1, log_a <- log a/2, beta <- 1 - sqrt a, v <- sqrt(1 - a^2) i v/beta, "
        "one head per channel",
    ),
    Nesting(
        m.qlstm, m.mlstm, qlstm_mlstm,
        "q, k <- 1, i <- 1 - f, v <- g v/(1 - f), gate <- o, one head per channel",
        with_normaliser, **NORMALISER,
    ),
    Nesting(
        m.rglru, m.mlstm, rglru_mlstm,
        "q, k <- 1, i <- 1 - a, v <- 2 sqrt(1 - a^2) i v/(1 - a), gate <- 1/2, "
        "one head per channel",
        twice_with_normaliser, **NORMALISER,
    ),
    Nesting(
        m.mamba2, m.mlstm, small_normaliser, "k <- eps k, v <- 2v/eps, gate <- 1/2",
        doubled_and_zero, limit=Limit("eps", 0, "+"), reference="beck2024",
        note="exact on a sequence as soon as eps |q' n| <= 1, n the summed keys",
    ),
)  # fmt: skip
