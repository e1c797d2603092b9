"""False sentences that once passed, each as it was built; and checks that once did not end."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from edits import restated
from honest import examples

import dsf
from dsf.claims.base import read
from dsf.claims.same import SameInstance
from dsf.claims.separation_instances import Instances
from dsf.claims.separation_rank import ByRank
from dsf.claims.separation_recall import Recall
from dsf.claims.separation_tails import Grows, SignChanges, Stays
from dsf.claims.stability import Stability
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.states.lower import hankel_lower
from dsf.verdicts.separations import separate
from dsf.verdicts.separations.words import alphabet


def refused(c: Certificate, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        c.check()


def test_changes_of_sign_for_ever_are_about_affine_steps():
    letters = alphabet(dsf.gru, "abz", n=1)
    claim = SignChanges(has=dsf.gla, violates=dsf.gru, letters=letters.letters,
                        constants=letters.constants, lower=0)  # fmt: skip
    refused(claim.certificate(), "the state of gru|affine|no recurrence")


@pytest.mark.parametrize(("kind", "names"), [(Stays, "abz"), (Grows, "x")])
def test_four_complex_states_decide_nothing_in_six_steps(kind, names):
    """Of order 8, a response may be constant for six steps and move afterwards."""
    f = dsf.s4d(discretisation="bilinear")
    letters = alphabet(f, names, n=4)
    claim = kind(has=dsf.gla, violates=f, letters=letters.letters, constants=letters.constants,
                 lower=1.0)  # fmt: skip
    refused(claim.certificate(), "6 steps decide nothing for 8 real states")


def test_complex_states_count_twice_in_the_rank():
    (c,) = [c for c in separate("lru", "softmax") if c.kind == "separation/rank"]
    assert "n states of lru give at most rank 2n (they are complex)" in c.claim and c.check()
    window = replace(read(c), has=dsf.window_softmax)
    assert isinstance(window, ByRank) and window.certificate().check()
    assert "the 3 earlier tokens that window_softmax keeps give rank 3" in window.statement


def test_an_infinite_error_is_no_bound():
    c = examples()["error"]
    refused(restated(replace(c, upper=np.inf)), "finite")
    refused(restated(replace(c, lower=-1.0)), ">= 0")


def test_states_are_those_of_both_directions_and_of_each_head():
    M = np.eye(9, k=-3) + np.eye(9, k=3)
    assert (dsf.realize(M, atol=0.5).lower, dsf.realize(M, atol=0.5).upper) == (6, 6)
    assert dsf.realize(M, states=5, relative=False).lower > 0.99
    six = dsf.realize(M, states=6, relative=False)
    assert six.upper < 1e-12 and six.check()
    refused(restated(replace(six.certificate, witnesses={**six.certificate.witnesses, "asked": 5})),
            "the system has 6 states")  # fmt: skip
    layer = dsf.realize(np.stack([np.eye(9, k=-3), np.eye(9, k=-4)]), atol=0.5)
    assert layer.upper == 4 and layer.all_heads == (7, 7)
    assert "in the head that needs most, 7 to 7 in all 2 heads together" in layer.certificate.claim


def test_singular_values_count_above_the_error_and_the_uncertainty():
    """Three are 0.3: more than an error of 0.25, and less than that for some M within 0.1."""
    claim = read(dsf.realize(0.3 * np.eye(9, k=-3), atol=0.25).certificate)
    head = replace(claim.heads[0], error=0.2)
    wide = replace(claim, radius=0.1, heads=(head,), residuals={**claim.residuals, "error": 0.2})
    assert claim.lower == 3 and claim.certificate().check()
    refused(wide.certificate(), "a singular value is 0.3")
    lower = read(hankel_lower(0.3 * np.eye(9, k=-3), 0.25))
    assert lower.certificate().check()
    refused(replace(lower, radius=0.1).certificate(), "sigma_3 >= 0.3 is all that follows")


def test_a_system_reaches_its_own_error_and_no_smaller_one():
    claim = read(dsf.realize(np.tril(1 / (1 + np.arange(8.0))), atol=0.05).certificate)
    smaller = replace(claim, asked=claim.heads[0].error / 1.5)
    refused(smaller.certificate(), "the error is")


# ------------------------------------------------------------------- instances
def retnet(gamma: float) -> dict[str, np.ndarray]:
    mech = dsf.retnet.init(d=2, n=1, p=2)
    return {**mech.parameters(), "gamma": np.full((1, 1, 1), gamma)}


def test_parameters_outside_of_their_domain_make_no_instance():
    same = SameInstance(family=dsf.retnet, left=retnet(5.0), right=retnet(5.0))
    refused(same.certificate(), "gamma leaves its domain")
    apart = Instances(
        lower=0.5, first=dsf.retnet, second=dsf.retnet, first_parameters=retnet(5.0),
        second_parameters=retnet(0.5), inputs=np.ones((2, 2)), token=1,
    )  # fmt: skip
    refused(apart.certificate(), "gamma leaves its domain")


def test_parameters_of_the_wrong_sign_make_no_instance_either():
    """alpha < 0 makes a gate above 1 of every token."""
    f = dsf.qlstm(reversed=True)
    wrong = {**f.init(d=3, p=2).parameters(), "alpha": np.array([-0.5])}
    refused(
        SameInstance(family=f, left=wrong, right=wrong).certificate(), "log_f leaves its domain"
    )


def test_shapes_that_only_broadcast_make_no_instance():
    good = dsf.gla.init(d=2, n=3, p=2, heads=2).parameters()
    assert SameInstance(family=dsf.gla, left=good, right=good).certificate().check()
    for name, x in good.items():
        short = {**good, name: x[..., :1]}
        claim = SameInstance(family=dsf.gla, left=short, right=short)
        if x.shape[-1] > 1 and name != "Wv":  # the only one that has the axis p
            refused(claim.certificate(), "the axis")


def test_an_edge_at_one_width_says_so():
    edge = dsf.lattice.find_path("lru", "s4d")[0]
    claim = edge.certificate(Scope.MECHANISM).claim
    assert "every instance of lru is s4d (d = 1) with" in claim and "one head" in claim


# ------------------------------------------------------------------- checks that end
def test_large_claims_end_soon():
    assert Recall(order=tuple(range(60000))[::-1]).certificate().check()
    refused(Recall(order=(0, 0)).certificate(), "no order")
    a = (np.full((3000, 1, 1), 0.5), np.full((1, 3000, 1), 1.0))
    claim = Stability(
        scope=Scope.OPERATOR, strength=Strength.EXACT, lower=0.5, upper=0.5, varying=True,
        verdict="contractive", margin=(0.5, 0.5), a=a,
    )  # fmt: skip
    refused(claim.certificate(), "more than a check looks at")


def test_fractions_of_any_length_are_read_or_refused():
    c = examples()[next(x for x in examples() if x.startswith("separation/one-state"))]
    for text in ("9" * 5000, "1/0", str(Fraction(1, 3)) + " "):
        refused(replace(c, witnesses={"s": text}), "rational")
