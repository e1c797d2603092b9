"""GRU.   h_t = (1 - z_t) h_{t-1} + z_t tanh(W u_t + U (r_t h_{t-1})): not affine in the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.draws import projection
from dsf.core.facts import Facts
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.tokens import Tokens


@dataclass(frozen=True, eq=False)
class GRU(Mechanism):
    """Gated recurrent unit, the example that is *not* of the linear time-varying form.

    u [L d], state and output p;  gates z, r = sigmoid(x + h U);  float64.  `ltv` raises
    NotLinearError; `dsf.jacobians.linearise` gives the Jacobians along a trajectory.
    Source: Cho et al. 2014, arXiv 1406.1078.

    >>> import dsf
    >>> dsf.gru.init(d=4, p=3)(np.ones((5, 4))).shape
    (5, 3)
    """

    Wz: Array
    Wr: Array
    Wh: Array
    Uz: Array
    Ur: Array
    Uh: Array
    bz: Array
    br: Array
    bh: Array

    equations = ("(1 - z) h_{t-1} + z tanh(x + U (r h))", "h_t")
    spec = {
        "z": "L p",
        "r": "L p",
        "x": "L p",
        "Uz": "p p",
        "Ur": "p p",
        "Uh": "p p",
    }
    facts = Facts("nonlinear", contraction=False, state="p", flops="6*p*p", source="cho2014")
    heads = False

    @property
    def d(self) -> int:
        return self.Wz.shape[-2]

    def tokens(self, u: Array) -> Tokens:
        return Tokens(
            z=u @ self.Wz + self.bz,
            r=u @ self.Wr + self.br,
            x=u @ self.Wh + self.bh,
            Uz=self.Uz,
            Ur=self.Ur,
            Uh=self.Uh,
        )

    def step(self, h: Array | None, tok: Tokens) -> tuple[Array, Array]:
        """One token: (o [... 1 1 p], h [... 1 p])."""
        h = ops.zeros_like(tok.x) if h is None else h
        z = ops.sigmoid(tok.z + h @ tok.Uz)
        r = ops.sigmoid(tok.r + h @ tok.Ur)
        h = (1 - z) * h + z * ops.tanh(tok.x + (r * h) @ tok.Uh)
        return ops.expand(h, -2), h

    def no_output(self, tok: Tokens) -> Array:
        """The output of an empty sequence."""
        return ops.expand(tok.x, -2)

    @classmethod
    def init(
        cls, rng: np.random.Generator, d: int, n: int, p: int, heads: int, **options: Any
    ) -> GRU:
        weights = [projection(rng, size, p) for size in (d, d, d, p, p, p)]
        return cls(*weights, *np.zeros((3, p)), **options)
