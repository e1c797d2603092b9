"""Gated linear attention.   S_t = diag(a_t) S_{t-1} + k_t v_t',   y_t = S_t' q_t"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class GLA(Mechanism):
    """Gated linear attention: a forget gate for every row of the state.

    u [L d];  q, k, log_a [H L n], v [H L p];  log_a = logsigmoid(W2 W1 u + b) / 16;  float64.
    Source: Yang et al. 2023, arXiv 2312.06635.

    >>> import dsf
    >>> dsf.gla.init(d=4, n=2, p=3)(np.zeros((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    W1: Array  # [1 d 16], shared by the heads
    W2: Array
    b: Array

    equations = ("diag(a_t) S_{t-1} + k_t v_t'", "S_t' q_t")
    conventions = ("q / sqrt(n)", "log-gates / 16")
    spec = {"q": "L n", "k": "L n", "v": "L p", "log_a": "L n < 0"}
    facts = Facts(
        "diagonal",
        contraction=True,
        state="H*n*p",
        flops="5*H*n*p",
        source="yang2023",
        eigenvalues="(0, 1)",
    )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        q = u @ self.Wq / ops.sqrt(ops.const(self.Wq.shape[-1], u))
        log_a = ops.logsigmoid(u @ self.W1 @ self.W2 + self.b) / 16
        return Tokens(q=q, k=u @ self.Wk, v=u @ self.Wv, log_a=log_a)

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        return LTV(Diag(log_a=tok.log_a), B=col(tok.k), C=row(tok.q)), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> GLA:
        Wq, Wk, Wv = (projection(rng, heads, d, size) for size in (n, n, p))
        rank = min(16, d)
        W1, W2 = projection(rng, 1, d, rank), projection(rng, heads, rank, n)
        return cls(Wq, Wk, Wv, W1, W2, np.zeros((heads, 1, n)), **options)
