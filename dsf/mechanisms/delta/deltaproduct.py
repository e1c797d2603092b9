"""DeltaProduct.   `steps` delta-rule updates per token, of which the last state is read."""

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
from dsf.core.transition import Diag, LowRank


@dataclass(frozen=True, eq=False)
class DeltaProduct(Mechanism):
    """Several micro-steps of the delta rule per token: A_t is a product of `steps` reflections.

    u [L d];  k [H sL n] with |k| = 1, v [H sL p], beta [H sL 1] in (0, reach), q [H L n];
    micro-step j of token t is row s t + j;  float64.  Source: Siems et al. 2025, arXiv 2502.10297.

    >>> import dsf
    >>> dsf.deltaproduct.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array  # [s H d n]
    Wv: Array
    Wb: Array
    steps: int = 2
    reach: int = 2

    choices = {"steps": 1, "reach": (1, 2)}

    @property
    def micro(self) -> int:
        return self.steps

    equations = ("prod (I - b k k') S_{t-1} + writes", "S_t' q_t")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        beta = f"sL 1 in (0, {self.reach})"
        return {"q": "L n", "k": "sL n unit", "v": "sL p", "beta": beta}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        flops = f"{4 * self.steps + 2}*H*n*p"
        return Facts(
            "low rank",
            contraction=True,
            state="H*n*p",
            flops=flops,
            source="siems2025",
            eigenvalues="closed disc",
        )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        k, v, b = (self._micro_tokens(u, W) for W in (self.Wk, self.Wv, self.Wb))
        return Tokens(q=u @ self.Wq, k=ops.normalise(k), v=v, beta=self.reach * ops.sigmoid(b))

    def _micro_tokens(self, u: Array, W: Array) -> Array:
        x = ops.stack([u @ W[j] for j in range(self.steps)], -2)
        return x.reshape(*x.shape[:-3], x.shape[-3] * self.steps, x.shape[-1])

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        A = LowRank(Diag(a=ops.ones((1, 1), tok.k)), U=col(-tok.beta * tok.k), W=col(tok.k))
        q = ops.stack([tok.q] * self.steps, -2)
        q = q.reshape(*q.shape[:-3], q.shape[-3] * self.steps, q.shape[-1])
        return LTV(A, B=col(tok.beta * tok.k), C=row(q)), row(tok.v)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> DeltaProduct:
        s = options.get("steps", cls.steps)
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, s, heads, d, n),
            Wv=projection(rng, s, heads, d, p),
            Wb=projection(rng, s, heads, d, 1),
            **options,
        )
