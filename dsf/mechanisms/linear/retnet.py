"""RetNet.   S_t = gamma S_{t-1} + k_t v_t',   y_t = S_t' q_t,   optionally with rotated q and k"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.errors import ShapeError
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism, split_heads
from dsf.core.ops import Array, col, row
from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Diag


@dataclass(frozen=True, eq=False)
class RetNet(Mechanism):
    """Retention: one fixed decay per head, gamma_h = 1 - 2^{-5-h}.

    u [L d];  q, k [H L n], v [H L p], gamma [H 1 1];  float64.
    `rotation=True`: complex diagonal, A = gamma e^{i theta} on the n/2 pairs, y = Re(q' S);
    `rotation="qk"`: the published form, q and k rotated by position;  False: neither.
    Pairs are (x_i, x_{i + n/2}).  Source: Sun et al. 2023, arXiv 2307.08621.

    >>> import dsf
    >>> a, b = dsf.retnet(rotation=True).init(4, 2, 3), dsf.retnet(rotation="qk").init(4, 2, 3)
    >>> u = np.random.default_rng(0).standard_normal((6, 4))
    >>> bool(np.allclose(a(u), b(u), rtol=1e-12))
    True
    """

    Wq: Array
    Wk: Array
    Wv: Array
    gamma: Array
    theta: Array
    rotation: bool | str = False

    choices = {"rotation": (False, True, "qk")}

    equations = ("gamma S_{t-1} + k_t v_t'", "S_t' q_t")

    @property
    def spec(self) -> dict[str, str]:  # type: ignore[override]
        fields = {"q": "L n", "k": "L n", "v": "L p", "gamma": "1 1 in (0, 1)"}
        if self.rotation:
            fields["theta"] = "1 n/2"
        if self.rotation == "qk":
            fields["pos"] = "L 1"
        return fields

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        structure = "diagonal" if self.rotation is True else "scalar"
        return Facts(
            structure,
            True,
            state="H*n*p",
            flops="5*H*n*p",
            source="sun2023",
            eigenvalues="disc" if self.rotation is True else "(0, 1)",
        )

    def tokens(self, u: Array) -> Tokens:
        u = split_heads(u)
        tok = Tokens(q=u @ self.Wq, k=u @ self.Wk, v=u @ self.Wv, gamma=self.gamma)
        return tok.replace(theta=self.theta) if self.rotation else tok

    def system(self, tok: Tokens) -> tuple[LTV, Array]:
        if self.rotation is True:
            q, k = as_pairs(tok.q), as_pairs(tok.k)
            A = Diag(a=tok.gamma * ops.cis(tok.theta))
            return LTV(A, B=col(ops.conj(k)), C=row(q)), row(tok.v)
        q, k = tok.q, tok.k
        if self.rotation == "qk":
            q, k = (rotate(x, tok.theta * tok.pos) for x in (q, k))
        return LTV(Diag(a=tok.gamma), B=col(k), C=row(q)), row(tok.v)

    def readout(self, o: Array, tok: Tokens) -> Array:
        return ops.real(o) if self.rotation is True else o

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> RetNet:
        if options.get("rotation") and n % 2:
            raise ShapeError(f"RetNet.init: rotation acts on pairs, so n must be even; got n = {n}")
        Wq, Wk, Wv = (projection(rng, heads, d, size) for size in (n, n, p))
        gamma = 1 - 2.0 ** (-5 - np.arange(heads))
        theta = 10000.0 ** (-np.arange(n // 2) / max(n // 2, 1))
        tiled = np.broadcast_to(theta, (heads, 1, n // 2)).copy()
        return cls(Wq, Wk, Wv, gamma.reshape(heads, 1, 1), tiled, **options)


def as_pairs(x: Array) -> Array:
    """[... n] real -> [... n/2] complex, x_i + i x_{i + n/2}."""
    half = x.shape[-1] // 2
    return ops.as_complex(x[..., :half], x[..., half:])


def rotate(x: Array, angle: Array) -> Array:
    """Each pair (x_i, x_{i + n/2}) turned by its angle [... n/2]."""
    half = x.shape[-1] // 2
    a, b, c, s = x[..., :half], x[..., half:], ops.cos(angle), ops.sin(angle)
    return ops.cat([a * c - b * s, a * s + b * c])
