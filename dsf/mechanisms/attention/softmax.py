"""Softmax attention.   y_i = sum_{j<=i} w_ij v_j,   w_i = softmax_j(q_i' k_j / sqrt(n))"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, causal_support, split_heads
from dsf.core.ops import Array
from dsf.core.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Softmax(Mechanism):
    """Causal softmax attention; its state is the growing cache of keys and values.

    u [L d];  q, k [H L n], v [H L p];  float64.  A row without a finite logit gives zeros.
    Raises DomainError on a logit of +inf.  Source: Vaswani et al. 2017, arXiv 1706.03762.

    >>> import dsf
    >>> y = dsf.softmax.init(d=4, n=2, p=3)(np.ones((5, 4)))
    >>> bool(np.allclose(y, y[0]))
    True
    """

    Wq: Array
    Wk: Array
    Wv: Array

    equations = ("(S_{t-1}, v_t), all of them", "S_t' softmax(K_t q_t)")
    conventions = ("logits / sqrt(n)",)
    spec = {"q": "L n", "k": "L n", "v": "L p"}
    facts = Facts(
        "shift",
        contraction=True,
        state="H*L*p",
        flops="2*H*L*(n+p)",
        source="vaswani2017",
        eigenvalues="0",
        normalised=True,
        order_aware=False,
    )
    lookback = None
    forgotten = ("q",)

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        return Tokens(q=u @ self.Wq, k=u @ self.Wk, v=u @ self.Wv)

    def support(self, L: int, T: int) -> np.ndarray:
        """Which of T keys the last L queries see."""
        return causal_support(L, T)

    def rows(self, tok: Tokens, L: int) -> tuple[Array, Array]:
        T, n = tok.k.shape[-2:]
        q = tok.q[..., tok.q.shape[-2] - L :, :] / ops.sqrt(ops.const(n, tok.q))
        seen = self.support(L, T)
        return ops.softmax(ops.logits(q, tok.k, seen), seen), tok.v

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> Softmax:
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, heads, d, n),
            Wv=projection(rng, heads, d, p),
            **options,
        )


@dataclass(frozen=True, eq=False)
class WindowSoftmax(Softmax):
    """Softmax attention over the last `width` tokens: a shift register of that many values.

    Source: Beltagy et al. 2020, arXiv 2004.05150.

    >>> import dsf
    >>> dsf.window_softmax(width=2).init(d=4, n=2, p=3).ltv(np.ones((5, 4))).n
    2
    """

    width: int = 4

    choices = {"width": 1}
    equations = ("the last `width` of (S_{t-1}, v_t)", "S_t' softmax(K_t q_t)")

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        return Facts(
            "shift",
            contraction=True,
            state="H*width*p",
            flops="2*H*width*(n+p)",
            source="beltagy2020",
            eigenvalues="0",
            normalised=True,
            order_aware=self.width > 1,
        )

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.width - 1

    def support(self, L: int, T: int) -> np.ndarray:
        return causal_support(L, T, self.width)
