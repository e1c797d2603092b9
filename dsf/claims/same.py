"""The trivial equalities: one family, or one instance, described twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.reading import any_array, require, table, witness
from dsf.claims.sides import FamilyClaim, instance
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
    """Two sets of parameters of one family with the same names and the same bits."""

    scope, strength = Scope.INSTANCE, Strength.EXACT
    family: Family = witness(named)
    left: dict[str, np.ndarray] = witness(table(any_array))
    right: dict[str, np.ndarray] = witness(table(any_array))

    @property
    def statement(self) -> str:
        return f"the two {self.family} have the same parameters, bit by bit"

    def check(self) -> None:
        instance(self.family, self.left)
        require(self.left.keys() == self.right.keys(), "the two have parameters of different names")
        for k in self.left:
            require(same_bits(self.left[k], self.right[k]), f"the parameter {k} differs")


def same_bits(x: Any, y: Any) -> bool:
    """Arrays of one dtype and shape that hold the same bits, or equal symbols."""
    x, y = np.asarray(x), np.asarray(y)
    if (x.dtype, x.shape) != (y.dtype, y.shape):
        return False
    if x.dtype == object:
        return all(type(a) is type(b) and bool(a == b) for a, b in zip(x.flat, y.flat, strict=True))
    return x.tobytes() == y.tobytes()
