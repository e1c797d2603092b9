"""SSD, the core of Mamba-2.   S_t = exp(dt_t a) S_{t-1} + dt_t k_t v_t',   y_t = S_t' q_t"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection, step_size_bias
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag, Prod


@dataclass(frozen=True, eq=False)
class SSD(Mechanism):
    """State space duality: one scalar decay per head and token, coupled to the write by dt.

    u [L d];  q, k [H L n], v [H L p], dt [H L 1] > 0, a [H 1 1] < 0;  float64.
    `skip=True` adds the published D v_t.
    Source: Dao & Gu 2024, arXiv 2405.21060.

    >>> import dsf
    >>> dsf.mamba2.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    Wdt: Array
    b: Array
    A_log: Array
    D: Array
    skip: bool = False

    choices = {"skip": (False, True)}

    equations = ("e^{dt_t a} S_{t-1} + dt_t k_t v_t'", "S_t' q_t")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        fields = {
            "q": "L n",
            "k": "L n",
            "v": "L p",
            "dt": "L 1 > 0",
            "a": "1 1 < 0",
        }
        return {**fields, "skip": "1 1"} if self.skip else fields

    facts = Facts(
        "scalar",
        contraction=True,
        state="H*n*p",
        flops="5*H*n*p",
        source="dao2024",
        eigenvalues="(0, 1)",
    )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        tok = Tokens(
            q=u @ self.Wq,
            k=u @ self.Wk,
            v=u @ self.Wv,
            dt=ops.softplus(u @ self.Wdt + self.b),
            a=-ops.exp(self.A_log),
        )
        return tok.replace(skip=self.D) if self.skip else tok

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        A = Diag(log_a=Prod((tok.dt, tok.a)))
        D = col(tok.skip) if self.skip else None
        return LTV(A, Prod((col(tok.dt), col(tok.k))), row(tok.q), D), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> SSD:
        """a = -U[1, 16], dt in [1e-3, 1e-1] as published."""
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, heads, d, n),
            Wv=projection(rng, heads, d, p),
            Wdt=projection(rng, heads, d, 1),
            b=step_size_bias(rng, heads, 1, 1),
            A_log=np.log(rng.uniform(1, 16, (heads, 1, 1))),
            D=np.ones((heads, 1, 1)),
            **options,
        )
