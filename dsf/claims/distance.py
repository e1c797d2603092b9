"""How far two operators are from each other: a vector from below, Cholesky from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import bound, floats, require, witness
from dsf.claims.singular import ORTHONORMAL, SLACK, TINY, U, at_most, g, size
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least
from dsf.core.printing import at_most as rounded_up


@dataclass(frozen=True, eq=False, kw_only=True)
class Distance(Claim, kind="distance"):
    """lower <= max_h |M_h - N_h|_2 <= upper, for the stored M, N [H rows columns].

    From below a unit vector v_h, as |M_h - N_h|_2 >= |(M_h - N_h) v_h|.  With E = fl(M - N) the
    difference is E up to 2 u |E|_F, and fl(E v) is E v up to g |E|_F |v|.
    """

    scope, strength = Scope.OPERATOR, Strength.ENCLOSED
    lower: float = witness(bound)
    upper: float = witness(bound)
    M: np.ndarray = witness(floats(None, None, None))
    N: np.ndarray = witness(floats(None, None, None))
    v: np.ndarray = witness(floats(None, None))

    @property
    def statement(self) -> str:
        low, high = at_least(self.lower, 6), rounded_up(self.upper, 6)
        heads = "" if len(self.M) == 1 else f" (the largest of {len(self.M)} heads)"
        return f"the operators M and N are between {low} and {high} apart in the 2-norm{heads}"

    def check(self) -> None:
        require(self.M.shape == self.N.shape, f"M is {self.M.shape}, N is {self.N.shape}")
        require(self.M.size > 0, "there is nothing to compare")
        fits = self.v.shape == (len(self.M), self.M.shape[-1])
        require(fits, f"a vector for each head is needed; got {self.v.shape}")
        require(self.lower >= 0.0, "the lower bound must be at least 0")
        reached = self.lower == 0.0
        for M, N, v in zip(self.M, self.N, self.v, strict=True):
            require(abs(v @ v - 1.0) < ORTHONORMAL, "a vector is not of length 1")
            E = M - N
            fro = size(E)
            # exceeds SLACK only from 2^24 rows on; a difference that underflows is exact
            lost = 2 * U * fro * (1 + SLACK)
            below = (self.upper - lost) * (1 - SLACK)
            require(at_most(E, below), f"|M - N| <= {self.upper:.6g} does not follow")
            Ev = E @ v
            short = np.sqrt(Ev @ Ev) * (1 - SLACK) - g(E.shape[1]) * fro * size(v) - np.sqrt(TINY)
            proved = (short / size(v) - lost) * (1 - SLACK)
            reached = reached or (bool(np.isfinite(proved)) and self.lower <= proved)
        require(reached, f"|M - N| >= {self.lower:.6g} does not follow")
