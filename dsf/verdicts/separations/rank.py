"""What needs more states than a recurrence has: a Hankel block of a larger rank."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import factorial, prod
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.separation_rank import ByRank
from dsf.claims.separation_states import ByStates
from dsf.core.catalogue import family
from dsf.core.errors import ShapeError
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.relations import invariants as known
from dsf.relations.invariants import grows
from dsf.verdicts.separations.core import Separation, Side
from dsf.verdicts.separations.many_states import many_states

SIZES = (1, 2, 3, 4, 5)  # for a family, whose number of states is free


@dataclass(frozen=True, eq=False)
class RankWitness:
    """2n+2 tokens on which softmax attention has a Hankel block of rank n+1.

    Tokens 0..n have the keys 0..n; token n+1+i has the query log(i+1) and the key 0.  Row i of the
    block is (i+1)^j / z_i with z_i = sum_j (i+1)^j + i + 1: a row-scaled Vandermonde matrix, whose
    determinant before scaling is prod_{m<=n} m!.
    """

    n: int
    keys: list[int]
    bases: list[int]
    vandermonde: np.ndarray  # [n+1 n+1] integers
    block: np.ndarray  # [n+1 n+1] Fractions, M[n+1:, :n+1]
    determinant: int  # of `vandermonde`

    @property
    def length(self) -> int:
        return 2 * self.n + 2


def softmax_rank_witness(n: int) -> RankWitness:
    """The smallest input on which softmax attention is no recurrence with n states per channel.

    Fewer than 2n+2 tokens have no cut with n+1 tokens on both sides.  Raises ShapeError for n < 1.

    >>> w = softmax_rank_witness(2)
    >>> w.length, w.determinant, w.vandermonde.tolist()
    (6, 2, [[1, 1, 1], [1, 2, 4], [1, 3, 9]])
    """
    if n < 1:
        raise ShapeError(f"softmax_rank_witness: n must be at least 1; got {n}")
    keys, bases = list(range(n + 1)), list(range(1, n + 2))
    vandermonde = np.array([[b**k for k in keys] for b in bases], dtype=object)
    totals = [sum(row) + i + 1 for i, row in enumerate(vandermonde)]
    block = np.array(
        [[Fraction(e, z) for e in row] for row, z in zip(vandermonde, totals, strict=True)],
        dtype=object,
    )
    return RankWitness(n, keys, bases, vandermonde, block, prod(map(factorial, range(1, n + 1))))


@dataclass(frozen=True, eq=False)
class FiniteState(Separation):
    """Hankel rank at most n, against the growing cache of softmax attention and larger states."""

    def has(self, side: Side) -> bool:
        return isinstance(side, AnyRecurrence) or not grows(side)

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """How much the carried state grows from 4 to 8 tokens, relative."""
        sizes = []
        for L in (4, 8):
            tok = family.draw_tokens(rng, L, n=2, p=2, d=2)
            sizes.append(_numbers(family.without_parameters().advance(tok, State())[1]))
        return (sizes[1] - sizes[0]) / max(sizes[1], 1)

    def search(self, a: Side, b: Family) -> Any:
        if b != family("softmax"):
            return many_states(a, b) if isinstance(a, AnyRecurrence) else None
        sizes = (a.n,) if isinstance(a, AnyRecurrence) else SIZES
        return [softmax_rank_witness(n) for n in sizes]

    def claim(self, a: Side, b: Family, witness: Any) -> Claim:
        if isinstance(witness, tuple) and isinstance(a, AnyRecurrence):
            letters, constants = witness
            return ByStates(lower=a.n + 1, has=a, violates=b, letters=letters, constants=constants)
        return ByRank(
            lower=witness[-1].n + 1,
            has=a,
            violates=b,
            states=tuple(w.n for w in witness),
            keys=tuple(tuple(w.keys) for w in witness),
            bases=tuple(tuple(w.bases) for w in witness),
            determinants=tuple(str(w.determinant) for w in witness),
        )


def _numbers(state: State) -> int:
    """How many numbers a streaming state holds."""
    rows = [] if state.tail is None else [x for _, x in state.tail.items()]
    return sum(int(np.size(x)) for x in [state.S, *rows] if x is not None)


FINITE_STATE = FiniteState(known.FINITE_STATE)
