"""Softmax attention estimated through random features, in time linear in the number of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.mechanisms.linear.features import LOGARITHMIC, log_features
from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.solvers.intake import Array, reals
from dsf.solvers.random_features.directions import below_eighth, known_kind


def scaled_features(
    q: Array, k: Array, omega: Array, kind: str = "favor", A: float = 0.0
) -> tuple[Array, Array]:
    """phi(q), phi(k) up to one factor per query and one for all keys, so that none overflows.

    The factors cancel in attention, which divides by the sum of weights.  Positive kinds: the
    largest feature of each query and of all keys becomes 1; trig: the factor e^{|q|^2/2} is left
    out, that of keys is at most 1.

    >>> q = np.full((1, 2), 40.0)
    >>> float(scaled_features(q, q, np.ones((3, 2)))[0].max())
    1.0
    """
    if kind in LOGARITHMIC:
        a, b = (log_features(kind, x, omega, A) for x in (q, k))
        return np.exp(a - a.max(-1, keepdims=True)), np.exp(b - b.max())
    half = np.sum(k * k, -1, keepdims=True) / 2
    a, b = q @ omega.T, k @ omega.T
    phi, psi = (np.concatenate([np.cos(c), np.sin(c)], -1) for c in (a, b))
    return phi, psi * np.exp(half - half.max())


def random_feature_attention(
    q: Any, k: Any, v: Any, omega: Any, kind: str = "favor", *, causal: bool = False,
    A: float = 0.0,
) -> Array:  # fmt: skip
    """Attention with the weights phi(q_i)'phi(k_j) in place of e^{q_i'k_j}:

        y_i = sum_j phi(q_i)'phi(k_j) v_j / sum_j phi(q_i)'phi(k_j)

    over all keys, or over j <= i where `causal`.  q [n d], k [T d], v [T p], omega [m d] -> [n p],
    float64.  The logits are q'k as they are: divide q and k by d^(1/4) for those of softmax
    attention.  The causal form is the catalogue's linear attention on the features.  A ratio of
    unbiased sums, hence biased at finite m (Choromanski et al. 2021, arXiv 2009.14794).

    Raises UnknownNameError, ShapeError, DTypeError, NonFiniteError, and DomainError where a sum of
    weights is not positive: for trig features, and where all weights of a query underflow.

    >>> rng = np.random.default_rng(0)
    >>> q, k, v = 0.5 * rng.standard_normal((3, 5, 4))
    >>> omega = rng.standard_normal((20_000, 4))
    >>> rows = np.exp(q @ k.T)
    >>> exact = rows / rows.sum(1, keepdims=True) @ v
    >>> bool(np.abs(random_feature_attention(q, k, v, omega) - exact).max() < 0.02)
    True
    """
    who = "random_feature_attention"
    known_kind(who, kind)
    q, k, v = checked_tokens(who, q, k, v)
    omega = reals(who, "omega", omega, 2)
    if omega.shape[1] != q.shape[1] or not len(omega) or (causal and len(q) != len(k)):
        raise ShapeError(
            f"{who}: q {list(q.shape)} and omega {list(omega.shape)} must have the same d, omega "
            "at least one row, and causal attention as many queries as keys"
        )
    if not len(q):
        return np.zeros((0, v.shape[1]))
    phi, psi = scaled_features(q, k, omega, kind, below_eighth(who, A))
    values = np.concatenate([v, np.ones((len(v), 1))], -1)
    if causal:
        sums, _ = LinearAttention().advance(Tokens(q=phi, k=psi, v=values), State())
        sums = np.asarray(sums).reshape(len(q), -1)
    else:
        sums = phi @ (psi.T @ values)
    bad = ~(sums[:, -1] > 0)
    if bad.any():
        raise DomainError(
            f"{who}: the sum of the weights of query {int(np.argmax(bad))} is "
            f"{sums[np.argmax(bad), -1]:.3g}, so its output is undefined. Likely cause: "
            + ("trig features, whose weights have both signs" if kind == "trig" else "underflow")
            + ". Take a positive kind, more features, or smaller queries and keys."
        )
    return sums[:, :-1] / sums[:, -1:]


def checked_tokens(who: str, q: Any, k: Any, v: Any) -> tuple[Array, Array, Array]:
    """q [n d], k [T d], v [T p] with T >= 1, as float64, or typed errors."""
    q, k, v = reals(who, "q", q, 2), reals(who, "k", k, 2), reals(who, "v", v, 2)
    if q.shape[1] != k.shape[1] or len(k) != len(v) or not len(k) or not q.shape[1]:
        raise ShapeError(
            f"{who}: q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)} must be [n d], "
            "[T d], [T p] with T >= 1 keys and d >= 1"
        )
    return q, k, v
