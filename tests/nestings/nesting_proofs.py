"""What passes the numeric filter, as a nesting for the prover.

The state of general is s times that of special, the channels of one head apart; s is read off the
numbers.  Where states correspond in another way (a state with a further column, a nonlinear step, a
cache) the prover is not asked.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from nesting_grid import drawn, heads, pairs, rows, value
from nesting_search import Map

from dsf.core import ops
from dsf.core.kinds import Recurrence
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations.edge import Nesting
from dsf.verdicts.lattice.prover import prove


def proved(m: Map) -> tuple[str, Nesting | None]:
    """("proved", the nesting), or why it is not."""
    sides = m.special.without_parameters(), m.general.without_parameters()
    if not all(isinstance(x, Recurrence) for x in sides):
        return "not asked: no linear recurrence", None
    s = state_scale(m)
    if s is None:
        return "not asked: the states are no multiples of each other", None
    edge = as_nesting(m, s)
    with np.errstate(all="ignore"):
        failures = prove(edge).failures
    return ("; ".join(failures), None) if failures else ("proved", edge)


def as_nesting(m: Map, s: Fraction) -> Nesting:
    """The nesting of a map, with states in proportion s."""

    def tau(tok: Tokens) -> Tokens:
        image = m(tok)
        assert image is not None  # its axes fitted on numbers
        return image

    def T(S: Any, tok: Tokens) -> Any:
        return image_of(m, S) * s.numerator / s.denominator if s != 1 else image_of(m, S)

    even = pairs(m.special) or (pairs(m.general) and rows(m.special))
    sizes: tuple[tuple[int, int], ...] = ((1, 1), (2, 2), (3, 2))
    sample = (5, 3)
    if even:
        sizes, sample = ((2, 1), (2, 2), (4, 2)), (6, 3)
    if rows(m.special) and not rows(m.general):
        sizes, sample = ((1, 1), (1, 2)), (1, 3)
    if not (heads(m.special) and heads(m.general)):
        sizes, sample = tuple({(n, 1): None for n, _ in sizes}), (sample[0], 1)
    return Nesting(m.special, m.general, tau, str(m), T, sizes=sizes, sample=sample)


def image_of(m: Map, S: Any) -> Any:
    """The state of special in the layout of general."""
    channels = len(next(iter(m.special.spec.values())).axes) == 3
    if heads(m.special) and not channels:
        S = ops.col(ops.mT(S))  # [n p] -> [p n 1]
    elif not heads(m.special):
        S = S[None]
    if pairs(m.general) and S.dtype.kind != "c" and not pairs(m.special):
        if S.shape[-2] % 2:
            S = ops.cat([S, ops.zeros_like(S[..., :1, :])], -2)
        half = S.shape[-2] // 2
        S = ops.as_complex(S[..., :half, :], -S[..., half:, :])
    return S if heads(m.general) else S[0]


def state_scale(m: Map) -> Fraction | None:
    """s, where the states of general are s times those of special on numbers; None otherwise."""
    rng = np.random.default_rng(7)
    n = 1 if not (rows(m.special) and rows(m.general)) else 4
    p = 2 if heads(m.special) and heads(m.general) else 1
    tok = drawn(m.special, rng, 1, 5, n, p).map(lambda x: x[0])
    image = m(tok)
    if image is None or not value(m.special):
        return None
    S = m.special.without_parameters().advance(tok, State())[1].S
    R = m.general.without_parameters().advance(image, State())[1].S
    if S is None or R is None:
        return None
    T = image_of(m, S)
    if T.shape != R.shape:
        return None
    at = np.unravel_index(np.abs(T).argmax(), T.shape)
    ratio = R[at] / T[at]
    s = Fraction(float(np.real(ratio))).limit_denominator(8)
    return s if s and np.abs(R - float(s) * T).max() <= 1e-9 * np.abs(R).max() else None
