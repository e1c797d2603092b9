"""What the claims "B is not nested in A" have in common.

A check reads the stored tokens, makes sure that they lie in their domains, runs the equations of
the family that is said to violate the invariant, and bounds the violation away from zero.  The
other side, "every member has it", is the theorem of the invariant (`dsf.relations.invariants`);
here it is put to the test on random rational tokens of several sizes, which would refute a false
claim but cannot prove a true one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsf.claims.exact_tokens import Letter, draw_letters
from dsf.claims.reading import REPRODUCED, require
from dsf.core.family import Family
from dsf.relations.invariants import paired

NARROW = 1e-30  # of what encloses an exact zero in BITS bits; a wider ball decides nothing


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
