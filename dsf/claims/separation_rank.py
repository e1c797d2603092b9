"""Softmax attention against finitely many states: Hankel blocks whose rank grows."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, prod

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS
from dsf.claims.reading import at_most, count, many, require, text, witness
from dsf.claims.sides import FamilyClaim, side
from dsf.claims.sides import family as named
from dsf.core.catalogue import family
from dsf.core.certificate import Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.core.worlds import precision
from dsf.relations.invariants import FINITE_STATE, double, window

LARGEST = 100  # states
NARROW = 1e-30  # of what encloses an entry in BITS bits; a wider ball decides nothing


@dataclass(frozen=True, eq=False, kw_only=True)
class ByRank(FamilyClaim, kind="separation/rank"):
    """Integer Vandermonde determinants, and that softmax really has those entries."""

    scope, strength, reference = Scope.RECURRENCE, Strength.EXACT, FINITE_STATE.reference
    lower: int = witness(count)
    has: Family | AnyRecurrence = witness(side)
    violates: Family = witness(named)
    states: tuple[int, ...] = witness(many(at_most(LARGEST)))
    keys: tuple[tuple[int, ...], ...] = witness(many(many(at_most(LARGEST))))
    bases: tuple[tuple[int, ...], ...] = witness(many(many(at_most(LARGEST + 1))))
    determinants: tuple[str, ...] = witness(many(text))

    @property
    def statement(self) -> str:
        start, sizes = f"{self.violates} is not nested in {self.has}: ", self.states
        require(sizes, "no size is given")
        if len(sizes) == 1:
            n = sizes[0]
            return (
                f"{start}{2 * n + 2} tokens give it a Hankel block of rank {n + 1} (Vandermonde "
                f"determinant {prod(map(factorial, range(1, n + 1)))})"
            )
        return (
            f"{start}2n+2 tokens give it a Hankel block of rank n+1 for every n (Vandermonde "
            f"determinant prod m!, recomputed for n = {sizes[0]}..{sizes[-1]}), {self._bounded()}"
        )

    def _bounded(self) -> str:
        """What bounds the rank of the blocks of the other side."""
        if isinstance(self.has, AnyRecurrence):
            raise CertificateError(f"several sizes are about families, not about {self.has}")
        if width := window(self.has):
            return f"the {width - 1} earlier tokens that {self.has} keeps give rank {width - 1}"
        rank = "2n (they are complex)" if double(self.has) == 2 else "n"
        return f"n states of {self.has} give at most rank {rank}"

    def check(self) -> None:
        require(self.violates == family("softmax"), "this argument is about softmax attention")
        lengths = {len(x) for x in (self.states, self.keys, self.bases, self.determinants)}
        require(len(lengths) == 1, "keys, bases and determinants are needed for each size")
        for n, keys, bases, told in zip(
            self.states, self.keys, self.bases, self.determinants, strict=True
        ):
            # the determinant in the claim is that of these keys and queries
            fits = keys == tuple(range(n + 1)) and bases == tuple(range(1, n + 2))
            require(fits, f"n = {n} needs the keys 0..{n} and the queries log 1..{n + 1}")
            self._check_block(n, keys, bases, told)
        if isinstance(self.has, AnyRecurrence):
            require(self.states == (self.has.n,), f"{self.has} has not {self.states} states")
        else:
            having.bounded_state(self.has)
            n = len(self.states)
            require(n > 1 and self.states == tuple(range(1, n + 1)), "the sizes must be 1, 2, ...")
        require(self.lower == self.states[-1] + 1, f"this proves {self.states[-1] + 1} states")

    def _check_block(
        self, n: int, keys: tuple[int, ...], bases: tuple[int, ...], told: str
    ) -> None:
        import flint

        powers = [[b**k for k in keys] for b in bases]
        determinant = flint.fmpz_mat(powers).det()
        require(determinant != 0, f"the block for n = {n} is singular")
        require(str(determinant) == told, f"the determinant for n = {n} is {determinant}")
        with precision(BITS):
            _softmax_block(self.violates, keys, bases, powers)


def _softmax_block(
    f: Family, keys: tuple[int, ...], bases: tuple[int, ...], powers: list[list[int]]
) -> None:
    """Softmax on these tokens encloses powers[i][j] / (sum_j powers[i][j] + i + 1)."""
    import flint

    m = len(keys)
    L = 2 * m
    q = [flint.arb(0)] * m + [flint.arb(b).log() for b in bases]
    k = [flint.arb(e) for e in keys] + [flint.arb(0)] * m
    column = [np.array(x, dtype=object).reshape(L, 1) for x in (q, k)]
    v = np.array([[flint.arb(int(i == j)) for j in range(L)] for i in range(L)], dtype=object)
    M = f.without_parameters().advance(Tokens(q=column[0], k=column[1], v=v), State())[0]
    for i, row in enumerate(powers):
        total = sum(row) + i + 1
        for j, power in enumerate(row):
            entry = M[m + i, 0, j]
            same = entry.contains(flint.fmpq(power, total))
            require(bool(same), "softmax has another Hankel block")
            require(bool(entry.rad() < NARROW), "the enclosure of the block decides nothing")
