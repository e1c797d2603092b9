"""Lower bounds on the number of states, and on the error, from one Hankel block of an operator.

Everything is recomputed with numpy alone.  Where the finder scans forward and factors E'E, the
checks scan backward and factor E E'; the rounding bounds are derived anew (`dsf.claims.singular`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import (
    REPRODUCED,
    count,
    floats,
    number,
    require,
    size,
    table,
    witness,
)
from dsf.claims.singular import smallest
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, exactly, n_states

REFERENCE = "dewilde1998, ch. 5; rounding: rump2006"
ROUNDING = 1e-14  # absolute, of a residual that is 0 but for rounding


@dataclass(frozen=True, eq=False, kw_only=True)
class HankelLower(Claim, kind="hankel-lower"):
    """`lower` singular values of one Hankel block exceed the error asked for."""

    scope, strength, reference = Scope.OPERATOR, Strength.ENCLOSED, REFERENCE
    lower: int = witness(count)
    H: np.ndarray = witness(floats(None, None))
    cut: int = witness(count)
    U: np.ndarray = witness(floats(None, None))
    V: np.ndarray = witness(floats(None, None))
    error: float = witness(size)
    radius: float = witness(size)
    residuals: Mapping[str, float] = witness(table(number))

    @property
    def statement(self) -> str:
        return (
            f"error {exactly(self.error)} in the operator 2-norm{within(self.radius)} needs at "
            f"least {n_states(self.lower)} of the causal part (Hankel block at cut {self.cut})"
        )

    def check(self) -> None:
        fit_cut(self.H, self.cut)
        sigma, plain = smallest(self.H, self.U, self.V)
        found = self.U.shape[1]
        require(self.lower == found, f"the directions prove {found}, not {self.lower}")
        floor = Fraction(self.error) + Fraction(self.radius)
        follows = found == 0 or Fraction(sigma) > floor
        require(follows, f"sigma_{found} >= {sigma:.6g} is all that follows")
        same_residuals(self.residuals, sigma=(plain, 0.0))


@dataclass(frozen=True, eq=False, kw_only=True)
class HankelGap(Claim, kind="hankel-gap"):
    """The singular value number `states` + 1 of one Hankel block bounds the error from below."""

    scope, strength, reference = Scope.OPERATOR, Strength.ENCLOSED, REFERENCE
    lower: float = witness(size)
    H: np.ndarray = witness(floats(None, None))
    cut: int = witness(count)
    U: np.ndarray = witness(floats(None, None))
    V: np.ndarray = witness(floats(None, None))
    states: int = witness(count)
    radius: float = witness(size)
    residuals: Mapping[str, float] = witness(table(number))

    @property
    def statement(self) -> str:
        return (
            f"{n_states(self.states)} of the causal part, operator 2-norm{within(self.radius)}: "
            f"the error is at least "
            f"{at_least(self.lower, 6)} (Hankel block at cut {self.cut})"
        )

    def check(self) -> None:
        fit_cut(self.H, self.cut)
        sigma, plain = smallest(self.H, self.U, self.V)
        needed = self.states + 1
        require(self.U.shape[1] == needed, f"{self.states} states need {needed} directions")
        proved = Fraction(sigma) - Fraction(self.radius)
        follows = self.lower == 0.0 or self.lower <= proved
        require(follows, f"only {float(proved):.6g} follows")
        same_residuals(self.residuals, sigma=(plain, 0.0))


def fit_cut(H: np.ndarray, cut: int) -> None:
    """The columns of M[k:, :k] are those of k inputs."""
    columns = H.shape[1]
    fits = columns % cut == 0 < columns if cut else columns == 0
    require(fits, f"a block with {columns} columns does not belong to the cut {cut}")


def same_residuals(told: Mapping[str, float], **found: tuple[float, float]) -> None:
    """The recorded residuals are those of these witnesses, to rounding: name=(value, allowance)."""
    require(told.keys() == found.keys(), f"the residuals must be {', '.join(found)}")
    for name, (value, off) in found.items():
        close = abs(told[name] - value) <= REPRODUCED * abs(value) + off + ROUNDING
        require(close, f"residual {name} is {value:.12g}, not {told[name]:.12g}")


def within(radius: float) -> str:
    """The end of "in the operator 2-norm", if the operator is not known exactly."""
    return f", all operators within {at_least(radius, 3)} of M" if radius else ""
