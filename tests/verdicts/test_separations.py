"""Separations: who has an invariant has it, who violates it does, and nothing can be forged."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsf
from dsf.claims.base import read
from dsf.claims.separation import reproduced
from dsf.core.catalogue import families, family
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError, DomainError, ShapeError, UnknownNameError
from dsf.core.family import Family
from dsf.core.worlds import precision
from dsf.relations import NESTINGS
from dsf.verdicts.properties import properties
from dsf.verdicts.separations import SEPARATIONS, separate, separate_instances
from dsf.verdicts.separations.core import below


def all_families() -> list[Family]:
    return [
        *families().values(),
        dsf.retnet(rotation=True),
        dsf.retnet(rotation="qk"),
        dsf.deltanet(reach=2),
        dsf.deltanet(unit_keys=False),
        dsf.gated_deltanet(reach=2),
        dsf.deltaproduct(steps=3, reach=1),
        dsf.linear_attn(phi="exp"),
        dsf.s4d(discretisation="bilinear"),
        dsf.mamba(discretisation="zoh", skip=True),
        dsf.mamba2(skip=True),
        dsf.mamba3(skip=True),
        dsf.window_softmax(width=2),
        dsf.rwkv6(read="after"),
        dsf.qlstm(reversed=True),
    ]


FAMILIES = all_families()

# invariant -> the families that are asked to violate it
VIOLATORS = {
    "order-blind": "retnet retnet(rotation=True) s4d lru mamba mamba2 gla deltanet gated_deltanet "
    "deltaproduct rwkv6 mlstm mamba3 qlstm rglru gru window_softmax",
    "finite state": "softmax",
    "sign changes": "retnet(rotation=True) s4d lru mamba3 deltanet(reach=2) deltaproduct",
    "commuting transitions": "deltanet gated_deltanet deltaproduct mlstm mamba3 gru",
    "additive in the tokens": "softmax linear_attn retnet mamba gla deltanet gru rglru",
    "constants to constants": "linear_attn normalised_attn retnet s4d lru mamba gla deltanet gru",
    "one exponential in the response": "gla mamba rwkv6 s4d lru deltaproduct gru "
    "retnet(rotation=True)",
    "one exponential in the memory": "gla mamba gated_deltanet deltaproduct softmax gru",
    "finite window": "softmax linear_attn retnet gla deltanet lru gru",
    "invertible transitions": "window_softmax",
    "forgetting": "linear_attn normalised_attn deltanet deltaproduct",
    "settling": "linear_attn normalised_attn",
    "order of the response": "gru",
    "superposition": "softmax linear_attn mamba gla gru rglru",
    "channels apart": "lru mamba softmax gla",
    "affine step": "gru",
}

# the pairs of the comparison table, and the first proof that is expected for them
TABLE = [
    ("linear_attn", "retnet", "order-blind", "retnet"),
    ("gla", "retnet(rotation=True)", "sign-changes", "retnet(rotation=True)"),
    ("gla", "deltanet", "commuting transitions", "deltanet"),
    ("s4d", "lru", "channels apart", "lru"),
    ("s4d(discretisation=bilinear)", "lru", "channels apart", "lru"),
    ("gla", "softmax", "rank", "softmax"),
]


def find(name: str):
    return next(s for s in SEPARATIONS if s.name == name)


def label(c: Certificate) -> str:
    return c.witnesses.get("invariant", c.kind.partition("/")[2])


def test_every_separation_is_asked_to_be_violated():
    assert {s.name for s in SEPARATIONS} == set(VIOLATORS)


# ------------------------------------------------------------------ who has it
@pytest.mark.parametrize("separation", SEPARATIONS, ids=lambda s: s.name)
@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_members_of_families_that_claim_an_invariant_have_it(separation, data, seed):
    members = [f for f in FAMILIES if separation.has(f)]
    chosen = data.draw(st.sampled_from(members))
    assert separation.defect(chosen, np.random.default_rng(seed)) < 1e-9


@pytest.mark.parametrize("separation", SEPARATIONS, ids=lambda s: s.name)
def test_theorem_and_proof_are_told(separation):
    invariant = separation.invariant
    assert invariant.theorem.endswith(".") and 60 < len(invariant.proof) < 1200
    assert separation.name in repr(separation)


@pytest.mark.parametrize(
    ("name", "violator"), [(k, f) for k, v in VIOLATORS.items() for f in v.split()]
)
def test_violators_violate(name, violator):
    separation = find(name)
    assert not separation.has(family(violator))
    assert separation.search(family(violator), family(violator)) is not None


def test_properties_of_a_few_families():
    assert (
        properties(dsf.gla).positive
        and properties(dsf.gla).forgets
        and not properties(dsf.gla).scalar
    )
    assert not properties(dsf.retnet(rotation=True)).scalar  # one complex number is two real states
    assert properties(dsf.lru).constant and not properties(dsf.rglru).constant
    assert properties(dsf.deltanet).lossless and not properties(dsf.gated_deltanet).lossless
    assert not properties(dsf.mlstm).affine and not properties(dsf.gru).affine


# ------------------------------------------------------------------ certificates
@pytest.mark.parametrize(("a", "b", "first", "violates"), TABLE)
def test_the_comparison_table(a, b, first, violates):
    found = separate(a, b)
    assert label(found[0]) == first and found[0].witnesses["violates"] == violates
    assert all(Certificate.from_json(c.to_json()).check() for c in found)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_softmax_against_any_recurrence(n):
    (c,) = separate(dsf.softmax, dsf.recurrence(n))
    assert c.check() and c.lower == n + 1 and f"any recurrence with {n} state" in c.claim
    assert f"{2 * n + 2} tokens" in c.claim and c.strength is Strength.EXACT


@pytest.mark.parametrize("width", [1, 2, 4])
def test_softmax_against_a_window(width):
    """A window is attention, but what it carries does not grow: Hankel rank below its width."""
    window, L = dsf.window_softmax(width=width), 9
    M = window.init(d=2).kernel(np.random.default_rng(0).standard_normal((L, 2)))[0]
    for cut in range(1, L):
        assert np.count_nonzero(M[cut:, :cut].any(axis=0)) == min(cut, width - 1)
    found = [c for c in separate(window, dsf.softmax) if c.kind == "separation/rank"]
    assert len(found) == 1 and found[0].check() and found[0].witnesses["has"] == str(window)
    assert not find("finite state").has(dsf.softmax)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_gru_against_any_current_token_system(n):
    found = separate(dsf.gru, dsf.recurrence(n, current_token_only=True))
    assert {c.kind for c in found} == {"separation/response", "separation/affine-step"}
    assert all(c.check() for c in found) and f"{2 * n + 3} tokens" in found[0].claim
    only_step = separate(dsf.gru, dsf.recurrence(n))  # the past may tell the time: no response
    assert [c.kind for c in only_step] == ["separation/affine-step"]


def test_an_affine_step_says_nothing_of_a_family_that_is_no_recurrence():
    (c,) = separate(dsf.gru, dsf.recurrence(1))

    replace(read(c), has=dsf.gla).check()
    with pytest.raises(CertificateError, match="not seen to be bounded"):  # it keeps all tokens
        replace(read(c), has=dsf.softmax).check()
    with pytest.raises(CertificateError, match="no recurrence"):
        replace(read(c), has=dsf.gru).check()


def test_a_family_is_not_separated_from_itself():
    for f in FAMILIES:
        assert separate(f, f) == ()


def test_no_separation_contradicts_a_proved_nesting():
    for edge in NESTINGS:
        if edge.only:
            continue  # holds for some sizes only
        for s in SEPARATIONS:
            if s.invariant.scope is Scope.MECHANISM and edge.params is None:
                continue  # the edge maps tokens, and says nothing of the maps of inputs
            contradiction = s.certificate(edge.general, edge.special)
            open_end = edge.limit is not None and not s.invariant.closed
            assert contradiction is None or open_end, (s.name, edge)


def test_limits_are_shown_to_be_limits():
    for a, b in (("retnet", "linear_attn"), ("gla", "linear_attn"), ("gated_deltanet", "deltanet")):
        stays = [c for c in separate(a, b) if c.kind == "separation/stays"]
        assert [c.witnesses["violates"] for c in stays] == [b] and stays[0].check()


def test_unknown_names_and_sizes():
    with pytest.raises(UnknownNameError):
        separate("gla", "glass")
    with pytest.raises(ShapeError, match="at least 1"):
        dsf.recurrence(0)
    assert repr(dsf.recurrence(1)) == "any recurrence with 1 state"


# ------------------------------------------------------------------ forgeries
def refused(c: Certificate) -> None:
    with pytest.raises(CertificateError):
        c.check()


FORGED = [
    # (has, violates, kind or invariant, ascribed to): true of `has`, false of `ascribed to`
    ("gla", "deltanet", "commuting transitions", "gated_deltanet"),
    ("gla", "linear_attn", "stays", "deltanet"),
    ("gla", "linear_attn", "stays", "deltaproduct"),
    ("gla", "linear_attn", "grows", "normalised_attn"),
    ("deltanet", "linear_attn", "grows", "deltanet(unit_keys=False)"),
    ("linear_attn", "window_softmax(width=2)", "window", "deltanet(reach=2)"),
    ("linear_attn", "window_softmax(width=2)", "window", "s4d(discretisation=bilinear)"),
    ("gla", "retnet(rotation=True)", "sign-changes", "deltanet(reach=2)"),
    ("gla", "retnet(rotation=True)", "sign-changes", "lru"),
    ("gla", "softmax", "rank", "softmax"),
    ("gla", "gru", "response", "gru"),
    ("gla", "gru", "affine-step", "gru"),
    ("s4d", "mamba", "channels apart", "lru"),
    ("s4d", "mamba", "superposition", "rglru"),
]


@pytest.mark.parametrize(("has", "violates", "name", "ascribed"), FORGED)
def test_an_invariant_ascribed_to_a_family_without_it_is_refused(has, violates, name, ascribed):
    """Also where a random member has it, and only an exceptional token does not."""
    found = [s.certificate(family(has), family(violates)) for s in SEPARATIONS]
    c = next(c for c in found if c is not None and label(c) == name)
    assert c.check()
    wrong = repr(family(ascribed))
    claim = c.claim.replace(f" {has}", f" {wrong}").replace(f"{has} ", f"{wrong} ")
    refused(replace(c, witnesses={**c.witnesses, "has": wrong}, claim=claim))


# --------------------------------------------------------------------- instances
def test_instances_of_the_same_numbers_are_not_separated():
    a, b = (dsf.gla.init(3, n=2, p=2, seed=4) for _ in range(2))
    assert separate_instances(a, b) is None


@pytest.mark.parametrize("f", FAMILIES, ids=repr)
@pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
def test_two_draws_of_a_family_differ(f):
    c = separate_instances(f.init(2, n=2, p=2, seed=1), f.init(2, n=2, p=2, seed=2))
    assert c is not None and c.lower > 0 and c.check()
    assert Certificate.from_json(c.to_json()).check()


def test_instances_on_a_given_input():
    rng = np.random.default_rng(0)
    a, b = dsf.gla.init(3, n=2, p=2), dsf.mamba2.init(3, n=2, p=2)
    u = rng.standard_normal((4, 3))
    c = separate_instances(a, b, u)
    assert np.array_equal(c.witnesses["inputs"], u) and c.check()
    gap = np.abs(a(u) - b(u)).max()
    assert c.lower <= gap * (1 + 1e-12) and c.lower > gap * (1 - 1e-9)
    w = {**c.witnesses, "inputs": u + 1e-3}
    refused(replace(c, witnesses=w))
    w = {**c.witnesses, "first_parameters": {**a.parameters(), "Wq": a.Wq * 1.001}}
    refused(replace(c, witnesses=w))
    assert separate_instances(a, a, u) is None


def test_instances_of_other_widths_are_refused():
    a = dsf.gla.init(3, n=2, p=2)
    with pytest.raises(ShapeError, match="width d = 3 and 4"):
        separate_instances(a, dsf.gla.init(4, n=2, p=2))
    with pytest.raises(ShapeError, match="shapes"):
        separate_instances(a, dsf.gla.init(3, n=2, p=3))


def test_instances_outside_the_catalogue_are_refused():
    class Other(type(dsf.gla.init(2))):
        pass

    other = Other(**dsf.gla.init(2).parameters())
    with pytest.raises(UnknownNameError, match="no name in the catalogue"):
        separate_instances(other, dsf.gla.init(2))


@given(st.fractions(-1000, 1000), st.fractions(0, 2), st.booleans())
def test_no_number_of_a_ball_is_nearer_to_zero_than_its_bound(middle, radius, turned):
    """`below` is what a violation is worth: the least modulus in the ball, and 0 round zero."""
    import flint

    with precision(300):
        ball = flint.arb(*(flint.fmpq(x.numerator, x.denominator) for x in (middle, radius)))
        bound = below(flint.acb(0, ball) if turned else ball)
    least = max(abs(middle) - radius, Fraction(0))
    assert 0 <= Fraction(bound) <= least
    assert Fraction(bound) >= least * (1 - Fraction(1, 10**8)) - Fraction(1, 10**8)


@given(st.fractions(Fraction(1, 1000), 1000))
def test_a_bound_is_compared_exactly(value):
    """The largest float below a number passes as its lower bound, the next one does not."""
    import flint

    with precision(300):
        ball = flint.arb(flint.fmpq(value.numerator, value.denominator))
        low = float(value)
        low = low if Fraction(low) <= value else math.nextafter(low, 0.0)
        reproduced(low, -ball)
        with pytest.raises(CertificateError, match="only a gap"):
            reproduced(math.nextafter(low, math.inf), ball)


def test_what_excludes_limits_makes_the_rest_superfluous():
    """Invariants that limits may lose are told only where no other one excludes limits too."""
    opened = {"separation/stays", "separation/grows", "separation/window"}
    alone = 0
    for a, b in combinations(families().values(), 2):
        for x, y in ((a, b), (b, a)):
            kinds = {c.kind for c in separate(x, y) if c.witnesses["violates"] == repr(y)
                     and c.scope is Scope.RECURRENCE}  # fmt: skip
            assert not kinds & opened or kinds <= opened
            alone += bool(kinds & opened)
    assert alone > 10


# ------------------------------------------------------------------- every recurrence with n states
@pytest.mark.parametrize("name", ["gla", "mamba2", "lru", "s4d", "deltanet", "mamba3", "mlstm"])
@pytest.mark.parametrize("n", [1, 4])
def test_a_family_with_free_states_needs_more_than_n(name, n):
    found = dsf.compare(name, dsf.recurrence(n))
    assert found.verdict.name == "NOT_NESTED" and found.check()
    (c,) = found.certificates
    assert c.lower == n + 1 and f"rank {n + 1}" in c.claim


@pytest.mark.parametrize("name", ["qlstm", "qlstm(reversed=True)", "rglru"])
def test_a_family_with_one_state_is_one_of_all_recurrences(name):
    found = dsf.compare(dsf.recurrence(3), name)
    assert found.verdict.name == "NESTED" and found.check()
    assert dsf.compare(name, dsf.recurrence(1, current_token_only=True)).verdict.name == "NESTED"


def test_the_rank_of_a_window_is_its_width():
    """Three earlier tokens are kept: with n = 3 states nothing is claimed."""
    keeps = dsf.window_softmax(width=4)
    assert dsf.compare(keeps, dsf.recurrence(3)).verdict.name == "UNKNOWN"
    assert dsf.compare(keeps, dsf.recurrence(2)).verdict.name == "NOT_NESTED"


def test_tokens_that_repeat_have_a_singular_block():
    c = dsf.compare("gla", dsf.recurrence(2)).certificates[0]
    letters = dict(c.witnesses["letters"])
    letters["b"] = letters["a"]
    letters["c"] = letters["a"]
    for x in "abc":  # keys of one direction, no decay to tell them apart
        letters[x] = {**letters[x], "k": letters["a"]["k"], "log_a": letters["a"]["log_a"]}
    same = replace(c, witnesses={**c.witnesses, "letters": letters})
    one = {**c.witnesses, "letters": {k: {**x, "q": x["q"] * 0} for k, x in letters.items()}}
    for forged in (replace(c, witnesses=one), replace(same, lower=2)):
        with pytest.raises(CertificateError):
            forged.check()


def test_a_mechanism_that_is_not_defined_at_zero():
    """Two zero tokens have weights of sum 0, where a normalised mean is refused: look elsewhere."""
    signed = dsf.linear_attn(normalise=True)
    with pytest.raises(DomainError, match="normaliser is exactly 0"):
        signed.init(d=2)(np.zeros((1, 2)))
    found = dsf.compare(signed, "s4d")
    assert found.verdict.name == "DIFFERENT" and found.check()
