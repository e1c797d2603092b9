"""RG-LRU.   h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t v_t,   y_t = h_t, per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, channels
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class RGLRU(Mechanism):
    """Real-gated linear recurrent unit of Griffin: the write is tied to the decay.

    u [L d], channels p = d act as heads with one state each;  log_a [p L 1] = 8 r_t log a < 0,
    i [p L 1] in (0, 1);  float64.  Source: De et al. 2024, arXiv 2402.19427.

    >>> import dsf
    >>> dsf.rglru.init(d=4)(np.ones((5, 4))).shape
    (5, 4)
    """

    Wr: Array
    Wi: Array
    br: Array
    bi: Array
    decay: Array  # a = sigmoid(decay)

    equations = ("a_t h_{t-1} + sqrt(1 - a_t^2) i_t v_t", "h_t")
    conventions = ("channels are heads",)
    spec = {"v": "p L 1", "log_a": "p L 1 < 0", "i": "p L 1 in (0, 1)"}
    facts = Facts(
        "scalar", contraction=True, state="p", flops="6*p", source="de2024", eigenvalues="(0, 1)"
    )

    @property
    def d(self) -> int:
        return self.Wr.shape[-2]

    def tokens(self, u: Array) -> Tokens:
        r = ops.sigmoid(u @ self.Wr + self.br)
        return Tokens(
            v=channels(u),
            log_a=channels(8 * r * ops.logsigmoid(self.decay)),
            i=channels(ops.sigmoid(u @ self.Wi + self.bi)),
        )

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        B = ops.sqrt(-ops.expm1(2 * tok.log_a)) * tok.i
        return LTV(Diag(log_a=tok.log_a), B=col(B), C=ops.ones((1, 1, 1), tok.v)), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> RGLRU:
        """a^8 uniform in [0.9, 0.999]; n is always 1, p = d."""
        a = rng.uniform(0.9, 0.999, d) ** (1 / 8)
        Wr, Wi = projection(rng, d, d), projection(rng, d, d)
        return cls(Wr, Wi, np.zeros(d), np.zeros(d), np.log(a) - np.log1p(-a), **options)
