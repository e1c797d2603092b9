"""Separations: named invariants with a theorem, the families that have them, and witnesses.

`separate(a, b)` proves that one family is not nested in another: never by a failed search, always
by an invariant that every member of the one has and a small exact input of the other violates.
"""

from __future__ import annotations

from dsf.core.catalogue import family
from dsf.core.certificate import Certificate, Scope
from dsf.core.family import Family
from dsf.core.opponents import AnyRecurrence
from dsf.verdicts.separations.core import Separation, Side
from dsf.verdicts.separations.inputs import CHANNELS, SUPERPOSITION
from dsf.verdicts.separations.instances import separate_instances
from dsf.verdicts.separations.invariants import (
    ADDITIVE,
    COMMUTING,
    CONSTANTS,
    MEMORY,
    ORDER_BLIND,
    RESPONSE,
    WINDOW,
)
from dsf.verdicts.separations.rank import FINITE_STATE, RankWitness, softmax_rank_witness
from dsf.verdicts.separations.recall import one_state_gap, recall_gap, recall_operator
from dsf.verdicts.separations.response import AFFINE_STEP, RESPONSE_ORDER
from dsf.verdicts.separations.tails import FORGETTING, INVERTIBLE, SETTLING, SIGN_CHANGES

# the most telling first
SEPARATIONS: tuple[Separation, ...] = (
    ORDER_BLIND,
    FINITE_STATE,
    SIGN_CHANGES,
    COMMUTING,
    ADDITIVE,
    CONSTANTS,
    RESPONSE,
    MEMORY,
    WINDOW,
    INVERTIBLE,
    FORGETTING,
    SETTLING,
    RESPONSE_ORDER,
    SUPERPOSITION,
    CHANNELS,
    AFFINE_STEP,
)


def separate(a: Side | str, b: Side | str) -> tuple[Certificate, ...]:
    """All proofs that b is not nested in a, and then that a is not nested in b.

    Each claim names its direction; `witnesses["has"]` is the side with the invariant and
    `witnesses["violates"]` the one outside of it.  Sides are families, their names, or
    `dsf.recurrence(n)`.  Where an invariant excludes limits too, those that do not are left out.
    Empty if no invariant tells the two apart: that proves nothing.

    >>> import dsf
    >>> [c.claim for c in separate(dsf.gla, dsf.deltanet)][0][:29]
    'deltanet is not nested in gla'
    """
    left, right = _side(a), _side(b)
    return (*_not_nested(left, right), *_not_nested(right, left))


def _not_nested(a: Side, b: Side) -> tuple[Certificate, ...]:
    """All proofs that b is not nested in a."""
    found = [(s.invariant, s.certificate(a, b)) for s in SEPARATIONS]
    proofs = [(i, c) for i, c in found if c is not None]
    limits_too = any(i.closed and i.scope is Scope.RECURRENCE for i, _ in proofs)
    return tuple(c for i, c in proofs if i.closed or not limits_too)


def _side(x: Side | str) -> Side:
    return x if isinstance(x, (Family, AnyRecurrence)) else family(x)


__all__ = [
    "ADDITIVE",
    "AFFINE_STEP",
    "CHANNELS",
    "COMMUTING",
    "CONSTANTS",
    "FINITE_STATE",
    "FORGETTING",
    "INVERTIBLE",
    "MEMORY",
    "ORDER_BLIND",
    "RESPONSE",
    "RESPONSE_ORDER",
    "SEPARATIONS",
    "SETTLING",
    "SIGN_CHANGES",
    "SUPERPOSITION",
    "WINDOW",
    "RankWitness",
    "Separation",
    "one_state_gap",
    "recall_gap",
    "recall_operator",
    "separate",
    "separate_instances",
    "softmax_rank_witness",
]
