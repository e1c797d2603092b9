"""The GRU is no linear time-varying system, by its response to a constant and by its step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.claims.separation_response import MOST_BITS, ByResponse, ByStep, hankel_determinant
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.core.state import State
from dsf.core.worlds import precision
from dsf.mechanisms.rnn.gru import GRU
from dsf.relations import invariants as known
from dsf.relations.invariants import double, is_ltv
from dsf.verdicts.properties import properties
from dsf.verdicts.separations.core import TINY, Separation, Side, below, drawn
from dsf.verdicts.separations.words import BITS, Alphabet, alphabet, enclosures, floats

SIZES = (1, 2, 3, 4, 5)


def all_ones(family: Family) -> Alphabet:
    """One state, one token x, all of whose entries and weights are 1."""
    letters = alphabet(family, "x", n=1)
    one = {k: np.full_like(v, Fraction(1)) for k, v in letters.letters["x"].items()}
    constants = {k: np.full_like(v, Fraction(1)) for k, v in letters.constants.items()}
    return replace(letters, letters={"x": one}, constants=constants)


def response_determinant(letters: Alphabet, n: int) -> tuple[Any, int]:
    """det of the (n+2) x (n+2) Hankel matrix of the response to the token x, and the bits used.

    The ball excludes zero; its precision is doubled until it does (None after 10 000 bits).
    """
    bits = BITS
    while bits <= MOST_BITS:
        with precision(bits):
            found = hankel_determinant(letters.outputs("x" * (2 * n + 3), enclosures)[:, 0])
            if not found.contains(0):
                return found, bits
        bits *= 2
    return None, bits


@dataclass(frozen=True, eq=False)
class ResponseOrder(Separation):
    """The response of n states to a constant token obeys a linear recurrence of order n + 1."""

    def has(self, side: Side) -> bool:
        if isinstance(side, AnyRecurrence):
            return side.current_token_only
        return properties(side).affine and "pos" not in side.spec

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        """The relative error of the best recurrence of order n + 1 for a drawn response."""
        n = 2
        y = drawn(family, "x", n, rng).outputs("x" * 24, floats)
        order = n * double(family) + 1
        worst = 0.0
        for column in y.T:
            H = np.lib.stride_tricks.sliding_window_view(column, order + 1)
            sigma = np.linalg.svd(H / max(np.abs(H).max(), TINY), compute_uv=False)
            worst = max(worst, float(sigma[-1]))
        return worst

    def search(self, a: Side, b: Family) -> dict[int, tuple[Any, int]] | None:
        """n -> (determinant, bits)."""
        if not issubclass(b.cls, GRU):
            return None
        sizes = (a.n,) if isinstance(a, AnyRecurrence) else SIZES
        found = {n: response_determinant(all_ones(b), n) for n in sizes}
        return None if any(d is None for d, _ in found.values()) else found

    def claim(self, a: Side, b: Family, witness: dict[int, tuple[Any, int]]) -> ByResponse:
        letters = all_ones(b)
        return ByResponse(
            lower=below(witness[max(witness)][0]),
            has=a,
            violates=b,
            states=tuple(witness),
            bits=tuple(bits for _, bits in witness.values()),
            letters=letters.letters,
            constants=letters.constants,
            residuals={f"determinant {n}": float(d) for n, (d, _) in witness.items()},
        )


RESPONSE_ORDER = ResponseOrder(known.RESPONSE_ORDER)


@dataclass(frozen=True, eq=False)
class AffineStep(Separation):
    """One step from the states 0, 1/2 and 1 with the same token."""

    def has(self, side: Side) -> bool:
        return isinstance(side, AnyRecurrence) or is_ltv(side)

    def defect(self, family: Family, rng: np.random.Generator) -> float:
        mech = family.without_parameters()
        tok = family.draw_tokens(rng, 3, n=2, p=2, d=2)
        first, last = (
            tok.part(i, j, mech.token_fields, mech.substeps) for i, j in ((0, 2), (2, 3))
        )
        start = mech.advance(first, State())[1]
        shape = np.shape(start.S)
        h0, h1 = rng.standard_normal((2, *shape))

        def step(h: np.ndarray) -> np.ndarray:
            # the outputs of such states need not be defined, so nothing is read
            return mech.outputs(*mech.behind(last, State(h, start.tail, start.t)), h)[1]

        gap = step((h0 + h1) / 2) - (step(h0) + step(h1)) / 2
        return float(np.max(np.abs(gap)) / np.max(np.abs([h0, h1])))

    def search(self, a: Side, b: Family) -> Alphabet | None:
        return all_ones(b) if issubclass(b.cls, GRU) else None

    def claim(self, a: Side, b: Family, witness: Alphabet) -> ByStep:
        with precision(BITS):
            gap = below(midpoint_defect(witness))
        return ByStep(
            lower=gap, has=a, violates=b, letters=witness.letters, constants=witness.constants
        )


def midpoint_defect(letters: Alphabet) -> Any:
    """f(1/2) - (f(0) + f(1))/2 for the step f from a state to the next one at the token x."""
    mech, tok = letters.family.without_parameters(), letters.tokens("x", enclosures)

    def step(h: Fraction) -> Any:
        start = State(enclosures(np.array([[h]], dtype=object)))
        return mech.advance(tok, start)[1].S[0, 0]

    return step(Fraction(1, 2)) - (step(Fraction(0)) + step(Fraction(1))) / 2


AFFINE_STEP = AffineStep(known.AFFINE_STEP)
