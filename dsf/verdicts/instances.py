"""Strategies for two instances: equal, equal up to rounding, or an input on which they differ."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from dsf.claims.image import EqualImage, NearImage
from dsf.claims.same import SameInstance, same_numbers
from dsf.core.catalogue import family_of
from dsf.core.certificate import Scope
from dsf.core.errors import CertificateError
from dsf.core.mechanism import Mechanism
from dsf.relations.edge import Nesting
from dsf.verdicts.coordinates import coordinates, same_scores
from dsf.verdicts.finding import Finding, Outcome
from dsf.verdicts.lattice.paths import edges
from dsf.verdicts.question import Question
from dsf.verdicts.rules import found
from dsf.verdicts.separations import separate_instances
from dsf.verdicts.separations.instances import as_stored

RADIUS = 1.0  # the inputs for which outputs are bounded: the largest entry of a token,
LENGTH = 16  # and how many tokens (a complex ball is a box, which grows whenever it is turned),
WORK = 2**18  # or fewer, if tokens times parameters were more than that,
SHORTEST = 4  # but enough for a state to be read


def equal_parameters(q: Question) -> Outcome:
    """Equality of two instances: the same numbers, exactly those that a proved edge maps to, or
    the same map in other coordinates of the state, or of queries and keys.

    Two time-invariant instances are not decided by an exact minimal realization: their transitions
    are exponentials of the parameters, not rational numbers, and enclosures can only refute.
    """
    finding = _equal(q)
    return Outcome(
        () if finding is None else (finding,),
        "equal parameters, directly, through the parameter map of a proved equality or in other "
        "coordinates of the state",
    )


def different_outputs(q: Question) -> Outcome:
    """An input on which the outputs are apart, and a bound where parameters differ by rounding."""
    looked_for = "an input on which the outputs differ by more than their enclosures: none found"
    if _equal(q) is not None:
        return Outcome((), looked_for)
    a, b = _instances(q)
    near, apart = _near(a, b), separate_instances(a, b)
    differ = [] if apart is None else [apart]
    if near is None:
        return Outcome((found("apart", q.sides, differ),) if differ else (), looked_for)
    e, claim = near
    proofs = [claim.certificate(), e.certificate(Scope.MECHANISM)]
    if differ and claim.upper > claim.radius * _half_of_the_digits(a, b):
        return Outcome((found("apart", q.sides, [*differ, *proofs]),), looked_for)
    return Outcome((found("rounded", q.sides, [*proofs, *differ]),), looked_for)


def _instances(q: Question) -> tuple[Mechanism, Mechanism]:
    assert isinstance(q.left, Mechanism) and isinstance(q.right, Mechanism)  # scope instance
    return as_stored(q.left), as_stored(q.right)


def _equal(q: Question) -> Finding | None:
    a, b = _instances(q)
    left, right = a.parameters(), b.parameters()
    same = left.keys() == right.keys() and all(same_numbers(left[k], right[k]) for k in left)
    if family_of(a) == family_of(b) and same:
        claim = SameInstance(family=family_of(a), left=left, right=right)
        return found("same", q.sides, [claim.certificate()])
    for e, x, y in _images(a, b):
        image = EqualImage.of(e, x, y)
        try:
            exact = not image.differing()
        except CertificateError:  # outside of the domain of the map
            continue
        if exact:
            proofs = [image.certificate(), e.certificate(Scope.MECHANISM)]
            return found("image", q.sides, proofs)
    other = coordinates(a, b) or same_scores(a, b)
    return None if other is None else found("same", q.sides, [other.certificate()])


def _near(a: Mechanism, b: Mechanism) -> tuple[Nesting, NearImage] | None:
    """The edge whose parameter map one of them is up to rounding, with a bound on the outputs."""
    for e, x, y in _images(a, b):
        size = sum(array.size for array in y.parameters().values())
        length = min(LENGTH, max(SHORTEST, WORK // size))
        try:
            return e, NearImage.of(e, x, y, radius=RADIUS, length=length)
        except CertificateError:  # no bound follows
            continue
    return None


def _images(a: Mechanism, b: Mechanism) -> Iterator[tuple[Nesting, Mechanism, Mechanism]]:
    """The edges under whose parameter map one is close to the other, in floats."""
    for e in edges():
        if e.params is None or e.limit is not None:
            continue
        for x, y in ((a, b), (b, a)):
            joins = (e.special, e.general) == (family_of(x), family_of(y))
            if joins and all(x.sizes[k] == s for k, s in e.only.items()) and _close(e, x, y):
                yield e, x, y


def _close(e: Nesting, x: Mechanism, y: Mechanism) -> bool:
    assert e.params is not None  # `_images` has seen that there is one
    with np.errstate(all="ignore"):
        p, q = e.params(x).parameters(), y.parameters()
    near = _half_of_the_digits(x, y)  # further apart, it is not rounding
    same_shapes = {k: v.shape for k, v in p.items()} == {k: v.shape for k, v in q.items()}
    return same_shapes and all(np.allclose(p[k], q[k], near, near) for k in p)


def _half_of_the_digits(*mechs: Mechanism) -> float:
    """The relative accuracy at which half of the digits of the coarsest parameter are lost."""
    arrays = chain.from_iterable(m.parameters().values() for m in mechs)
    return float(np.sqrt(max(np.finfo(x.dtype).eps for x in arrays)))
