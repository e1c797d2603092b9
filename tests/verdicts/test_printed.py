"""What a comparison prints: the first line and each certificate name what they are about."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core.certificate import Scope
from dsf.relations.invariants import INVARIANTS
from dsf.verdicts.comparison import SCOPES
from dsf.verdicts.finding import Verdict
from dsf.verdicts.rules import EXACTLY

pytestmark = pytest.mark.solver


def first_line(c: dsf.Result) -> str:
    return str(c).partition("\n")[0]


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ("linear_attn", "normalised_attn", "EQUAL"),
        ("retnet", "gla", "NESTED"),
        ("s4d", "gla", "DIFFERENT"),
        ("gla", "mlstm", "NOT_NESTED"),
    ],
)
def test_the_first_line_about_families_says_free_tokens(a, b, verdict):
    assert first_line(dsf.compare(a, b)).endswith(f" {verdict} on free tokens")


def test_the_first_line_about_instances_and_inputs():
    a, b = (dsf.gla.init(2, n=1, p=2, seed=seed) for seed in (0, 1))
    assert first_line(dsf.compare(a, b)).endswith("DIFFERENT for these parameters")
    u = np.random.default_rng(0).standard_normal((5, 2))
    assert first_line(dsf.compare(a, b, u=u)).endswith("APPROXIMABLE on this input")


def test_no_verdict_is_about_nothing():
    c = dsf.compare("gru", dsf.recurrence(2))
    assert c.verdict is Verdict.UNKNOWN
    assert first_line(c).endswith(" UNKNOWN")


def test_equal_on_free_tokens_is_not_said_of_the_maps_of_inputs():
    """normalised_attn divides by a number that the input makes: with given weights it is no longer
    of degree 3 in the input, as linear attention is."""
    u = np.random.default_rng(0).standard_normal((5, 2))
    linear, normalised = (
        f.init(2, n=2, p=2, seed=0) for f in (dsf.linear_attn, dsf.normalised_attn)
    )
    assert np.allclose(linear(2 * u), 8 * linear(u))
    assert not np.allclose(normalised(2 * u), 8 * normalised(u), rtol=1e-3)
    c = dsf.compare("linear_attn", "normalised_attn")
    assert "not the maps u -> y of given weights" in " ".join(str(c).split())


@pytest.mark.parametrize("pair", [("s4d", "gla"), ("retnet", "gla"), ("lru", "softmax")])
def test_certificates_of_another_scope_say_so(pair):
    c = dsf.compare(*pair)
    lines = " ".join(str(c).split()).partition("certificates (recompute")[2]
    for i, x in enumerate(c.certificates[:4]):
        elsewhere = f", scope {x.scope.value}" if x.scope is not c.scope else ""
        assert f"[{i}] {x.strength.value}{elsewhere}: {' '.join(x.claim.split())}" in lines
    if pair == ("s4d", "gla"):
        assert {x.scope for x in c.certificates} == {Scope.RECURRENCE, Scope.MECHANISM}


def test_a_further_finding_of_another_scope_says_so():
    """Of tokens it is nested; of maps of inputs, whose channels it mixes, it is not."""
    c = dsf.compare("window_softmax(width=1)", "s4d")
    assert c.verdict is Verdict.NESTED and c.check()
    told = " ".join(str(c).split())
    assert "also NOT_NESTED as maps of u: window_softmax(width=1) is not nested in s4d" in told


def test_every_scope_has_words_of_its_own():
    assert set(SCOPES) == set(Scope)
    assert len({first for first, _ in SCOPES.values()}) == len(Scope)


@pytest.mark.parametrize(
    ("a", "b", "excluded"),
    [("linear_attn", "retnet", True), ("normalised_linear_attn", "mlstm", False)],
)
def test_a_limit_is_called_unreached_where_that_is_proved(a, b, excluded):
    c = dsf.compare(a, b)
    assert c.verdict is Verdict.NESTED_LIMIT
    notes = c.findings[0].notes
    unreached = [n for n in notes if n.startswith("not reached inside the domain: ")]
    assert (len(unreached), notes.count(EXACTLY)) == ((1, 0) if excluded else (0, 1))


# ------------------------------------------------------------------ what sentences say, in numbers
def test_a_repeated_token_moves_the_output_by_a_geometric_sequence_from_the_start_only():
    """Gated delta rule: a (I - b k k') has two eigenvalues, and a start at 0 meets one of them."""
    rng = np.random.default_rng(0)
    mech = dsf.gated_deltanet.init(3, n=3, p=3, seed=0)
    x = np.repeat(rng.standard_normal((1, 3)), 6, axis=0)
    assert away_from_geometric(mech(x)) < 1e-9
    y, _ = mech.run(x, mech.run(rng.standard_normal((4, 3)))[1])
    assert away_from_geometric(y) > 1e-3
    found = dsf.compare("mamba", "gated_deltanet").certificates
    told = [c for c in found if c.witnesses.get("invariant") == "one exponential in the response"]
    assert told and "a token that is repeated from the start moves" in told[0].claim


def away_from_geometric(y: np.ndarray) -> float:
    """max |d_1^2 - d_0 d_2| over channels and steps, relative to the largest step of each."""
    d = np.diff(np.asarray(y), axis=0)
    gaps = np.abs(d[1:-1] ** 2 - d[:-2] * d[2:]).max(axis=0)
    return float(np.max(gaps / np.max(d**2, axis=0)))


def test_what_a_token_left_need_not_fade():
    """Linear attention has it with ratio 1: the sentence says a constant plus one exponential."""
    mech, rng = dsf.linear_attn.init(2, n=2, p=2, seed=0), np.random.default_rng(1)
    a, b, z = rng.standard_normal((3, 1, 2))
    y, w = (mech(np.concatenate([x, np.repeat(z, 4, axis=0)]))[1:] for x in (a, b))
    assert np.allclose(y - w, (y - w)[:1]) and np.max(np.abs(y - w)) > 1e-3
    sentence = INVARIANTS["one exponential in the memory"].reason
    assert "constant plus one exponential" in sentence and "fades" not in sentence


def test_commuting_transitions_are_not_what_is_denied_to_mlstm():
    """Its transitions are scalars; what it lacks is an affine readout."""
    assert "commute" not in dsf.compare("gla", "mlstm").statement
