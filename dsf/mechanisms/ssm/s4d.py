"""S4D.   h_t = Abar h_{t-1} + Bbar x_t,   y_t = Re(C h_t) + D x_t, per channel, constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, channels
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class S4D(Mechanism):
    """Diagonal state space model: one complex time-invariant system per channel.

    u [L d], channels p = d act as heads;  a, b, c [p 1 n] complex with Re a < 0, dt [p 1 1] > 0.
    zoh:       Abar = e^{dt a},                    Bbar = (e^{dt a} - 1)/a b
    bilinear:  Abar = (1 + dt a/2)/(1 - dt a/2),   Bbar = dt b / (1 - dt a/2)
    y = Re(C h): conjugate pairs and their factor 2 belong to c.  float64 / complex128.
    Source: Gu et al. 2022, S4D-Lin.

    >>> import dsf
    >>> dsf.s4d.init(d=3, n=2)(np.ones((5, 3))).shape
    (5, 3)
    """

    log_dt: Array
    log_re: Array  # Re a = -exp(log_re)
    a_im: Array
    b_re: Array
    b_im: Array
    c_re: Array
    c_im: Array
    skip: Array
    discretisation: str = "zoh"

    choices = {"discretisation": ("zoh", "bilinear")}

    equations = ("Abar h_{t-1} + Bbar x_t", "Re(C h_t) + D x_t")
    conventions = ("channels are heads",)
    spec = {
        "v": "p L 1",
        "dt": "p 1 1 > 0",
        "a_re": "p 1 n < 0",
        "a_im": "p 1 n",
        "b_re": "p 1 n",
        "b_im": "p 1 n",
        "c_re": "p 1 n",
        "c_im": "p 1 n",
        "skip": "p 1 1",
    }
    facts = Facts(
        "diagonal",
        contraction=True,
        state="2*n*p",
        flops="8*n*p",
        source="gu2022",
        eigenvalues="disc",
    )

    @property
    def d(self) -> int:
        return self.log_dt.shape[0]

    def tokens(self, u: Array) -> Tokens:
        constants = {name: getattr(self, name) for name in ("a_im", "b_re", "b_im", "c_re", "c_im")}
        return Tokens(
            v=channels(u),
            dt=ops.exp(self.log_dt),
            a_re=-ops.exp(self.log_re),
            skip=self.skip,
            **constants,
        )

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        a, b = ops.as_complex(tok.a_re, tok.a_im), ops.as_complex(tok.b_re, tok.b_im)
        if self.discretisation == "zoh":
            A, B = Diag(log_a=tok.dt * a), ops.expm1(tok.dt * a) / a * b
        elif self.discretisation == "bilinear":
            half = tok.dt * a / 2
            A, B = Diag(a=(1 + half) / (1 - half)), tok.dt * b / (1 - half)
        else:
            raise UnknownNameError(
                f"S4D: discretisation must be 'zoh' or 'bilinear'; got {self.discretisation!r}"
            )
        C = row(ops.as_complex(tok.c_re, tok.c_im))
        return LTV(A, col(B), C, col(tok.skip)), row(tok.v)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> S4D:
        """S4D-Lin: a = -1/2 + i pi k, dt log-uniform in [1e-3, 1e-1], b = 1, c Gaussian."""
        shape = (d, 1, n)
        return cls(
            log_dt=rng.uniform(np.log(1e-3), np.log(1e-1), (d, 1, 1)),
            log_re=np.full(shape, np.log(0.5)),
            a_im=np.broadcast_to(np.pi * np.arange(n), shape).copy(),
            b_re=np.ones(shape),
            b_im=np.zeros(shape),
            c_re=rng.standard_normal(shape),
            c_im=rng.standard_normal(shape),
            skip=np.ones((d, 1, 1)),
            **options,
        )
