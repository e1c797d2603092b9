"""RWKV-6.   y_t = (S_{t-1} + (bonus k_t) v_t')' q_t,   S_t = diag(w_t) S_{t-1} + k_t v_t'"""

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
class RWKV6(Mechanism):
    """Diagonal decay w_t, read before the update, with a bonus for the current token.

    u [L d];  q, k, log_w [H L n] with log_w = -exp(.) < 0, v [H L p], bonus [H 1 n];  float64.
    `read="after"` is the same map in the other convention: C = q/w, D = q' diag(bonus - 1/w) k;
    it breaks down where w underflows.  Source: Peng et al. 2024, arXiv 2404.05892.

    >>> import dsf
    >>> dsf.rwkv6.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    W1: Array
    W2: Array
    w0: Array
    bonus: Array
    read: str = "before"

    choices = {"read": ("before", "after")}

    equations = ("diag(w_t) S_{t-1} + k_t v_t'", "(S_{t-1} + bonus k_t v_t')' q_t")
    spec = {"q": "L n", "k": "L n", "v": "L p", "log_w": "L n < 0", "bonus": "1 n"}
    facts = Facts(
        "diagonal",
        contraction=True,
        state="H*n*p",
        flops="5*H*n*p",
        source="peng2024",
        eigenvalues="(0, 1)",
    )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        log_w = -ops.exp(self.w0 + ops.tanh(u @ self.W1) @ self.W2)
        return Tokens(q=u @ self.Wq, k=u @ self.Wk, v=u @ self.Wv, log_w=log_w, bonus=self.bonus)

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        A, B = Diag(log_a=tok.log_w), col(tok.k)
        if self.read == "before":
            D = col(ops.asum(tok.q * tok.bonus * tok.k))
            return LTV(A, B, row(tok.q), D, read="before"), row(tok.v)
        q = tok.q * ops.exp(-tok.log_w)
        D = col(ops.asum(tok.q * tok.bonus * tok.k - q * tok.k))
        return LTV(A, B, row(q), D), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> RWKV6:
        Wq, Wk, Wv = (projection(rng, heads, d, size) for size in (n, n, p))
        rank = min(32, d)
        ramp = np.linspace(-6, -1, n) if n > 1 else np.full(1, -3.0)
        return cls(
            Wq,
            Wk,
            Wv,
            W1=projection(rng, 1, d, rank),
            W2=rng.uniform(-0.01, 0.01, (heads, rank, n)),
            w0=np.broadcast_to(ramp, (heads, 1, n)).copy(),
            bonus=rng.uniform(0, 1, (heads, 1, n)),
            **options,
        )
