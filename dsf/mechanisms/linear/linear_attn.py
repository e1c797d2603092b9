"""Linear attention.   S_t = S_{t-1} + phi(k_t) v_t',   y_t = S_t' phi(q_t)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag
from dsf.mechanisms.linear.features import NAMES, POSITIVE, feature_map


@dataclass(frozen=True, eq=False)
class LinearAttention(Mechanism):
    """Linear attention with feature map `phi`, optionally divided by the sum of its weights.

    u [L d];  Wq, Wk [H d n], Wv [H d p];  q, k [H L n'] after the feature map;  float64.
    `normalise=True` appends the value 1, whose output is the normaliser.
    Source: Katharopoulos et al. 2020, arXiv 2006.16236.

    >>> import dsf
    >>> dsf.linear_attn.init(d=4, n=2, p=3).kernel(np.ones((5, 4))).shape
    (1, 5, 5)
    """

    Wq: Array
    Wk: Array
    Wv: Array
    omega: Array | None = None
    phi: str = "identity"
    order: int = 2
    normalise: bool = False
    init_options: ClassVar[tuple[str, ...]] = ("features",)
    choices = {"phi": NAMES, "order": 0, "normalise": (False, True), "features": 1}

    equations = ("S_{t-1} + k_t v_t'", "S_t' q_t")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        sign = " > 0" if self.phi in POSITIVE else ""
        return {"q": "L n" + sign, "k": "L n" + sign, "v": "L p"}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        return Facts(
            structure="scalar",
            contraction=True,
            state="H*n*(p+1)" if self.normalise else "H*n*p",
            flops="4*H*n*p",
            source="katharopoulos2020",
            eigenvalues="1",
            normalised=self.normalise,
            order_aware=False,
        )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        q, k = (feature_map(self.phi, u @ W, self.order, self.omega) for W in (self.Wq, self.Wk))
        return Tokens(q=q, k=k, v=u @ self.Wv)

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        v = ops.cat([tok.v, ops.ones_like(tok.v[..., :1])]) if self.normalise else tok.v
        return LTV(Diag(a=ops.ones((1, 1), tok.k)), B=col(tok.k), C=row(tok.q)), row(v)

    def normaliser(self, o: Array, tok: Tokens) -> Array | None:
        return o[..., -1:] if self.normalise else None

    @classmethod
    def init(
        cls,
        rng: np.random.Generator,
        d: int,
        n: int,
        p: int,
        heads: int,
        features: int = 0,
        **options: Any,
    ) -> LinearAttention:
        """Gaussian projections; FAVOR+ draws `features` (default n) orthogonal Gaussian rows."""
        Wq, Wk, Wv = (projection(rng, heads, d, size) for size in (n, n, p))
        omega = _orthogonal_rows(rng, features or n, n) if options.get("phi") == "favor" else None
        return cls(Wq, Wk, Wv, omega, **options)


def _orthogonal_rows(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """m Gaussian directions in R^n, orthogonal in blocks of n, with chi-distributed lengths."""
    blocks = [_rotation(rng, n) for _ in range(-(-m // n))]
    rows = np.concatenate(blocks)[:m]
    return rows * np.linalg.norm(rng.standard_normal((m, n)), axis=1, keepdims=True)


def _rotation(rng: np.random.Generator, n: int) -> np.ndarray:
    """A uniformly distributed orthogonal matrix; without the signs of R it would have a
    preferred direction, and the features a bias (Mezzadri 2007)."""
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    return Q * np.sign(np.diagonal(R))
