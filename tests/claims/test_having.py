"""That a family has an invariant is proved, whatever inputs a forger chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dsf
from dsf.claims import having
from dsf.claims.base import read
from dsf.claims.separation_instances import ByInputs
from dsf.claims.separation_words import ByWords
from dsf.core.catalogue import everything
from dsf.core.errors import CertificateError, DSFError
from dsf.core.worlds import balls, precision
from dsf.relations.invariants import CHANNELS, INVARIANTS, ORDER_BLIND, SUPERPOSITION, WordInvariant
from dsf.verdicts.properties import properties
from dsf.verdicts.separations import SEPARATIONS, separate
from dsf.verdicts.separations.core import below

WORDS = [x for x in INVARIANTS.values() if isinstance(x, WordInvariant)]
FAMILIES = everything()


def holds(fact, *args) -> bool:
    try:
        fact(*args)
    except DSFError:
        return False
    return True


# ------------------------------------------------------------------ against the finders
@pytest.mark.slow
@pytest.mark.parametrize("rule", WORDS, ids=lambda r: r.name)
def test_who_has_an_invariant_of_words(rule):
    """The proof and the finder, which goes by measured properties, name the same families."""
    (separation,) = [s for s in SEPARATIONS if s.invariant is rule]
    for f in FAMILIES:
        if not isinstance(f.without_parameters(), dsf.gru.cls):
            proved = holds(having.words, rule, f, rule.words(f, f))
            assert proved or not separation.has(f), f
            assert not proved or separation.has(f) or f == NARROW, f


NARROW = dsf.window_softmax(width=1)  # gives every value as it is, which no finder makes use of


@pytest.mark.slow
def test_signs_of_transitions():
    positive = {str(f) for f in FAMILIES if holds(having.positive, f)}
    assert {"gla", "retnet", "mamba", "rwkv6", "deltanet", "gated_deltanet"} <= positive
    refused = {"deltanet(reach=2)", "deltanet(unit_keys=False)", "lru", "s4d", "mamba3", "softmax"}
    refused |= {"retnet(rotation=True)", "deltaproduct", "gru", "mlstm"}
    assert not refused & positive
    below = {str(f) for f in FAMILIES if holds(having.no_eigenvalue_one, f)}
    assert {"gla", "mamba3", "retnet(rotation=True)", "gated_deltanet(unit_keys=False)"} <= below
    assert not {"linear_attn", "deltanet", "deltaproduct", "softmax", "gru"} & below
    settles = {str(f) for f in FAMILIES if holds(having.settles, f)}
    assert {"deltanet", "deltaproduct", "deltanet(reach=2)", "gla"} <= settles
    assert not {"linear_attn", "deltanet(unit_keys=False)", "normalised_attn"} & settles


def test_signs_of_a_few_transitions():
    assert holds(having.positive, dsf.gla) and holds(having.positive, dsf.deltanet)
    assert not holds(having.positive, dsf.deltanet(reach=2)) and not holds(having.positive, dsf.lru)
    assert holds(having.no_eigenvalue_one, dsf.gated_deltanet(unit_keys=False))
    assert not holds(having.no_eigenvalue_one, dsf.deltanet)
    assert holds(having.settles, dsf.deltaproduct)
    assert not holds(having.settles, dsf.deltanet(unit_keys=False))


def test_one_size_is_not_all():
    """With one state everything commutes, and a delta step is a number."""
    commuting = INVARIANTS["commuting transitions"]
    assert not holds(having.words, commuting, dsf.deltanet, commuting.words(dsf.gla, dsf.gla))
    assert holds(having.words, commuting, dsf.gla, commuting.words(dsf.gla, dsf.gla))


def test_coefficients_that_see_the_position_do_not_settle():
    assert not holds(having.no_eigenvalue_one, dsf.retnet(rotation="qk"))
    assert holds(having.affine, dsf.retnet(rotation="qk"))


def test_a_class_with_steps_of_its_own_is_not_taken_for_its_kind():
    class Growing(dsf.gla.cls):
        """Gated linear attention that may do anything between its steps."""

        def outputs(self, tok, full, S):
            return super().outputs(tok, full, S)

    family = replace(dsf.gla, cls=Growing)
    assert holds(having.bounded_state, dsf.gla) and not holds(having.bounded_state, family)


def test_the_facts_are_those_that_were_measured():
    for f in FAMILIES:
        if properties(f).affine:
            assert holds(having.affine, f), f
            assert having.diagonal(f) is properties(f).diagonal, f
        elif f.cls in (dsf.gru.cls, dsf.softmax.cls):
            assert not holds(having.affine, f), f


# ------------------------------------------------------------------ what a forger chooses
def against(c, has):
    """The same violation, held against another family."""
    claim = read(c)
    if isinstance(claim, ByWords):
        rule = INVARIANTS[claim.invariant]
        claim = replace(claim, words=rule.words(has, claim.violates))
    return replace(claim, has=has).certificate()


def by_inputs(rule, has, violates, inputs):
    mech = violates.init(d=inputs[0].shape[-1], n=1, p=inputs[0].shape[-1])
    mech = mech.map(lambda x: np.round(32 * x) / 32)
    with precision(300):
        exact = mech.map(balls)
        gap = max(below(e) for e in np.ravel(rule.expression([exact(balls(u)) for u in inputs])))
    return ByInputs(
        lower=gap, invariant=rule.name, has=has, violates=violates,
        parameters=mech.parameters(), inputs=tuple(inputs),
    ).certificate()  # fmt: skip


def refused(c):
    with pytest.raises(CertificateError):
        c.check()


def test_a_channel_that_is_zero_hides_nothing():
    u = [np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]])]
    refused(by_inputs(CHANNELS, dsf.mamba, dsf.retnet, u))
    assert by_inputs(CHANNELS, dsf.s4d, dsf.retnet, u).check()


def test_one_token_hides_nothing():
    u = [np.array([[1.0]]), np.array([[2.0]])]
    refused(by_inputs(SUPERPOSITION, dsf.softmax, dsf.retnet, u))
    assert by_inputs(SUPERPOSITION, dsf.lru, dsf.retnet, u).check()


def test_short_words_hide_nothing():
    (c,) = [c for c in separate("softmax", "retnet") if "order of earlier" in c.claim]
    refused(against(c, dsf.window_softmax))
    assert against(c, dsf.linear_attn).check()


@pytest.mark.slow
@pytest.mark.parametrize("rule", WORDS, ids=lambda r: r.name)
def test_no_family_gets_an_invariant_that_it_lacks(rule):
    """Every violation against every family: what passes is what the finder knows to be true."""
    (separation,) = [s for s in SEPARATIONS if s.invariant is rule]
    has = next(f for f in FAMILIES if separation.has(f))
    every = (c for f in FAMILIES for c in separate(has, f))
    c = next(c for c in every if c.witnesses.get("invariant") == rule.name)
    for f in FAMILIES:
        if f != read(c).violates and not separation.has(f) and f != NARROW:
            refused(against(c, f))


def test_the_sentence_names_the_sizes():
    (c,) = [c for c in separate("softmax", "retnet") if ORDER_BLIND.name in c.witnesses.values()]
    assert "softmax: free tokens, (n, p) = (1, 1), (2, 2), (3, 2)" in c.claim
    assert having.sizes(dsf.mamba3) == ((2, 1), (2, 2), (4, 2))
