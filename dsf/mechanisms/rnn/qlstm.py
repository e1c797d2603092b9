"""qLSTM.   h_t = f_t h_{t-1} + g_t v_t,   y_t = o_t h_t, per channel, gates from the token only"""

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
class QLSTM(Mechanism):
    """Quasi-LSTM: an LSTM without state feedback in its gates.

    u [L d], channels p act as heads with one state each;  log_f [p L 1] < 0, g, o in (0, 1).
    original: f = sigmoid(x);   `reversed=True`: f = sigmoid(-x)^alpha, alpha >= 0 learned, which
    is e^{-alpha softplus(x)};  float64.  Source: Sieber et al. 2024, arXiv 2405.15731, eq. (22).

    >>> import dsf
    >>> dsf.qlstm.init(d=4, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wv: Array
    Wf: Array
    Wg: Array
    Wo: Array
    bf: Array
    bg: Array
    bo: Array
    alpha: Array
    reversed: bool = False

    choices = {"reversed": (False, True)}

    equations = ("f_t h_{t-1} + g_t v_t", "o_t h_t")
    conventions = ("channels are heads",)
    spec = {
        "v": "p L 1",
        "log_f": "p L 1 < 0",
        "g": "p L 1 in (0, 1)",
        "o": "p L 1 in (0, 1)",
    }
    facts = Facts(
        "scalar",
        contraction=True,
        state="p",
        flops="4*p",
        source="sieber2024",
        eigenvalues="(0, 1)",
    )

    @property
    def d(self) -> int:
        return self.Wv.shape[-2]

    def tokens(self, u: Array) -> Tokens:
        x = u @ self.Wf + self.bf
        log_f = -self.alpha * ops.softplus(x) if self.reversed else ops.logsigmoid(x)
        return Tokens(
            v=channels(u @ self.Wv),
            log_f=channels(log_f),
            g=channels(ops.sigmoid(u @ self.Wg + self.bg)),
            o=channels(ops.sigmoid(u @ self.Wo + self.bo)),
        )

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        return LTV(Diag(log_a=tok.log_f), B=col(tok.g), C=row(tok.o)), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> QLSTM:
        """Gaussian weights, zero biases, alpha = 1; n is always 1."""
        return cls(
            Wv=projection(rng, d, p),
            Wf=projection(rng, d, p),
            Wg=projection(rng, d, p),
            Wo=projection(rng, d, p),
            bf=np.zeros(p),
            bg=np.zeros(p),
            bo=np.zeros(p),
            alpha=np.ones(1),
            **options,
        )
