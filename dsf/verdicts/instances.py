"""Strategies for two instances: the same parameters, or an input on which they differ."""

from __future__ import annotations

from dsf.claims.same import SameInstance, same_bits
from dsf.core.catalogue import family_of
from dsf.core.certificate import Scope
from dsf.core.mechanism import Mechanism
from dsf.verdicts.finding import Finding, Outcome, Verdict
from dsf.verdicts.lattice.paths import edges
from dsf.verdicts.question import Question
from dsf.verdicts.rules import Sides, found
from dsf.verdicts.separations import separate_instances


def equal_parameters(q: Question) -> Outcome:
    """Equality of two instances: the same numbers, or those that a proved edge maps to.

    Two time-invariant instances are not decided by an exact minimal realization: their transitions
    are exponentials of the parameters, not rational numbers, and enclosures can only refute.
    """
    finding = _equal(*_instances(q))
    return Outcome(
        () if finding is None else (finding,),
        "equal parameters, directly or through the parameter map of a proved equality",
    )


def different_outputs(q: Question) -> Outcome:
    """An input on which the enclosures of the outputs are apart."""
    looked_for = "an input on which the outputs differ by more than their enclosures: none found"
    a, b = _instances(q)
    certificate = separate_instances(a, b) if _equal(a, b) is None else None
    if certificate is None:
        return Outcome((), looked_for)
    return Outcome((found("apart", q.sides, [certificate]),), looked_for)


def _instances(q: Question) -> tuple[Mechanism, Mechanism]:
    assert isinstance(q.left, Mechanism) and isinstance(q.right, Mechanism)  # scope instance
    return q.left, q.right


def _equal(a: Mechanism, b: Mechanism) -> Finding | None:
    left, right = family_of(a), family_of(b)
    if left == right and _same_arrays(a, b):
        claim = SameInstance(family=left, left=a.parameters(), right=b.parameters())
        return found("same", Sides(repr(left), repr(right), Scope.INSTANCE), [claim.certificate()])
    for e in edges():
        for x, y, special, general in ((a, b, left, right), (b, a, right, left)):
            if e.params is None or e.limit is not None:
                continue
            if (e.special, e.general) == (special, general) and _same_arrays(e.params(x), y):
                text = f"the parameters of {general} are those to which {special} maps"
                return Finding(Verdict.EQUAL, text, (e.certificate(Scope.MECHANISM),))
    return None


def _same_arrays(a: Mechanism, b: Mechanism) -> bool:
    p, q = a.parameters(), b.parameters()
    return p.keys() == q.keys() and all(same_bits(p[k], q[k]) for k in p)
