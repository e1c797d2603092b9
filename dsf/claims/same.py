"""The trivial equalities: one family, or one instance, described twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsf.claims.reading import parameter, require, table, witness
from dsf.claims.sides import AS_STORED, FamilyClaim, instance
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family


@dataclass(frozen=True, eq=False, kw_only=True)
class SameFamily(FamilyClaim, kind="same-family"):
    """Two names of the same class with the same options."""

    scope, strength = Scope.RECURRENCE, Strength.EXACT
    left: Family = witness(named)
    right: Family = witness(named)

    @property
    def statement(self) -> str:
        return f"{self.left!r} and {self.right!r} are the same class with the same options"

    def check(self) -> None:
        same = self.left == self.right
        require(same, f"{self.left} and {self.right} differ in class or options")


@dataclass(frozen=True, eq=False, kw_only=True)
class SameInstance(FamilyClaim, kind="same-instance"):
    """Two sets of parameters of one family with the same names and the same numbers.

    Numbers, not bits: -0.0 is 0, and a float32 is the float64 of the same value.
    """

    scope, strength = Scope.INSTANCE, Strength.EXACT
    family: Family = witness(named)
    left: dict[str, np.ndarray] = witness(table(parameter))
    right: dict[str, np.ndarray] = witness(table(parameter))

    @property
    def statement(self) -> str:
        return f"the two {self.family} have the same parameters, number by number {AS_STORED}"

    def check(self) -> None:
        instance(self.family, self.left)
        require(self.left.keys() == self.right.keys(), "the two have parameters of different names")
        for k in self.left:
            require(same_numbers(self.left[k], self.right[k]), f"the parameter {k} differs")


def same_numbers(x: np.ndarray, y: np.ndarray) -> bool:
    """Arrays of floats of one shape that hold the same finite numbers."""
    return bool(np.array_equal(x, y) and np.all(np.isfinite(x)))
