"""LRU.   h_t = lambda h_{t-1} + gamma (B u_t),   y_t = Re(C h_t) + D u_t"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class LRU(Mechanism):
    """Linear recurrent unit: one constant complex diagonal system with dense input and output.

    u [L d];  lambda = exp(-e^nu + i e^theta) [n], B [n d], C [d n] complex, D [d];  the output has
    d channels and there is no head axis.  float64 / complex128.
    Source: Orvieto et al. 2023, arXiv 2303.06349.

    >>> import dsf
    >>> dsf.lru.init(d=3, n=2)(np.ones((5, 3))).shape
    (5, 3)
    """

    nu: Array
    theta: Array
    log_gamma: Array
    b_re: Array
    b_im: Array
    c_re: Array
    c_im: Array
    skip: Array

    equations = ("lambda h_{t-1} + gamma B u_t", "Re(C h_t) + D u_t")
    conventions = ("input scaled by gamma",)
    spec = {
        "u": "L d",
        "rate": "1 n > 0",
        "angle": "1 n",
        "gamma": "n 1 > 0",
        "b_re": "n d",
        "b_im": "n d",
        "c_re": "d n",
        "c_im": "d n",
        "skip": "1 d",
    }
    facts = Facts(
        "diagonal",
        contraction=True,
        state="2*n",
        flops="8*n*d",
        source="orvieto2023",
        eigenvalues="disc",
    )
    heads = False

    @property
    def d(self) -> int:
        return self.skip.shape[-1]

    def tokens(self, u: Array) -> Tokens:
        constants = {name: getattr(self, name) for name in ("b_re", "b_im", "c_re", "c_im", "skip")}
        return Tokens(
            u=u,
            rate=ops.exp(self.nu),
            angle=ops.exp(self.theta),
            gamma=ops.exp(self.log_gamma),
            **constants,
        )

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        B = tok.gamma * ops.as_complex(tok.b_re, tok.b_im)
        C = ops.as_complex(tok.c_re, tok.c_im)
        D = row(tok.skip) * ops.eye(tok.skip.shape[-1], tok.skip)
        A = Diag(log_a=ops.as_complex(-tok.rate, tok.angle))
        return LTV(A, ops.expand(B, -3), ops.expand(C, -3), D), col(tok.u)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> LRU:
        """|lambda|^2 uniform in (0, 1), phase in (0, 2 pi), gamma = sqrt(1 - |lambda|^2)."""
        size2, phase = rng.uniform(1e-6, 1 - 1e-6, (1, n)), rng.uniform(1e-6, 2 * np.pi, (1, n))
        return cls(
            nu=np.log(-np.log(size2) / 2),
            theta=np.log(phase),
            log_gamma=np.log1p(-size2).T / 2,
            b_re=rng.standard_normal((n, d)) / np.sqrt(2 * d),
            b_im=rng.standard_normal((n, d)) / np.sqrt(2 * d),
            c_re=rng.standard_normal((d, n)) / np.sqrt(n),
            c_im=rng.standard_normal((d, n)) / np.sqrt(n),
            skip=rng.standard_normal((1, d)),
            **options,
        )
