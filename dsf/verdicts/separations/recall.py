"""Quantitative separations: associative recall, and softmax attention against one state."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.claims.separation_recall import OneState, Recall
from dsf.core.certificate import Certificate
from dsf.core.errors import ShapeError
from dsf.core.worlds import precision
from dsf.verdicts.separations.core import SLACK
from dsf.verdicts.separations.words import BITS


def recall_operator(K: int, order: Sequence[int] | None = None) -> np.ndarray:
    """The token-mixing operator of associative recall: K values are written, then read back.

        M [2K 2K],   M[K + i, order[i]] = 1,   all other entries 0

    `order` is the permutation in which the pairs are asked for (default: backwards).  Raises
    ShapeError unless it is a permutation of 0..K-1.

    >>> recall_operator(2)[2:, :2]
    array([[0., 1.],
           [1., 0.]])
    """
    order = list(range(K))[::-1] if order is None else [int(i) for i in order]
    if K < 1 or sorted(order) != list(range(K)):
        raise ShapeError(
            f"recall_operator: order must be a permutation of 0..{K - 1} with K >= 1; got {order}"
        )
    M = np.zeros((2 * K, 2 * K))
    M[K + np.arange(K), order] = 1.0
    return M


def recall_gap(K: int, order: Sequence[int] | None = None) -> Certificate:
    """The certificate that fewer than K states err by at least 1 in recalling K pairs.

    The Hankel block at the cut K is a permutation matrix P; P'P = I, so all its K singular values
    are 1, and a block of smaller rank is at least 1 away in the operator norm (Eckart-Young).  In
    the entrywise norm far fewer states do: the norm belongs to the statement.

    >>> recall_gap(16).check()
    True
    """
    M = recall_operator(K, order)
    return Recall(order=tuple(int(i) for i in np.argmax(M[K:, :K], axis=1))).certificate()


def one_state_gap(s: int | Fraction = 1) -> Certificate:
    """The certificate of what one state costs: softmax with keys (-s, s) and queries (-1, 1).

    Four tokens, of which the last two have the key 0.  The Hankel block at the cut 2 is

        [e^s, e^-s] / (e^s + e^-s + 1),   [e^-s, e^s] / (e^s + e^-s + 2)

    and every recurrence with one state per value channel is at least its second singular value away
    in the operator norm: 0.4957 for s = 1, 0.9643 for s = 4, and 1 in the limit.

    >>> round(one_state_gap(4).lower, 4)
    0.9643
    """
    s = Fraction(s)
    if s <= 0:
        raise ShapeError(f"one_state_gap: s must be positive; got {s}")
    with precision(BITS):
        lower = float(second_singular_value(one_state_block(s)).lower()) * (1 - SLACK)
    return OneState(lower=lower, s=s).certificate()


def one_state_block(s: Fraction) -> list[list[Any]]:
    """M[2:, :2] of softmax attention on the four tokens, as balls."""
    import flint

    up, down = ((flint.arb(sign * s.numerator) / s.denominator).exp() for sign in (1, -1))
    first, second = up + down + 1, up + down + 2
    return [[up / first, down / first], [down / second, up / second]]


def second_singular_value(H: list[list[Any]]) -> Any:
    """The smaller singular value of a 2 x 2 matrix of balls.

    (sigma_1 +- sigma_2)^2 = |H|_F^2 +- 2 |det H|.
    """
    (a, b), (c, d) = H
    size, det = a * a + b * b + c * c + d * d, abs(a * d - b * c)
    return ((size + 2 * det).sqrt() - (size - 2 * det).sqrt()) / 2
