"""Quantitative separations: recall of K pairs, softmax against one state."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.exact_tokens import BITS, ball
from dsf.claims.reading import count, fraction, many, number, require, witness
from dsf.claims.separation import reproduced
from dsf.core.catalogue import family
from dsf.core.certificate import Scope, Strength
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision


@dataclass(frozen=True, eq=False, kw_only=True)
class Recall(Claim, kind="separation/recall"):
    """The block is the matrix of a permutation: all its singular values are 1."""

    scope, strength, reference = Scope.OPERATOR, Strength.EXACT, "dsf2026"
    lower = 1
    order: tuple[int, ...] = witness(many(count))

    @property
    def statement(self) -> str:
        K = len(self.order)
        return (
            f"K = {K} pairs read back: every recurrence with fewer than {K} states is at least 1 "
            f"away in the operator norm ({2 * K} tokens)"
        )

    def check(self) -> None:
        K = len(self.order)
        require(K > 0, "there is nothing to recall")
        require(sorted(self.order) == list(range(K)), "this is no order of the pairs")


@dataclass(frozen=True, eq=False, kw_only=True)
class OneState(Claim, kind="separation/one-state"):
    """The kernel of softmax on the four tokens; sigma_2^2 is the smaller root of a quadratic."""

    scope, strength, reference = Scope.OPERATOR, Strength.ENCLOSED, "dsf2026"
    lower: float = witness(number)
    s: Fraction = witness(fraction)

    @property
    def statement(self) -> str:
        return (
            f"softmax with keys (-{self.s}, {self.s}) and queries (-1, 1): every recurrence with "
            f"one state is at least this far away in the operator norm (4 tokens)"
        )

    def check(self) -> None:
        s = self.s
        require(s > 0, "s must be positive")
        with precision(BITS):
            q, k = ball([[0], [0], [-1], [1]]), ball([[-s], [s], [0], [0]])
            v = ball(np.eye(4, dtype=int).astype(object))
            M = family("softmax").without_parameters().advance(Tokens(q=q, k=k, v=v), State())[0]
            H = M[2:, 0, :2]
            trace = sum(e * e for e in H.flat)
            det = H[0, 0] * H[1, 1] - H[0, 1] * H[1, 0]
            square = (trace - (trace * trace - 4 * det * det).sqrt()) / 2  # of H'H
            reproduced(self.lower, square.sqrt())
