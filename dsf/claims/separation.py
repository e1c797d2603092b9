"""What the claims "B is not nested in A" have in common.

A check reads the stored tokens, makes sure that they lie in their domains, runs the equations of
the family that is said to violate the invariant, and bounds the violation away from zero.  That the
other side has it is proved at free tokens, at the sizes that the sentence names
(`dsf.claims.having`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dsf.claims.exact_tokens import Letter, fit, read_letter, read_letters
from dsf.claims.reading import REPRODUCED, require, witness
from dsf.claims.sides import FamilyClaim
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family


@dataclass(frozen=True, eq=False, kw_only=True)
class LetterClaim(FamilyClaim):
    """A separation by exact tokens, the letters, of the family that violates the invariant."""

    scope, strength, reference = Scope.RECURRENCE, Strength.ENCLOSED, "dsf2026"
    has: Any = witness(named)
    violates: Family = witness(named)
    letters: dict[str, Letter] = witness(read_letters)
    constants: Letter = witness(read_letter)

    def fit(self, names: Iterable[str]) -> None:
        """The letters are those that are used, and lie in their domains."""
        fit(self.violates, self.letters, self.constants)
        used = sorted(names)
        require(set(self.letters) == set(used), f"the letters must be {', '.join(used)}")


def below(ball: Any) -> float:
    """The nearest float to the lower end of |ball|; 0 where it contains 0."""
    if not ball.is_finite() or ball.contains(0):
        return 0.0
    return float(abs(ball).lower())


def reproduced(told: float, found: Any) -> None:
    """The stored bound is positive, not above |found|, and the one that follows from the witnesses.

    It is compared with the ball exactly, not with a float near its end.
    """
    import flint

    require(told > 0.0, "the gap must be positive")
    size, near = abs(found), below(found)
    require(bool(flint.arb(told) <= size), f"only a gap of {near:.12g} follows, not {told:.12g}")
    require(told >= near * (1 - REPRODUCED), f"the witnesses prove {near:.12g}: were they changed?")


def largest(balls: Iterable[Any]) -> Any:
    """The ball that is furthest from zero."""
    return max(balls, key=below)
