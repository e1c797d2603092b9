"""Checkers of quantitative separations: recall of K pairs, softmax against one state."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dsf.claims.exact_tokens import get, require
from dsf.claims.separation import BITS, common, reproduced
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.family import family
from dsf.core.state import State
from dsf.core.tokens import Tokens


def recall_sentence(K: int) -> str:
    """The claim about the recall of K pairs."""
    return (
        f"K = {K} pairs read back: every recurrence with fewer than {K} states is at least 1 away "
        f"in the operator norm ({2 * K} tokens)"
    )


def one_state_sentence(s: str) -> str:
    """The claim about softmax attention against one state."""
    return (
        f"softmax with keys (-{s}, {s}) and queries (-1, 1): every recurrence with one state is at "
        f"least this far away in the operator norm (4 tokens)"
    )


def recall(c: Certificate) -> None:
    """The block is a permutation matrix, in integers."""
    order = [int(i) for i in get(c.witnesses, "order")]
    K = len(order)
    P = np.zeros((K, K), dtype=np.int64)
    require(all(0 <= i < K for i in order), "the order names a pair that does not exist")
    P[np.arange(K), order] = 1
    require(bool(np.array_equal(P.T @ P, np.eye(K, dtype=np.int64))), "P'P is not the identity")
    require(c.lower == 1, "the bound is 1")
    common(c, Scope.OPERATOR, Strength.EXACT)
    require(c.claim == recall_sentence(K), "the claim says something else")


def one_state(c: Certificate) -> None:
    """The kernel of softmax on the four tokens; sigma_2^2 is the smaller root of a quadratic."""
    import flint

    from dsf.core.worlds import precision

    text = str(get(c.witnesses, "s"))
    s = Fraction(text)
    require(s > 0, "s must be positive")
    with precision(BITS):
        key = flint.arb(flint.fmpq(s.numerator, s.denominator))
        zero = flint.arb(0)
        q = np.array([[zero], [zero], [zero - 1], [zero + 1]], dtype=object)
        k = np.array([[-key], [key], [zero], [zero]], dtype=object)
        v = np.array([[flint.arb(int(i == j)) for j in range(4)] for i in range(4)], dtype=object)
        M = family("softmax").bare().advance(Tokens(q=q, k=k, v=v), State())[0]
        H = M[2:, 0, :2]
        trace = sum(e * e for e in H.flat)
        det = H[0, 0] * H[1, 1] - H[0, 1] * H[1, 0]
        square = (trace - (trace * trace - 4 * det * det).sqrt()) / 2  # of H'H
        reproduced(c.lower, float(square.sqrt().lower()))
    common(c, Scope.OPERATOR, Strength.ENCLOSED)
    require(c.claim == one_state_sentence(text), "the claim says something else")
