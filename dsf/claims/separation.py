"""What the claims "B is not nested in A" have in common.

A check reads the stored tokens, makes sure that they lie in their domains, runs the equations of
the family that is said to violate the invariant, and bounds the violation away from zero.  The
other side, "every member has it", is the theorem of the invariant (`dsf.relations.invariants`);
here it is put to the test on random rational tokens of several sizes, which would refute a false
claim but cannot prove a true one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import Letter, draw_letters, fit, read_letter, read_letters
from dsf.claims.reading import REPRODUCED, require, witness
from dsf.claims.sides import InvariantClaim
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope
from dsf.core.family import Family
from dsf.relations.invariants import paired

NARROW = 1e-30  # of what encloses an exact zero in BITS bits; a wider ball decides nothing


@dataclass(frozen=True, eq=False, kw_only=True)
class LetterClaim(InvariantClaim):
    """A separation by exact tokens, the letters, of the family that violates the invariant."""

    scope, reference = Scope.RECURRENCE, "dsf2026"
    has: Any = witness(named)
    violates: Family = witness(named)
    letters: dict[str, Letter] = witness(read_letters)
    constants: Letter = witness(read_letter)

    def fit(self, names: Iterable[str]) -> None:
        """The letters are those that are used, and lie in their domains."""
        fit(self.violates, self.letters, self.constants)
        used = sorted(names)
        require(set(self.letters) == set(used), f"the letters must be {', '.join(used)}")


def draws(
    has: Family, names: str, seed: int, count: int = 4
) -> Iterator[tuple[int, dict[str, Letter], Letter]]:
    """(n, letters, constants): random rational tokens of a family, at a few sizes."""
    for k in range(count):
        n = 2 * (1 + k % 2) if paired(has) else 1 + k % 3
        letters, constants = draw_letters(has, names, n, np.random.default_rng(seed + k))
        yield n, letters, constants


def below(ball: Any) -> float:
    """A float certainly not above |ball|; 0 where nothing follows."""
    if not ball.is_finite() or ball.contains(0):
        return 0.0
    return math.nextafter(float(abs(ball).lower()), 0.0)


def reproduced(told: float, found: float) -> None:
    """The stored bound is positive and is the one that follows from the witnesses."""
    require(told > 0.0, "the gap must be positive")
    require(told <= found, f"only a gap of {found:.12g} follows, not {told:.12g}")
    require(
        told >= found * (1 - REPRODUCED), f"the witnesses prove {found:.12g}: were they changed?"
    )
