"""What checkers read: exactly the arrays an argument is about, or a refusal that says so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dsf
from dsf.claims import MALFORMED, kinds
from dsf.claims.same import same_numbers
from dsf.claims.stability import Stability
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.printing import at_least, at_most, exactly
from dsf.core.transition import Diag
from dsf.spectra.stability import stability
from dsf.states.lower import hankel_gap, hankel_lower
from dsf.states.needed import realize


def refused(c: Certificate, match: str | None = None) -> None:
    with pytest.raises(CertificateError, match=match) as error:
        c.check()
    assert not str(error.value).startswith(MALFORMED)


# ------------------------------------------------------------------- every kind
@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("value", [None, 3, "x", [], np.zeros((0, 2), dtype=complex)])
def test_nonsense_is_a_certificate_error(kind, value):
    """`check` answers True or CertificateError, whatever the witnesses are."""
    names = (
        "left right family edge case varying verdict margin A invariant has violates words letters "
        "constants first second inputs parameters states keys bases determinants bits heads M U V "
        "question relative asked radius plus minus query queries bound equality norm lam W K"
    )
    nonsense = dict.fromkeys(names.split(), value)
    for witnesses in ({}, nonsense, {**nonsense, "has": "gla", "violates": "softmax"}):
        for strength in Strength:
            c = Certificate(kind, "", Scope.OPERATOR, strength, 0.0, 0.0, witnesses)
            with pytest.raises(CertificateError):
                c.check()


def test_a_stumble_is_named_and_chained(monkeypatch):
    def stumble(self):
        raise ZeroDivisionError("division by zero")

    c = stability(Diag(a=np.array([0.5]))).certificate
    monkeypatch.setattr(Stability, "check", stumble)
    with pytest.raises(CertificateError, match="not what is needed") as error:
        c.check()
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"kind": "x"}', '{"witnesses": 3}', "[" * 10**5])
def test_json_that_is_no_certificate(text):
    with pytest.raises(CertificateError):
        Certificate.from_json(text)
    good = hankel_lower(np.eye(9, k=-3), atol=0.5).to_json()
    for old, new in (
        ('"witnesses": {', '"witnesses": [], "w": {'),
        ('"hankel-lower"', '"hankel"'),
        ('"error": {"float"', '"error": {"flat"'),
        ('"radius"', '"radii"'),
        ('"hex": "', '"hex": "zz'),
    ):
        with pytest.raises(CertificateError):
            Certificate.from_json(good.replace(old, new))


# ------------------------------------------------------------------- state counts
def test_a_complex_difference_is_not_small():
    """E = M - kernel = [1, i]: E E' without conjugation is 0, and any error would follow."""
    c = realize(np.tril(np.ones((4, 4))), atol=0.1).certificate
    (head,) = c.witnesses["heads"]
    M = head["M"] + 0j
    M[3, 0, :2, 0] += np.array([1.0, 1j])
    refused(replace(c, witnesses={**c.witnesses, "heads": [{**head, "M": M}]}), "float64")


# ------------------------------------------------------------------- stability
def verdict(parts, lower, upper, word, varying=False):
    return Stability(
        scope=Scope.INSTANCE,
        strength=Strength.EXACT if lower == upper else Strength.ENCLOSED,
        lower=lower,
        upper=upper,
        varying=varying,
        verdict=word,
        margin=(1.0 - upper, 1.0 - lower),
        **parts,
    ).certificate()


FALSE = {
    # the product is 1e200; its first two factors underflow
    "an underflow on the way": {
        "a": [np.array([[x, y]]) for x, y in ((1e-200, 0.5), (1e-200, 1), (1e300, 1), (1e300, 1))]
    },
    "an exponent that underflows on the way": {
        "log_a": [
            np.array([[x, y]])
            for x, y in ((1e-200, np.log(0.5)), (1e-200, 1), (1e300, 1), (1e300, 1))
        ]
    },
    "integers": {"a": [np.array([[2**53 + 1, 0]]), np.array([[2.0**-54]])]},
    "extended precision": {"a": [np.array([[0.5]], dtype=np.longdouble)]},
    "a rectangle": {"A": [np.array([[[0.5, 0.0], [0.0, 0.5], [9.0, 9.0]]])]},
    "more columns of U than of W": {
        "a": [np.full((1, 1), 0.5)], "U": [np.ones((1, 1, 1))], "W": [np.zeros((1, 1, 2))]
    },
    "a longer diagonal": {
        "a": [np.array([[0.5, 7.0]])], "U": [np.zeros((1, 1, 1))], "W": [np.zeros((1, 1, 1))]
    },
    "a factor of minus infinity": {
        "log_a": [np.array([[-np.inf]]), np.array([[-1.0]])],
        "U": [np.full((1, 1, 1), 0.5)], "W": [np.ones((1, 1, 1))],
    },
    "no factor": {"a": []},
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_a_false_verdict_is_refused(name):
    refused(verdict(FALSE[name], 0.5, 0.5, "stable"))


def test_a_true_verdict_is_not():
    assert verdict({"a": [np.array([[0.5]])]}, 0.5, 0.5, "stable").check()


# ------------------------------------------------------------------- instances
def test_the_same_numbers():
    x = np.array([0.0, 0.1])
    assert same_numbers(x, x.copy()) and same_numbers(x, np.array([-0.0, 0.1]))
    assert same_numbers(np.array([0.5]), np.array([0.5], np.float32))
    assert not same_numbers(x, x.astype(np.float32)) and not same_numbers(x, x[None])
    assert not same_numbers(x, np.nextafter(x, 1))
    for bad in (np.nan, np.inf):
        assert not same_numbers(np.array([bad]), np.array([bad]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_no_numbers_make_no_instance(bad):
    c = dsf.compare(dsf.gla.init(2), dsf.gla.init(2)).certificates[0]
    worse = {**c.witnesses["left"], "b": np.full_like(c.witnesses["left"]["b"], bad)}
    refused(replace(c, witnesses={**c.witnesses, "left": worse, "right": worse}))


# ------------------------------------------------------------------- print
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 18))
def test_numbers_are_printed_outward(x, digits):
    low, high = Decimal(at_least(x, digits)), Decimal(at_most(x, digits))
    assert low <= Decimal(x) <= high
    assert high - low <= abs(Decimal(x)) * Decimal(10) ** (1 - digits) * Decimal("1.01")
    assert len(low.as_tuple().digits) <= max(digits, len(at_least(x, digits).strip("-0.")))
    assert float(exactly(x)) == x


def test_state_counts_are_printed_outward():
    c = hankel_gap(np.eye(9, k=-3), states=2)
    assert Decimal(c.claim.split("at least ")[1].split(" ")[0]) <= Decimal(c.lower)
    r = realize(np.tril(np.ones((8, 8))), states=1, relative=True)
    text = r.certificate.claim
    low, high = text.split("at least ")[1].split(" and at most ")
    assert Decimal(low.split(" ")[0]) <= Decimal(r.lower)
    assert Decimal(high.split(" ")[0]) >= Decimal(r.upper)
