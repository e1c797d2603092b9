"""Separations of instances, and by instances: stored parameters and inputs, run in balls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dsf.claims.exact_tokens import BITS
from dsf.claims.reading import (
    count,
    floats,
    many,
    number,
    one_of,
    parameter,
    require,
    table,
    witness,
)
from dsf.claims.separation import below, reproduced
from dsf.claims.sides import FamilyClaim, InvariantClaim, instance
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.worlds import balls, precision
from dsf.relations.invariants import INVARIANTS, InputInvariant

Arrays = Mapping[str, np.ndarray]
BY_INPUTS = {k: x for k, x in INVARIANTS.items() if isinstance(x, InputInvariant)}


@dataclass(frozen=True, eq=False, kw_only=True)
class ByInputs(InvariantClaim, kind="separation/inputs"):
    """An expression in the outputs of one instance, on stored inputs."""

    scope, reference = Scope.MECHANISM, "dsf2026"
    lower: float = witness(number)
    invariant: str = witness(one_of(*BY_INPUTS))
    has: Family = witness(named)
    violates: Family = witness(named)
    parameters: Arrays = witness(table(parameter))
    inputs: tuple[np.ndarray, ...] = witness(many(floats(None, None)))

    @property
    def statement(self) -> str:
        require(self.inputs, "no input is given")
        reason = BY_INPUTS[self.invariant].reason.format(has=self.has, violates=self.violates)
        return f"{self.violates} is not nested in {self.has}: {reason} ({_tokens(self.inputs[0])})"

    def check(self) -> None:
        rule, u = BY_INPUTS[self.invariant], list(self.inputs)
        fits = len(u) == 2 and u[0].shape == u[1].shape and rule.fits(u)
        require(fits, f"{rule.name} is not about these inputs")
        mech = instance(self.violates, self.parameters)
        with precision(BITS):
            exact = mech.map(balls)
            y = [exact(balls(x)) for x in u]
            require(y[0].shape == u[0].shape, "the outputs must be as wide as the inputs")
            reproduced(self.lower, max(below(e) for e in np.ravel(rule.expression(y))))
            for seed in range(3):
                other = self.has.init(d=u[0].shape[-1], n=2, seed=seed).map(balls)
                for e in np.ravel(rule.expression([other(balls(x)) for x in u])):
                    require(bool(e.contains(0)), f"{self.has} does not have the invariant at all")


@dataclass(frozen=True, eq=False, kw_only=True)
class Instances(FamilyClaim, kind="separation/instances"):
    """The outputs of two instances on one input, enclosed and apart."""

    scope, strength = Scope.INSTANCE, Strength.ENCLOSED
    lower: float = witness(number)
    first: Family = witness(named)
    second: Family = witness(named)
    first_parameters: Arrays = witness(table(parameter))
    second_parameters: Arrays = witness(table(parameter))
    inputs: np.ndarray = witness(floats(None, None))
    token: int = witness(count)

    @property
    def statement(self) -> str:
        return (
            f"these instances of {self.first} and {self.second} differ: on {_tokens(self.inputs)} "
            f"the outputs at token {self.token} are apart"
        )

    def check(self) -> None:
        a = instance(self.first, self.first_parameters)
        b = instance(self.second, self.second_parameters)
        with precision(BITS):
            y, z = (mech.map(balls)(balls(self.inputs)) for mech in (a, b))
            require(y.shape == z.shape, "the outputs have different shapes")
            sizes = np.array([[below(e) for e in row] for row in y - z])
            reproduced(self.lower, float(sizes.max()))
        found = int(np.argmax(sizes.max(axis=-1)))
        require(self.token == found, f"the outputs are furthest apart at token {found}")


def _tokens(u: np.ndarray) -> str:
    return f"{len(u)} token{'s' * (len(u) > 1)}"
