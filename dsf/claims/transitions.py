"""What a checker knows about transitions: read off the states, on tokens and on pieces of domains.

A(z) x = (step from x) - (step from 0) for a step that is affine in its state, column by column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.claims.exact_tokens import Letter, ball
from dsf.core.family import Family
from dsf.core.state import State
from dsf.core.tokens import Tokens

ZERO = 1e-50  # an entry that contains 0 and is below this is taken for the zero that it encloses

Balls = dict[str, np.ndarray]
Matrix = list[list[Any]]


def transitions(f: Family, letter: Balls, constants: Balls) -> list[Matrix]:
    """The matrices A(z) of acb balls, one per head, for a token z given in balls."""
    import flint

    mech = f.without_parameters()
    twice = {k: np.concatenate([x, x], axis=-2) for k, x in letter.items()}
    _, start = mech.advance(Tokens(**twice, **constants), State())
    last = Tokens(**letter, **constants)
    shape = start.S.shape
    n = shape[-2]

    def step(S: np.ndarray) -> np.ndarray:
        new = np.asarray(mech.advance(last, State(S, start.tail, start.t))[1].S, dtype=object)
        return new.reshape(-1, n, shape[-1])[..., 0]  # every value column has the same transition

    zero = np.full(shape, flint.arb(0), dtype=object)
    columns = []
    for j in range(n):
        one = zero.copy()
        one[..., j, :] = flint.arb(1)
        columns.append(step(one) - step(zero))
    return [
        [[flint.acb(columns[j][h, i]) for j in range(n)] for i in range(n)]
        for h in range(columns[0].shape[0])
    ]


def of_letters(f: Family, letter: Letter, constants: Letter) -> list[Matrix]:
    """The transitions of an exact token."""
    return transitions(f, *({k: ball(x) for k, x in g.items()} for g in (letter, constants)))


# ------------------------------------------------------------------- what is asked
def diagonal(A: Matrix) -> list[Any] | None:
    """The diagonal entries, or None unless all others are (enclosed by) zero."""
    n = len(A)
    off = [A[i][j] for i in range(n) for j in range(n) if i != j]
    if any(not e.contains(0) or not abs(e) < ZERO for e in off):
        return None
    return [A[i][i] for i in range(n)]
