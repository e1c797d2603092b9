"""S6, the core of Mamba.   h_t = exp(dt_t a) h_{t-1} + dt_t k_t x_t,   y_t = q_t' h_t"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection, step_size_bias
from dsf.core.errors import UnknownNameError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, channels, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag, Prod


@dataclass(frozen=True, eq=False)
class S6(Mechanism):
    """Selective state space model: every channel has its own step size, q and k are shared.

    u [L d], channels p = d act as heads;  dt [p L 1], a [p 1 n] < 0, q, k [1 L n];  float64.
    `skip=True` adds the published D x_t.  `discretisation`: "simplified" writes dt k (the published
    code), "zoh" (e^{dt a} - 1)/a k.
    Source: Gu & Dao 2023, arXiv 2312.00752.

    >>> import dsf
    >>> dsf.mamba.init(d=4, n=2)(np.ones((5, 4))).shape
    (5, 4)
    """

    Wq: Array
    Wk: Array
    Wr: Array  # low-rank half of the step size
    Wdt: Array
    b: Array
    A_log: Array
    D: Array
    discretisation: str = "simplified"
    skip: bool = False

    choices = {"discretisation": ("simplified", "zoh"), "skip": (False, True)}

    equations = ("e^{dt_t a} h_{t-1} + dt_t k_t x_t", "q_t' h_t")
    conventions = ("channels are heads",)

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        fields = {
            "q": "1 L n",
            "k": "1 L n",
            "v": "p L 1",
            "dt": "p L 1 > 0",
            "a": "p 1 n < 0",
        }
        return {**fields, "skip": "p 1 1"} if self.skip else fields

    facts = Facts(
        "diagonal",
        contraction=True,
        state="n*p",
        flops="9*n*p",
        source="gu2023",
        eigenvalues="(0, 1)",
    )

    def tokens(self, u: Array) -> Tokens:
        dt = ops.softplus(u @ self.Wr @ self.Wdt + self.b)
        tok = Tokens(
            q=split_heads(u @ self.Wq),
            k=split_heads(u @ self.Wk),
            v=channels(u),
            dt=channels(dt),
            a=-ops.exp(self.A_log),
        )
        return tok.replace(skip=self.D) if self.skip else tok

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        if self.discretisation == "simplified":
            B = Prod((col(tok.dt), col(tok.k)))
        elif self.discretisation == "zoh":
            B = Prod((col(ops.expm1(tok.dt * tok.a) / tok.a), col(tok.k)))
        else:
            raise UnknownNameError(
                f"S6: discretisation must be 'simplified' or 'zoh'; got {self.discretisation!r}"
            )
        D = col(tok.skip) if self.skip else None
        return LTV(Diag(log_a=Prod((tok.dt, tok.a))), B, row(tok.q), D), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> S6:
        """a = -(1 .. n) and dt in [1e-3, 1e-1] as published; p and heads are fixed by d."""
        rank = max(1, -(-d // 16))
        return cls(
            Wq=projection(rng, d, n),
            Wk=projection(rng, d, n),
            Wr=projection(rng, d, rank),
            Wdt=projection(rng, rank, d),
            b=step_size_bias(rng, d),
            A_log=np.log(np.broadcast_to(np.arange(1.0, n + 1), (d, 1, n))),
            D=np.ones((d, 1, 1)),
            **options,
        )
