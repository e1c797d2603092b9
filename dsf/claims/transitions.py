"""What a checker knows about transitions: read off the states, on tokens and on pieces of domains.

A(z) x = (step from x) - (step from 0) for a step that is affine in its state, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import Letter, ball, draw_letters
from dsf.core.family import Family
from dsf.core.fields import GATE, NEGATIVE, POSITIVE, REAL, Domain
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.relations.invariants import paired

DRAWS = 2
ZERO = 1e-50  # an entry that contains 0 and is below this is taken for the zero that it encloses
SMALL = [Fraction(1, 64), Fraction(1, 32), Fraction(1, 16)]
EIGHTHS = [Fraction(k, 8) for k in range(1, 17)]
# Cuts of a domain into pieces: short, and no longer than their distance to an open end, so that
# balls keep the sign of what is computed from them.
CUTS: dict[Domain, list[Fraction]] = {
    GATE: [*SMALL, *EIGHTHS[:7], *(1 - x for x in reversed(SMALL))],
    Domain(0, 2): [*SMALL, *EIGHTHS[:15], *(2 - x for x in reversed(SMALL))],
    POSITIVE: [*SMALL, *EIGHTHS],
    NEGATIVE: [-x for x in reversed([*SMALL, *EIGHTHS])],
}
POINTS = {
    GATE: (2, 4, 6),
    Domain(0, 2): (4, 8, 12),
    POSITIVE: (4, 8, 16),
    NEGATIVE: (-4, -8, -16),
    REAL: (-2, -1, 1, 2),
}  # fmt: skip  (eighths)

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


def over_domains(f: Family) -> Iterator[list[Matrix]]:
    """Transitions at the smallest size, with one gate after the other in each piece of its domain.

    A gate is a field whose domain is neither the real line nor unit vectors.  All other fields are
    exact points, drawn anew DRAWS times, and values are 0.
    """
    rng = np.random.default_rng(4000)
    gates = [k for k, field in f.spec.items() if field.domain in CUTS]
    for _ in range(DRAWS):
        letters, constants = draw_letters(f, "z", 2 if paired(f) else 1, rng)
        groups = [
            {k: _point(k, x, f.spec[k].domain, rng) for k, x in group.items()}
            for group in (letters["z"], constants)
        ]
        for gate in gates:
            cuts = ball(np.array(CUTS[f.spec[gate].domain], dtype=object))
            for low, high in pairwise(cuts):
                piece = low.union(high)
                yield transitions(f, *(_moved(group, gate, piece) for group in groups))
        yield transitions(f, *groups)


def _moved(group: Balls, gate: str, piece: Any) -> Balls:
    """A group of fields with one of them filled with one ball."""
    return {k: np.full_like(x, piece) if k == gate else x for k, x in group.items()}


def _point(name: str, x: np.ndarray, domain: Domain, rng: np.random.Generator) -> np.ndarray:
    """Exact balls: values 0, unit vectors as drawn, everything else from POINTS."""
    if name in ("v", "u"):
        return ball(np.full(x.shape, Fraction(0), dtype=object))
    if domain not in POINTS:
        return ball(x)
    numbers = rng.choice(POINTS[domain], x.shape)
    return ball(np.frompyfunc(lambda e: Fraction(int(e), 8), 1, 1)(numbers))


# ------------------------------------------------------------------- what is asked
def diagonal(A: Matrix) -> list[Any] | None:
    """The diagonal entries, or None unless all others are (enclosed by) zero."""
    n = len(A)
    off = [A[i][j] for i in range(n) for j in range(n) if i != j]
    if any(not e.contains(0) or not abs(e) < ZERO for e in off):
        return None
    return [A[i][i] for i in range(n)]


def shortens(A: Matrix) -> bool:
    """Whether |A x| < |x| is proved for all x != 0: by a diagonal, or by I - A'A > 0 (real)."""
    entries = diagonal(A)
    if entries is not None:
        return all(bool(abs(e) < 1) for e in entries)
    n = len(A)
    if any(not abs(e.imag) < ZERO for row in A for e in row):
        return False
    real = [[e.real for e in row] for row in A]
    G = [
        [int(i == j) - sum(real[k][i] * real[k][j] for k in range(n)) for j in range(n)]
        for i in range(n)
    ]
    for k in range(n):  # elimination: all pivots positive
        if not G[k][k] > 0:
            return False
        for i in range(k + 1, n):
            factor = G[i][k] / G[k][k]
            G[i] = [x - factor * y for x, y in zip(G[i], G[k], strict=True)]
    return True
