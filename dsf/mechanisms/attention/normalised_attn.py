"""Normalised attention.   y_t = (1 / eta(u_t)) sum_{j<=t} (q_t' k_j) v_j"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.errors import DomainError, UnknownNameError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class NormalisedAttention(Mechanism):
    """Linear attention divided by a learned function of the current token only.

    u [L d];  q, k [H L n], v [H L p], eta [H L 1] = f(u_t w + b) > 0, f = exp, softplus or sigmoid.
    As a map this is linear attention with the scalar output gate 1/eta; float64.
    Source: Sieber et al. 2024, arXiv 2405.15731, eq. (21).

    >>> import dsf
    >>> dsf.normalised_attn(eta="softplus").init(d=4, n=2, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    w: Array
    b: Array
    eta: str = "exp"

    choices = {"eta": ("exp", "softplus", "sigmoid")}

    equations = ("S_{t-1} + k_t v_t'", "S_t' q_t / eta_t")
    conventions = ("divided by eta(u_t)",)
    facts = Facts(
        "scalar",
        contraction=True,
        state="H*n*p",
        flops="4*H*n*p",
        source="sieber2024",
        eigenvalues="1",
        order_aware=False,
    )

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        domain = "in (0, 1)" if self.eta == "sigmoid" else "> 0"
        return {"q": "L n", "k": "L n", "v": "L p", "eta": f"L 1 {domain}"}

    def tokens(self, u: Array) -> Tokens:
        f = {"exp": ops.exp, "softplus": ops.softplus, "sigmoid": ops.sigmoid}.get(self.eta)
        if f is None:
            raise UnknownNameError(
                f"NormalisedAttention: eta must be exp, softplus or sigmoid; got {self.eta!r}"
            )
        u = split_heads(u)
        return Tokens(q=u @ self.Wq, k=u @ self.Wk, v=u @ self.Wv, eta=f(u @ self.w + self.b))

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        C = row(tok.q / tok.eta)
        return LTV(Diag(a=ops.ones((1, 1), tok.k)), B=col(tok.k), C=C), row(tok.v)

    def check(self, tok: Tokens) -> None:
        if bool((tok.eta == 0).any()):
            raise DomainError(
                f"NormalisedAttention: eta = {self.eta}(u w + b) underflowed to 0 at some token, "
                "so the output is undefined. Likely cause: input too large; rescale it."
            )

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> NormalisedAttention:
        return cls(
            Wq=projection(rng, heads, d, n),
            Wk=projection(rng, heads, d, n),
            Wv=projection(rng, heads, d, p),
            w=projection(rng, heads, d, 1),
            b=np.zeros((heads, 1, 1)),
            **options,
        )
