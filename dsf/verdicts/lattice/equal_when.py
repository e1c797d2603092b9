"""Pairs of families that meet exactly under a condition on their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dsf.claims.conditions import EqualWhen
from dsf.core.certificate import Certificate
from dsf.core.family import Family
from dsf.relations.conditions import CASES, Case


@dataclass(frozen=True)
class Condition:
    """The conditions under which two families are the same map, proved both ways.

    gates_only   the conditions bind gates alone; q, k, v are free and identified

    >>> import dsf
    >>> equal_when(dsf.mamba2, dsf.normalised_attn).conditions
    ('dt_i = 1/eta_i', 'eta_i = eta_{i-1} exp(-a/eta_i) for i >= 1')
    """

    conditions: tuple[str, ...]
    gates_only: bool
    certificate: Certificate


def equal_when(a: Family, b: Family) -> Condition | None:
    """The condition under which two families meet, proved both ways; None if none is known.

    Raises CertificateError if a condition of the table does not prove.
    """
    for left, right in ((a, b), (b, a)):
        for case in CASES:
            if case.accepts(left, right):
                return _proved(case, left, right)
    return None


@cache
def _proved(case: Case, left: Family, right: Family) -> Condition:
    claim = EqualWhen.of(case, left, right)
    claim.check()
    return Condition(claim.conditions, case.gates_only, claim.certificate())
