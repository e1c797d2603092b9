"""Mamba-3: writes from two tokens (trapezoidal rule), complex data-dependent decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection, step_size_bias
from dsf.core.errors import ShapeError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag
from dsf.mechanisms.linear.retnet import as_pairs


@dataclass(frozen=True, eq=False)
class Mamba3(Mechanism):
    """Mamba-3 with one input and one output per head.

        S_t = A_t S_{t-1} + (1 - lam_t) dt_t A_t k_{t-1} v_{t-1}' + lam_t dt_t k_t v_t'
        y_t = Re(S_t' q_t),    A_t = e^{dt_t (a_t + i theta_t)}

    u [L d];  q, k [H L n] (n/2 complex pairs), v [H L p], dt [H L 1] > 0, a [H L 1] < 0,
    lam [H L 1] in (0, 1), theta [H L n/2];  y = Re(q' S) + D v;  float64 / complex128.
    q and k are RMS-normalised and get a bias.
    `skip=True` adds the published D v_t.  Source: Mamba-3, arXiv 2603.15569.

    >>> import dsf
    >>> dsf.mamba3.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    Wdt: Array
    Wa: Array
    Wl: Array
    Wt: Array
    q_bias: Array
    k_bias: Array
    dt_bias: Array
    D: Array
    skip: bool = False

    choices = {"skip": (False, True)}

    equations = ("A_t S_{t-1} + two writes (t-1 and t)", "Re(S_t' q_t)")
    conventions = ("q, k RMS-normalised", "n/2 complex pairs")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        fields = {
            "q": "L n",
            "k": "L n",
            "v": "L p",
            "dt": "L 1 > 0",
            "a": "L 1 < 0",
            "lam": "L 1 in (0, 1)",
            "theta": "L n/2",
        }
        return {**fields, "skip": "1 1"} if self.skip else fields

    facts = Facts(
        "diagonal",
        contraction=True,
        state="H*n*p",
        flops="7*H*n*p",
        source="mamba3",
        eigenvalues="disc",
    )
    lookback = 1

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        x = u @ self.Wa
        tok = Tokens(
            q=_rms_norm(u @ self.Wq) + self.q_bias,
            k=_rms_norm(u @ self.Wk) + self.k_bias,
            v=u @ self.Wv,
            dt=ops.softplus(u @ self.Wdt + self.dt_bias),
            a=-ops.where_positive(x, 1 + x, 1 / (1 + ops.absolute(x))),
            lam=ops.sigmoid(u @ self.Wl),
            theta=ops.pi(u) * ops.tanh(u @ self.Wt),
        )
        return tok.replace(skip=self.D) if self.skip else tok

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        k = ops.conj(as_pairs(tok.k))
        v = row(tok.v)
        dt, lam = tok.dt[..., 1:, :], tok.lam[..., 1:, :]
        log_a = ops.as_complex(dt * tok.a[..., 1:, :], dt * tok.theta[..., 1:, :])
        before = (1 - lam) * dt * ops.exp(log_a) * k[..., :-1, :]
        B = ops.stack([before, lam * dt * k[..., 1:, :]], -1)
        X = ops.cat([v[..., :-1, :, :], v[..., 1:, :, :]], -2)
        D = ops.cat([ops.zeros_like(col(tok.skip)), col(tok.skip)]) if self.skip else None
        return LTV(Diag(log_a=log_a), B, row(as_pairs(tok.q)[..., 1:, :]), D), X

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> Mamba3:
        if n % 2:
            raise ShapeError(f"Mamba3.init: the state is complex pairs, so n must be even; got {n}")
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, heads, d, n),
            Wv=projection(rng, heads, d, p),
            Wdt=projection(rng, heads, d, 1),
            Wa=projection(rng, heads, d, 1),
            Wl=projection(rng, heads, d, 1),
            Wt=projection(rng, heads, d, n // 2),
            q_bias=np.ones((heads, 1, n)),
            k_bias=np.ones((heads, 1, n)),
            dt_bias=step_size_bias(rng, heads, 1, 1),
            D=np.ones((heads, 1, 1)),
            **options,
        )


def _rms_norm(x: Array) -> Array:
    n = ops.const(x.shape[-1], x)
    return ops.sqrt(n) * ops.normalise(x)
