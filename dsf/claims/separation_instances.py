"""Separations of instances, and by instances: stored parameters and inputs, run in balls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsf.claims import having
from dsf.claims.exact_tokens import BITS
from dsf.claims.free_tokens import array
from dsf.claims.reading import (
    count,
    many,
    number,
    one_of,
    parameter,
    require,
    stored,
    table,
    witness,
)
from dsf.claims.separation import below, largest, reproduced
from dsf.claims.sides import AS_STORED, FamilyClaim, instance
from dsf.claims.sides import family as named
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.printing import n_tokens
from dsf.core.worlds import balls, precision
from dsf.core.worlds.modular import Field
from dsf.relations.invariants import INVARIANTS, InputInvariant

Arrays = Mapping[str, np.ndarray]
FREE_LENGTH = 3  # of the inputs on which the other side is looked at too
BY_INPUTS = {k: x for k, x in INVARIANTS.items() if isinstance(x, InputInvariant)}


@dataclass(frozen=True, eq=False, kw_only=True)
class ByInputs(FamilyClaim, kind="separation/inputs"):
    """An expression in the outputs of one instance, on stored inputs."""

    scope, strength, reference = Scope.MECHANISM, Strength.ENCLOSED, "dsf2026"
    lower: float = witness(number)
    invariant: str = witness(one_of(*BY_INPUTS))
    has: Family = witness(named)
    violates: Family = witness(named)
    parameters: Arrays = witness(table(parameter))
    inputs: tuple[np.ndarray, ...] = witness(many(stored(None, None)))

    @property
    def statement(self) -> str:
        require(self.inputs, "no input is given")
        reason = BY_INPUTS[self.invariant].reason.format(has=self.has, violates=self.violates)
        (L, d), free = self.inputs[0].shape, having.sizes(self.has)
        return (
            f"{self.violates} is not nested in {self.has}: {reason} ({n_tokens(L)}, d = {d}; free "
            f"parameters and inputs of {self.has}, n = {', '.join(str(n) for n, _ in free)})"
        )

    def check(self) -> None:
        rule, u = BY_INPUTS[self.invariant], list(self.inputs)
        fits = len(u) == 2 and u[0].shape == u[1].shape and rule.fits(u)
        require(fits, f"{rule.name} is not about these inputs")
        mech = instance(self.violates, self.parameters)
        with precision(BITS):
            exact = mech.map(balls)
            y = [exact(balls(x)) for x in u]
            require(y[0].shape == u[0].shape, "the outputs must be as wide as the inputs")
            reproduced(self.lower, largest(np.ravel(rule.expression(y))))
        self._proved(rule, len(u[0]), u[0].shape[-1])

    def _proved(self, rule: InputInvariant, L: int, d: int) -> None:
        """The other side has it for all parameters and inputs, of this length and a longer one."""
        having.of_its_kind(self.has)
        for length in {L, FREE_LENGTH}:

            def gaps(F: Field, n: int, p: int, length: int = length) -> Iterator[Any]:
                like = self.has.init(d=d, n=n, p=d)
                free = {k: array(F, k, x.shape) for k, x in like.parameters().items()}
                mech = replace(like, **free)
                u = rule.pair(array(F, "u", (length, d)), array(F, "w", (length, d)))
                yield from np.ravel(rule.expression([mech(x) for x in u]))

            having.identity(self.has, gaps, f"{self.has} does not have the invariant {rule.name!r}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Instances(FamilyClaim, kind="separation/instances"):
    """The outputs of two instances on one input, enclosed and apart."""

    scope, strength = Scope.INSTANCE, Strength.ENCLOSED
    lower: float = witness(number)
    first: Family = witness(named)
    second: Family = witness(named)
    first_parameters: Arrays = witness(table(parameter))
    second_parameters: Arrays = witness(table(parameter))
    inputs: np.ndarray = witness(stored(None, None))
    token: int = witness(count)

    @property
    def statement(self) -> str:
        return (
            f"these instances of {self.first} and {self.second} differ: on "
            f"{n_tokens(len(self.inputs))} the outputs at token {self.token} are apart "
            f"{AS_STORED}"
        )

    def check(self) -> None:
        a = instance(self.first, self.first_parameters)
        b = instance(self.second, self.second_parameters)
        with precision(BITS):
            y, z = (mech.map(balls)(balls(self.inputs)) for mech in (a, b))
            require(y.shape == z.shape, "the outputs have different shapes")
            sizes = np.array([[below(e) for e in row] for row in y - z])
            reproduced(self.lower, largest((y - z).flat))
        found = int(np.argmax(sizes.max(axis=-1)))
        require(self.token == found, f"the outputs are furthest apart at token {found}")
