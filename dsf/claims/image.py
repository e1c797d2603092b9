"""Instances under the parameter map of an edge: the same numbers, or outputs that are close.

An edge says that the instance to which it maps parameters has the same outputs, in exact
arithmetic.  A stored instance holds floats, and the map, evaluated in floats, rounds.  The checks
here evaluate the map in balls on the stored numbers of the one side and compare with the stored
numbers of the other.  The edge itself is checked too, and tried at these parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from dsf.claims.exact_tokens import BITS, SMALL, as_ball, size_of
from dsf.claims.nesting import Nesting, edges_named
from dsf.claims.reading import at_most, parameter, positive, require, table, text, witness
from dsf.claims.sides import AS_STORED, FamilyClaim, instance
from dsf.claims.sides import family as named
from dsf.core import printing
from dsf.core.certificate import Scope, Strength
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.worlds import Gap, as_gap, balls, elementwise, precision
from dsf.relations import Nesting as Edge

Arrays = Mapping[str, np.ndarray]
TRIED = 3  # tokens on which the edge is tried at the parameters of a claim
LONGEST = 4096  # tokens that a check may be asked to run
ROOM = 2.0**-21  # relative, of a stored bound: another version of Arb may round otherwise


@dataclass(frozen=True, eq=False, kw_only=True)
class Image(FamilyClaim):
    """What the two kinds of claims share: an edge, and two instances with stored numbers."""

    scope = Scope.INSTANCE
    edge: str = witness(text)
    module: str | None = witness(text, optional=True)
    special: Family = witness(named)
    general: Family = witness(named)
    special_parameters: Arrays = witness(table(parameter))
    general_parameters: Arrays = witness(table(parameter))

    @classmethod
    def of(cls, e: Edge, a: Mechanism, b: Mechanism, **more: Any) -> Self:
        """The claim that b is, or is close to, the instance to which an edge maps a."""
        claim = cls(
            edge=e.name, module=e.module or None, special=e.special, general=e.general,
            special_parameters=a.parameters(), general_parameters=b.parameters(), **more,
        )  # fmt: skip
        vars(claim)["found"] = e  # a module may have made others under this name
        return claim

    @cached_property
    def found(self) -> Edge:
        """The edge of that name, which has to be exact and to map parameters."""
        exact = [e for e in edges_named(self.edge, self.module) if e.params and e.limit is None]
        require(exact, f"{self.edge!r} has no parameter map, or holds only in a limit")
        e = exact[-1]
        require((e.special, e.general) == (self.special, self.general), f"{e.name} joins others")
        return e

    def equations(self) -> Iterator[Any]:
        return self.found.equations()

    @property
    def sides(self) -> tuple[Mechanism, Mechanism]:
        """The two instances, with their stored numbers."""
        return (
            instance(self.special, self.special_parameters),
            instance(self.general, self.general_parameters),
        )

    def image(self) -> Mechanism:
        """The instance to which the first one maps, enclosed in balls of the current precision."""
        e, (a, b) = self.found, self.sides
        for letter, size in e.only.items():
            require(a.sizes[letter] == size, f"{e.name} holds at {letter} = {size} only")
        exact = a.map(balls)
        found = e.params(exact)  # type: ignore[misc]  # `found` has seen that there is one
        theirs = {k: x.shape for k, x in b.parameters().items()}
        ours = {k: x.shape for k, x in found.parameters().items()}
        require(ours == theirs, f"{e.name} maps to parameters of other names or shapes")
        flat = (x for array in found.parameters().values() for x in array.flat)
        require(all(as_ball(x).is_finite() for x in flat), f"{e.name} has no value here")
        return found

    def check_edge(self) -> None:
        """The edge is checked for itself, and both sides of it are run at these parameters."""
        Nesting.of(self.found, Scope.MECHANISM).check()
        with precision(BITS):
            a = self.sides[0].map(balls)
            rng = np.random.default_rng(20240601)
            u = balls(rng.integers(-8, 9, (TRIED, a.d)) / 8)
            y, z = a(u), self.image()(u)
            require(y.shape == z.shape, "the outputs have different shapes")
            near = all(e.is_finite() and abs(e) < SMALL for e in (y - z).flat)
            require(near, f"{self.found.name} does not hold at these parameters")


@dataclass(frozen=True, eq=False, kw_only=True)
class EqualImage(Image, kind="instance-image"):
    """The stored parameters are exactly those of the map: it copies, negates or halves."""

    strength = Strength.EXACT

    @property
    def statement(self) -> str:
        return (
            f"the parameters of this {self.general} are exactly those to which this "
            f"{self.special} maps: {self.found.words} {AS_STORED}"
        )

    def differing(self) -> str:
        """The first parameter that is not certainly the same number; "" if there is none."""
        with precision(BITS):
            found, stored = self.image().parameters(), self.sides[1].map(balls).parameters()
            for name, x in stored.items():
                if not all(bool(p == q) for p, q in zip(found[name].flat, x.flat, strict=True)):
                    return name
        return ""

    def check(self) -> None:
        name = self.differing()
        require(not name, f"the parameter {name} is not exactly that of the map")
        self.check_edge()


@dataclass(frozen=True, eq=False, kw_only=True)
class NearImage(Image, kind="instance-image/near"):
    """The outputs of the two differ by at most `upper` on bounded inputs of bounded length.

    The second instance and the image of the first are run at once, in gaps, with every entry of the
    input known to lie in [-radius, radius] only.
    """

    strength = Strength.ENCLOSED
    upper: float = witness(positive)
    radius: float = witness(positive)
    length: int = witness(at_most(LONGEST))

    @classmethod
    def of(cls, e: Edge, a: Mechanism, b: Mechanism, **more: Any) -> NearImage:
        """The claim with the bound that follows; CertificateError if none does."""
        claim = super().of(e, a, b, upper=1.0, **more)
        told = claim.bound() * (1 + ROOM)
        made = replace(claim, upper=told)
        vars(made)["found"] = e
        return made

    @property
    def statement(self) -> str:
        most, box = printing.at_most(self.upper, 3), printing.exactly(self.radius)
        return (
            f"the outputs of this {self.special} and of this {self.general} are at most {most} "
            f"apart for |u_t| <= {box} (the largest entry) and t <= {self.length}, by the "
            f"parameter map {self.found.words} {AS_STORED}"
        )

    def bound(self) -> float:
        """A float certainly not below any difference of outputs; CertificateError if infinite."""
        with precision(BITS):
            image, stored = self.image(), self.sides[1]
            pairs = {
                k: elementwise(lambda s, i: Gap(s, i - s), balls(x), image.parameters()[k])
                for k, x in stored.parameters().items()
            }
            u = balls(np.zeros((self.length, stored.d)), self.radius)
            y = replace(stored, **pairs)(elementwise(as_gap, u))
            require(all(g.x.is_finite() and g.dx.is_finite() for g in y.flat), "no bound follows")
            return math.nextafter(max((size_of(g.dx) for g in y.flat), default=0.0), math.inf)

    def check(self) -> None:
        found = self.bound()
        require(found <= self.upper, f"only {found:.12g} follows, not {self.upper:.12g}")
        loose = self.upper > found * (1 + 2 * ROOM)
        require(not loose, f"the witnesses prove {found:.12g}: were they changed?")
        self.check_edge()
