"""Edges between the time-invariant systems LRU and S4D.

Complex numbers are pairs (re, im) here, since the tokens are real.
"""

from __future__ import annotations

from typing import Any

import dsf.mechanisms as m
from dsf.core import ops
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.relations.edge import Nesting, in_words

Pair = tuple[Array, Array]


def times(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def over(x: Pair, y: Pair) -> Pair:
    size = y[0] * y[0] + y[1] * y[1]
    re, im = times(x, (y[0], -y[1]))
    return re / size, im / size


def plus(x: Pair, number: int) -> Pair:
    return x[0] + number, x[1]


def scaled(x: Pair, factor: Any) -> Pair:
    return x[0] * factor, x[1] * factor


def cis(size: Array, angle: Array) -> Pair:
    return size * ops.cos(angle), size * ops.sin(angle)


def arg(x: Pair) -> Array:
    """The angle of x + iy in (-pi, pi]."""
    return ops.arctan2(x[1], x[0])


# ------------------------------------------------------------- LRU as S4D, one channel
def lru_zoh(tok: Tokens) -> Tokens:
    """dt = 1, a = log lambda = -rate + i angle, b = gamma B a/(lambda - 1)."""
    a = (-tok.rate, tok.angle)
    growth = over(a, plus(cis(ops.exp(-tok.rate), tok.angle), -1))
    return _one_channel(tok, a, growth)


def lru_bilinear(tok: Tokens) -> Tokens:
    """dt = 1, a = 2 (lambda - 1)/(lambda + 1), b = gamma B (1 - a/2) = gamma B 2/(lambda + 1)."""
    above = plus(cis(ops.exp(-tok.rate), tok.angle), 1)
    a = scaled(over(plus(above, -2), above), 2)
    two = (2 * ops.ones_like(tok.rate), ops.zeros_like(tok.rate))
    return _one_channel(tok, a, over(two, above))


def _one_channel(tok: Tokens, a: Pair, factor: Pair) -> Tokens:
    B = (ops.mT(tok.gamma * tok.b_re), ops.mT(tok.gamma * tok.b_im))
    b = times(B, factor)
    lift = lambda x: x[None]  # noqa: E731  the channel axis [p 1 n]
    return Tokens(
        v=lift(tok.u),
        dt=ops.ones((1, 1, 1), tok.u),
        a_re=lift(a[0]),
        a_im=lift(a[1]),
        b_re=lift(b[0]),
        b_im=lift(b[1]),
        c_re=lift(tok.c_re),
        c_im=lift(tok.c_im),
        skip=lift(tok.skip),
    )


def one_channel(S: Array, tok: Tokens) -> Array:
    """[n 1] -> [1 n 1]."""
    return S[None]


def _lru_params(tau: Any, discretisation: str) -> Any:
    @in_words("log_dt <- 0, log_re <- log(-Re a), the other constants those of the tokens")
    def lru_params(mech: Any) -> Any:
        tok = tau(mech.tokens(ops.zeros((1, mech.d), mech.skip)))
        rest = {k: getattr(tok, k) for k in ("a_im", "b_re", "b_im", "c_re", "c_im", "skip")}
        dt, re = ops.log(tok.dt), ops.log(-tok.a_re)
        return m.S4D(log_dt=dt, log_re=re, **rest, discretisation=discretisation)

    return lru_params


# ------------------------------------------------------------- S4D as LRU, d n states
def zoh_lru(tok: Tokens) -> Tokens:
    rate, angle = -tok.dt * tok.a_re, tok.dt * tok.a_im
    growth = over(plus(cis(ops.exp(-rate), angle), -1), (tok.a_re, tok.a_im))
    return _blocks(tok, rate, angle, times(growth, (tok.b_re, tok.b_im)))


def bilinear_lru(tok: Tokens) -> Tokens:
    """lambda = (1 + h)/(1 - h), h = dt a/2; its logarithm needs lambda != 0."""
    lam, below = _bilinear(tok)
    b = over(scaled((tok.b_re, tok.b_im), tok.dt), below)
    return _blocks(tok, -ops.log(squared_modulus(tok)) / 2, arg(lam), b)


def squared_modulus(tok: Tokens) -> Array:
    """|lambda|^2 of the bilinear rule."""
    (re, im), _ = _bilinear(tok)
    return re * re + im * im


def _bilinear(tok: Tokens) -> tuple[Pair, Pair]:
    """(1 + h)/(1 - h), and 1 - h."""
    half = scaled((tok.a_re, tok.a_im), tok.dt / 2)
    below = (1 - half[0], -half[1])
    return over(plus(half, 1), below), below


def _blocks(tok: Tokens, rate: Array, angle: Array, b: Pair) -> Tokens:
    """The states of all channels in one row; B and C connect each to its own channel only."""
    p, _, n = rate.shape
    own = ops.eye(p, rate)
    column = lambda x: (ops.mT(x) * ops.row(own)).reshape(p * n, p)  # noqa: E731
    row = lambda x: (ops.col(own) * x.reshape(1, p, n)).reshape(p, p * n)  # noqa: E731
    return Tokens(
        u=ops.mT(tok.v[..., 0]),
        rate=rate.reshape(1, p * n),
        angle=angle.reshape(1, p * n),
        gamma=ops.ones((p * n, 1), rate),
        b_re=column(b[0]),
        b_im=column(b[1]),
        c_re=row(tok.c_re),
        c_im=row(tok.c_im),
        skip=tok.skip.reshape(1, p),
    )


def all_channels(S: Array, tok: Tokens) -> Array:
    """[p n 1] -> [p n, 1]."""
    return S.reshape(S.shape[0] * S.shape[1], 1)


ONE: dict[str, Any] = {"only": {"d": 1}, "sizes": ((1, 1), (2, 1)), "sample": (5, 1)}
BILINEAR = m.s4d(discretisation="bilinear")

EDGES = (
    Nesting(
        m.lru, m.s4d, lru_zoh, "dt <- 1, a <- log lambda, b <- gamma B a/(lambda - 1)", one_channel,
        params=_lru_params(lru_zoh, "zoh"), reference="orvieto2023", **ONE,
    ),
    Nesting(
        m.lru, BILINEAR, lru_bilinear,
        "dt <- 1, a <- 2 (lambda - 1)/(lambda + 1), b <- gamma B (1 - a/2)", one_channel,
        params=_lru_params(lru_bilinear, "bilinear"), reference="orvieto2023", **ONE,
    ),
    Nesting(
        m.s4d, m.lru, zoh_lru, "d n states, lambda <- e^{dt a}, B <- (lambda - 1)/a b in blocks",
        all_channels, reference="gu2022",
        note="at scope mechanism LRU's angle is positive: add a multiple of 2 pi",
    ),
    Nesting(
        BILINEAR, m.lru, bilinear_lru,
        "d n states, lambda <- (1 + h)/(1 - h), B <- dt b/(1 - h), h = dt a/2 != -1", all_channels,
        reference="gu2022", given=squared_modulus, sizes=((1, 1), (2, 2)), sample=(5, 1),
        note="lambda = 0 (dt a = -2) has no logarithm; such a state is memoryless and moves into D",
    ),
)  # fmt: skip
