"""Conditional equality: both directions prove, and the certificate refuses what does not follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

import dsf
from dsf.claims import condition_proofs as proofs
from dsf.core.certificate import Scope
from dsf.core.errors import CertificateError
from dsf.relations.conditions import CASES
from dsf.verdicts.lattice.equal_when import _proved, equal_when

PAIRS = [
    (dsf.mamba2, dsf.normalised_attn),
    (dsf.mamba2, dsf.normalised_attn(eta="softplus")),
    (dsf.mamba, dsf.normalised_attn),
    (dsf.gla, dsf.deltanet),
    (dsf.gla, dsf.gated_deltanet),
]


@pytest.mark.rigor
@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_both_orders_of_the_pair(a, b):
    found = equal_when(a, b)
    assert found is equal_when(b, a)
    assert found.certificate.check()
    assert found.certificate.scope is Scope.RECURRENCE
    assert all(condition in found.certificate.claim for condition in found.conditions)


def test_the_conditions():
    found = equal_when(dsf.mamba, dsf.normalised_attn)
    assert found.gates_only
    assert found.conditions == (
        "dt_i = 1/eta_i",
        "eta_i = eta_{i-1} exp(-a/eta_i) for i >= 1",
        "dt and a are shared by channels and rows",
    )
    found = equal_when(dsf.deltanet, dsf.gla)
    assert not found.gates_only
    assert found.conditions[0].startswith("the keys are one-hot")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (dsf.mamba2, dsf.normalised_attn(eta="sigmoid")),  # the recursion leaves (0, 1)
        (dsf.mamba2(skip=True), dsf.normalised_attn),
        (dsf.mamba(discretisation="zoh"), dsf.normalised_attn),
        (dsf.gla, dsf.deltanet(reach=2)),  # 1 - beta can be negative
        (dsf.gla, dsf.deltanet(unit_keys=False)),
        (dsf.mamba2, dsf.linear_attn),
        (dsf.gla, dsf.gla),
    ],
    ids=str,
)
def test_pairs_without_a_condition(a, b):
    assert equal_when(a, b) is None


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_condition_that_does_not_prove_is_an_error(case, monkeypatch):
    left, right = next(p for p in PAIRS if case.accepts(*p))
    _proved.cache_clear()
    necessary, sufficient = proofs.PROOFS[case.name]
    for broken in ((lambda a, b: "", sufficient), (necessary, lambda a, b: False)):
        monkeypatch.setitem(proofs.PROOFS, case.name, broken)
        with pytest.raises(CertificateError, match="does not prove"):
            equal_when(left, right)
    _proved.cache_clear()


def test_the_sufficient_part_needs_the_conditions(monkeypatch):
    from dsf.relations import ssm

    monkeypatch.setattr(proofs, "_lift", lambda family, S: 2 * S)
    assert not proofs._ssd_sufficient(dsf.mamba2, dsf.normalised_attn)
    monkeypatch.undo()
    plain = ssm.mamba2_mamba
    monkeypatch.setattr(ssm, "mamba2_mamba", lambda tok: plain(tok.replace(dt=2 * tok.dt)))
    assert not proofs._ssd_sufficient(dsf.mamba, dsf.normalised_attn)
    assert not proofs._ssd_necessary(dsf.mamba, dsf.normalised_attn)


def test_the_necessary_part_needs_the_rank_one_step(monkeypatch):
    assert proofs._delta_necessary(dsf.gla, dsf.deltanet)
    monkeypatch.setattr(proofs, "_decay", lambda fields, t: 2)
    assert not proofs._delta_necessary(dsf.gla, dsf.deltanet)
    assert not proofs._delta_sufficient(dsf.gla, dsf.deltanet)


@pytest.mark.rigor
@pytest.mark.parametrize(("a", "b"), [PAIRS[0], PAIRS[3]], ids=str)
@pytest.mark.parametrize(
    "change",
    [
        {"case": "another"},
        {"case": "one-hot-keys", "left": "mamba2"},
        {"left": "linear_attn"},
        {"right": "softmax"},
        {"conditions": ["dt_i = eta_i"]},
        {"inside_the_domains": "always"},
    ],
    ids=lambda c: ", ".join(c),
)
def test_tampered_witnesses_are_refused(a, b, change):
    c = equal_when(a, b).certificate
    with pytest.raises(CertificateError):
        replace(c, witnesses={**c.witnesses, **change}).check()
