"""Mixers that leave out one part of softmax attention at a time (arXiv 2510.11602).

    standard          A = softmax(q k' / sqrt d)                    over the past, as in all of them
    mlp               A = I: no mixing, the head is (SiLU(H G) * (H U)) D
    approximate       orders 0, 1, 2 of the Taylor series, each divided by its own sum: rows sum
                      to 3, and orders 2 are squares of single entries
    non-approximate   A_ij ~ e^{l_j},  l_j = SiLU(q_j)'k_j / sqrt d:  the query i does not matter
    taylor            A_ij ~ 1 + s + s^2/2,  s = q_i'k_j / sqrt d:  the full kernel of order 2
    uniform           A_ij = 1/i
    RndEmbQK, FixedSeqQK, StaticEmbQK   standard, with q and k computed from something else than H

Maps are [... T T] and causal, q and k [... T d], v [... T p].  One text for numpy and torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.ops import Array
from dsf.core.tokens import Tokens
from dsf.mechanisms.attention.softmax import Softmax


def silu(x: Array) -> Array:
    """x sigmoid(x).

    >>> silu(np.array([0.0, 2.0])).round(4)
    array([0.    , 1.7616])
    """
    return x * ops.sigmoid(x)


def scaled(q: Array, k: Array) -> Array:
    """The logits q_i'k_j / sqrt d [... T T].

    >>> scaled(np.ones((1, 4)), np.ones((1, 4)))
    array([[2.]])
    """
    return q @ ops.mT(k) / q.shape[-1] ** 0.5


def past(A: Array) -> Array:
    """A with zeros above the diagonal.

    >>> past(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    return A.tril() if ops.is_torch(A) else np.tril(A)


def key_logits(q: Array, k: Array) -> Array:
    """l_j = SiLU(q_j)'k_j / sqrt d [... T]: logits that only know their key's position.

    >>> key_logits(np.array([[2.0], [0.0]]), np.ones((2, 1))).round(4)
    array([1.7616, 0.    ])
    """
    return ops.asum(silu(q) * k, keepdims=False) / q.shape[-1] ** 0.5


def standard(q: Array, k: Array) -> Array:
    """Causal softmax of q_i'k_j / sqrt d: the rows of `dsf.softmax`.

    With more keys than queries the queries are the last ones.

    >>> standard(np.zeros((2, 3)), np.zeros((2, 3)))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    rows, _ = Softmax().weights(Tokens(q=q, k=k, v=k), q.shape[-2])
    return rows


def non_approximate(q: Array, k: Array) -> Array:
    """e^{l_j} / sum_{j <= i} e^{l_j} with `key_logits`: `standard` with queries 1 and keys l.

    Row i depends on q_i through the weight of key i alone.

    >>> k = np.log([[1.0], [3.0]]) / silu(np.ones(1))
    >>> non_approximate(np.ones((2, 1)), k).round(4)
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """
    keys = ops.col(key_logits(q, k))
    return standard(ops.ones_like(keys), keys)


def orders(q: Array, k: Array) -> tuple[Array, Array]:
    """The weights of orders 1 and 2 before division, q_i'k_j and (q_i^2)'(k_j^2) over the past.

    A first order may have any sign; so may its row sum, by which `approximate` divides.

    >>> [x.tolist() for x in orders(np.array([[2.0]]), np.array([[-3.0]]))]
    [[[-6.0]], [[36.0]]]
    """
    return past(q @ ops.mT(k)), past((q * q) @ ops.mT(k * k))


def approximate(q: Array, k: Array) -> Array:
    """1/i + q_i'k_j / sum_j q_i'k_j + (q_i^2)'k_j^2 / sum_j (q_i^2)'k_j^2, as published: rows sum
    to 3 where no sum vanishes.

    >>> x = np.array([[1.0, 0.0], [1.0, 1.0]])
    >>> approximate(x, x).round(4)
    array([[3.    , 0.    ],
           [1.1667, 1.8333]])
    """
    first, second = orders(q, k)
    return uniform(q, k) + first / ops.asum(first) + second / ops.asum(second)


def taylor(q: Array, k: Array) -> Array:
    """(1 + s + s^2/2) / its row sum with s = q_i'k_j / sqrt d: at least 1/2 before the division,
    because 1 + s + s^2/2 = (1 + (1 + s)^2) / 2.

    >>> taylor(np.ones((2, 1)), np.array([[0.0], [1.0]])).round(4)
    array([[1.    , 0.    ],
           [0.2857, 0.7143]])
    """
    s = scaled(q, k)
    weights = past(1 + s + s * s / 2)
    return weights / ops.asum(weights)


def uniform(q: Array, k: Array) -> Array:
    """1/i over the first i keys.

    >>> uniform(np.zeros((2, 1)), np.zeros((2, 1)))
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    return standard(ops.zeros((q.shape[-2], 1), q), ops.zeros((k.shape[-2], 1), k))


def nothing(q: Array, k: Array) -> Array:
    """The identity: every token keeps to itself, as in `mlp`.

    >>> nothing(np.zeros((2, 1)), np.zeros((2, 1)))
    array([[1., 0.],
           [0., 1.]])
    """
    return ops.eye(q.shape[-2], q)


MAPS: dict[str, Callable[[Array, Array], Array]] = {
    "standard": standard,
    "approximate": approximate,
    "non-approximate": non_approximate,
    "taylor": taylor,
    "uniform": uniform,
    "mlp": nothing,
    "RndEmbQK": standard,
    "FixedSeqQK": standard,
    "StaticEmbQK": standard,
}


def mixing_map(name: str, q: Array, k: Array) -> Array:
    """The map [... T T] of a mixer of this module; see `qk_source` for where q and k come from.

    >>> mixing_map("uniform", np.zeros((1, 1)), np.zeros((1, 1)))
    array([[1.]])

    Raises UnknownNameError.
    """
    return MAPS[_known(name)](q, k)


def qk_source(name: str, hidden: Array, embeddings: Array, fixed: Array) -> Array:
    """From what a layer computes q and k: its input `hidden`, the token `embeddings` at the input
    of the first layer (StaticEmbQK), or `fixed`, the input that the same layer gets from Gaussian
    embeddings (RndEmbQK) or from one text (FixedSeqQK); v is always computed from `hidden`.

    >>> qk_source("StaticEmbQK", np.zeros(1), np.ones(1), np.ones(1) * 2)
    array([1.])

    Raises UnknownNameError.
    """
    if _known(name) == "StaticEmbQK":
        return embeddings
    return fixed if name in ("RndEmbQK", "FixedSeqQK") else hidden


def _known(name: str) -> str:
    if name not in MAPS:
        raise UnknownNameError(f"no mixer {name!r}; known: {', '.join(MAPS)}")
    return name


def mlp(hidden: Array, gate: Array, up: Array, down: Array) -> Array:
    """(SiLU(H G) * (H U)) D: hidden [... T d], gate and up [d m], down [m d].

    >>> mlp(np.ones((1, 1)), np.zeros((1, 2)), np.ones((1, 2)), np.ones((2, 1)))
    array([[0.]])
    """
    return (silu(hidden @ gate) * (hidden @ up)) @ down


# ------------------------------------------------------------------------- recurrent forms
# normalised linear attentions (`dsf.linear_attn`) written out, with their states at every time
def non_approximate_scan(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
    """(outputs [... T p], states): S = sum e^{l_j} v_j [... T p] and z = sum e^{l_j} [... T 1] at
    every time, o = S/z; p + 1 numbers per step.

    >>> o, (S, z) = non_approximate_scan(*np.zeros((2, 3, 1)), np.array([[1.0], [3.0], [5.0]]))
    >>> o[:, 0], z[:, 0]
    (array([1., 2., 3.]), array([1., 2., 3.]))
    """
    weight = ops.exp(ops.col(key_logits(q, k)))
    S, z = ops.cumsum(weight * v, -2), ops.cumsum(weight, -2)
    return S / z, (S, z)


def approximate_scan(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, ...]]:
    """(outputs [... T p], states) of `approximate`: V = sum v, S1 = sum k v', s1 = sum k,
    S2 = sum k^2 v', s2 = sum k^2 at every time; p + 2 (d p + d) numbers per step.

        o = V/i + q'S1 / q's1 + (q^2)'S2 / (q^2)'s2

    >>> x = np.array([[1.0], [2.0]])
    >>> approximate_scan(x, x, x)[0][:, 0].round(4)
    array([3.    , 4.9667])
    """
    V = ops.cumsum(v, -2)
    steps = ops.cumsum(ops.ones_like(v[..., :1]), -2)
    S1, s1 = ops.cumsum(ops.col(k) * ops.row(v), -3), ops.cumsum(k, -2)
    S2, s2 = ops.cumsum(ops.col(k * k) * ops.row(v), -3), ops.cumsum(k * k, -2)
    first = ops.asum(ops.col(q) * S1, -2, keepdims=False) / ops.asum(q * s1)
    second = ops.asum(ops.col(q * q) * S2, -2, keepdims=False) / ops.asum(q * q * s2)
    return V / steps + first + second, (V, S1, s1, S2, s2)
