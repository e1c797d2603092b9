"""Every edge of the lattice of mechanisms is proved, step by step."""

from __future__ import annotations

import pytest

from dsf.core.certificate import Certificate, Scope
from dsf.theory_tests import judge
from dsf.verdicts.lattice.paths import NESTINGS
from dsf.verdicts.lattice.paths import edge as find

statement = (
    "For each edge 'special -> general' there are a token map tau and a state map T such that one "
    "step commutes, F(T(s), tau(tok)) = T(f(s, tok)), the readouts agree, T maps initial states to "
    "initial states, and tau maps token domains into token domains. Then outputs agree for every "
    "length. Edges of the closure hold in the limit of one parameter, which the domain excludes."
)
reference = "dsf2026; sieber2024; dao2024; siems2025"
falsified_by = "Tokens and a state at which the two steps differ; the checker draws them at random."


def claim(edge: str = "mamba2 -> gla") -> list[Certificate]:
    """The certificates of one edge: scope recurrence, and mechanism where parameters are mapped."""
    nesting = find(edge)
    scopes = [Scope.RECURRENCE] + [Scope.MECHANISM] * (nesting.params is not None)
    return [nesting.certificate(scope) for scope in scopes]


@pytest.mark.rigor
@pytest.mark.parametrize("name", [e.name for e in NESTINGS])
def test_the_claim_holds(name):
    judgement = judge(claim(name))
    assert judgement.holds, "\n".join(judgement.lines)


def test_limits_leave_the_domain_at_the_limit_only():
    for e in NESTINGS:
        proof = e.proof()
        assert (proof.open_end != "") == (e.kind == "limit")
        if e.kind == "limit":
            assert proof.order is not None
            assert proof.order > 0.9  # in proportion to the distance, or exact from some point on
