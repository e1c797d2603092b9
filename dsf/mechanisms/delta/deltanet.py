"""DeltaNet.   S_t = (I - beta_t k_t k_t') S_{t-1} + beta_t k_t v_t',   y_t = S_t' q_t"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.errors import NotContractive
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag, LowRank


@dataclass(frozen=True, eq=False)
class DeltaNet(Mechanism):
    """The delta rule: what the state predicts for k_t is replaced by v_t, with strength beta_t.

    u [L d];  q, k [H L n] with |k| = 1, v [H L p], beta [H L 1] = reach * sigmoid;  float64.
    `reach` 2 allows negative eigenvalues; `unit_keys=False` leaves the keys as they are, and then
    warns NotContractive where the eigenvalue 1 - beta |k|^2 is below -1.
    Source: Schlag et al. 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484.

    >>> import dsf
    >>> dsf.deltanet.init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    Wb: Array
    reach: int = 1
    unit_keys: bool = True

    choices = {"reach": (1, 2), "unit_keys": (False, True)}

    equations = ("(I - b_t k_t k_t') S_{t-1} + b_t k_t v_t'", "S_t' q_t")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        key = "L n unit" if self.unit_keys else "L n"
        return {"q": "L n", "k": key, "v": "L p", "beta": f"L 1 in (0, {self.reach})"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        region = ("(0, 1]" if self.reach == 1 else "(-1, 1]") if self.unit_keys else "any"
        return Facts(
            "low rank",
            contraction=self.unit_keys,
            state="H*n*p",
            flops="6*H*n*p",
            source="schlag2021",
            eigenvalues=region,
        )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        k = u @ self.Wk
        return Tokens(
            q=u @ self.Wq,
            k=ops.normalise(k) if self.unit_keys else k,
            v=u @ self.Wv,
            beta=self.reach * ops.sigmoid(u @ self.Wb),
        )

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        erase = LowRank(Diag(a=ops.ones((1, 1), tok.k)), U=col(-tok.beta * tok.k), W=col(tok.k))
        return LTV(erase, B=col(tok.beta * tok.k), C=row(tok.q)), row(tok.v)

    def check(self, tok: Tokens) -> None:
        if self.unit_keys:
            return
        lowest = 1 - tok.beta * ops.asum(tok.k * tok.k)
        if bool((lowest < -1).any()):
            warnings.warn(
                f"{type(self).__name__}: eigenvalue 1 - beta |k|^2 = {lowest.min().item():.6g} is "
                "below -1, so the state may grow. Normalise the keys or reduce beta.",
                NotContractive,
                stacklevel=4,
            )

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> DeltaNet:
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, heads, d, n),
            Wv=projection(rng, heads, d, p),
            Wb=projection(rng, heads, d, 1),
            **options,
        )
