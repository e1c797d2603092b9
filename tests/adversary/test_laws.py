"""What holds for every kind of claim: its certificates check, and nothing in them can be changed.

A kind without examples fails.  What is special to a kind (how tight its bounds are, forgeries that
only its arithmetic can see) is tested beside its finder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from edits import DROP, others, places, put, restated
from honest import examples

import dsf
from dsf.claims import MALFORMED, kinds
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.states.lower import hankel_gap
from dsf.states.needed import realize
from dsf.verdicts.lattice.paths import edge

pytestmark = pytest.mark.solver


def named(kind: str) -> list[str]:
    """The names of the examples of a kind."""
    return [name for name, c in examples().items() if c.kind == kind]


def every(test: Callable[[str], None], of: Iterable[str] = ()) -> Callable[[str], None]:
    """A test of one example, as one of all examples of a kind: they are made when it runs."""

    @pytest.mark.parametrize("kind", of or kinds())
    def of_kind(kind):
        for name in named(kind):
            test(name)

    return of_kind


# ---------------------------------------------------------------------- tampering
def refused(c: Certificate, healed: str = "") -> None:
    """Refused on purpose, not by stumbling over it; also on the way through JSON.

    JSON has one kind of float and no masks: what it writes as before (`healed`) is as before.
    """
    with pytest.raises(CertificateError) as error:
        c.check()
    assert not str(error.value).startswith(MALFORMED), error.value
    if c.residuals is None or (text := c.to_json()) == healed:
        return
    with pytest.raises(CertificateError):
        Certificate.from_json(text).check()


def tampered(c: Certificate, **changes: Any) -> None:
    """Refused with the old sentence, and with the one that fits the change."""
    other = replace(c, **changes)
    refused(other, c.to_json())
    refused(restated(other), c.to_json())


# ---------------------------------------------------------------------- the laws
def test_every_kind_has_examples():
    assert {c.kind for c in examples().values()} == set(kinds())


@every
def test_it_checks_also_after_json(name):
    c = examples()[name]
    assert c.check()
    again = Certificate.from_json(c.to_json())
    assert again.check()
    assert again.to_json() == c.to_json() and repr(again) == repr(c)
    assert restated(c).claim == c.claim


@every
def test_the_sentence_belongs_to_the_witnesses(name):
    c = examples()[name]
    for claim in (c.claim + " ", c.claim + "\n  bounds", c.claim[:-1], "", None, c.claim.title()):
        refused(replace(c, claim=claim))
    for other in examples().values():
        if other.claim != c.claim and (other.kind == c.kind or name[0] == "g"):
            refused(replace(c, claim=other.claim))


@every
def test_kind_scope_strength_and_reference(name):
    c = examples()[name]
    for kind in {*kinds(), "", "none"} - {c.kind}:
        with pytest.raises(CertificateError):
            replace(c, kind=kind).check()
    for scope in set(Scope) - {c.scope}:
        if {scope, c.scope} != {Scope.RECURRENCE, Scope.MECHANISM} or c.kind != "nesting":
            tampered(c, scope=scope)
        else:  # with a parameter map both are true, each with its own sentence
            refused(replace(c, scope=scope))
            if edge(c.witnesses["edge"]).params is None:
                refused(restated(replace(c, scope=scope)))
    for strength in set(Strength) - {c.strength}:
        tampered(c, strength=strength)
    tampered(c, reference=c.reference + ", p. 1")
    refused(replace(c, reference="x\n  claim       everything is equal"))


@every
def test_bounds(name):
    c = examples()[name]
    rough = name == "undecided"  # its upper bound is all rounding
    for side, far in (("lower", 1.001), ("upper", 1e-3 if rough else 0.999)):
        stored = getattr(c, side)
        if stored is None:
            tampered(c, **{side: 0.0})
            tampered(c, **{side: 1})
            continue
        tampered(c, **{side: None})
        for bad in (np.nan, str(stored), True, np.longdouble(stored)):
            tampered(c, **{side: bad})
        if c.kind != "nuclear-rank":  # its tail has a factor of 2 to spare
            moved = stored * far if isinstance(stored, float) else stored + (1 if far > 1 else -1)
            tampered(c, **{side: moved if stored else (1.0 if far > 1 else -1.0)})


@every
def test_residuals(name):
    c = examples()[name]
    refused(replace(c, residuals={**c.residuals, "more": 0.0}))
    refused(replace(c, residuals=None) if c.residuals else replace(c, residuals={"x\ny": 0.0}))
    for key, value in c.residuals.items():
        for other in (value + 1e-3, np.nan, str(value)):
            refused(replace(c, residuals={**c.residuals, key: other}))
        rest = {k: v for k, v in c.residuals.items() if k != key}
        if rest:
            refused(replace(c, residuals=rest))


@every
def test_every_witness_is_needed(name):
    c = examples()[name]
    for path, _ in places(dict(c.witnesses)):
        other = replace(c, witnesses=put(dict(c.witnesses), path, DROP))
        refused(other)
        if isinstance(path[-1], str):  # a shorter list may make another claim that is true
            refused(restated(other))


@every
def test_every_witness_is_read_as_what_it_is(name):
    c = examples()[name]
    text = c.to_json()
    for path, value in places(dict(c.witnesses)):
        for x in others(value):
            other = replace(c, witnesses=put(dict(c.witnesses), path, x))
            if c.kind in OF_INSTANCES and same_stored_numbers(x, value):
                assert other.check()
                continue
            refused(other, text)
            if c.kind != "stability":  # which reads complex numbers too: a claim that is true
                refused(restated(other), text)


# which hold parameters and inputs as they are stored, in float64, float32 or float16
OF_INSTANCES = (
    "same-instance", "instance-image", "instance-image/near", "instance-coordinates",
    "instance-scores",
    "separation/instances",
    "separation/inputs",
)  # fmt: skip


def same_stored_numbers(x: Any, value: Any) -> bool:
    """The same numbers in float32: the same claim, which is about the numbers."""
    arrays = isinstance(x, np.ndarray) and isinstance(value, np.ndarray)
    return arrays and x.dtype == np.float32 and np.array_equal(x, value)


@every
def test_nothing_surplus(name):
    c = examples()[name]
    for key in ("more", "W2", "lower", "claim", "sources"):
        refused(replace(c, witnesses={**c.witnesses, key: 1.0}))
    refused(replace(c, witnesses={**c.witnesses, "sources": {"os": "0" * 16}}))
    with pytest.raises(CertificateError, match="import no_such_module"):
        replace(c, witnesses={**c.witnesses, "sources": {"no_such_module": "0" * 16}}).check()


# ---------------------------------------------------------------------- separations
LETTERED = {
    f"separation/{kind}"
    for kind in ("affine-step", "grows", "response", "sign-changes", "states", "stays", "window",
                 "words")
}  # fmt: skip
every_separation = partial(every, of=[k for k in kinds() if k.startswith("separation/")])
every_lettered = partial(every, of=sorted(LETTERED))


@every_separation
def test_a_separation_is_neither_looser_nor_turned_round(name):
    c = examples()[name]
    w = dict(c.witnesses)
    tampered(c, lower=c.lower * 0.999)
    if "has" in w:
        tampered(c, witnesses={**w, "has": w["violates"], "violates": w["has"]})
    if "words" in w:
        tampered(c, witnesses={**w, "words": [x + x[-1] for x in w["words"]]})


def test_the_kinds_with_letters_are_these():
    found = {c.kind for c in examples().values() if "letters" in c.witnesses}
    assert found == LETTERED
    assert all("letters" in c.witnesses for c in examples().values() if c.kind in LETTERED)


def with_letters(c: Certificate, letter: str, name: str, x: np.ndarray) -> Certificate:
    return replace(c, witnesses=put(dict(c.witnesses), ("letters", letter, name), x))


@every_lettered
def test_moved_letters_are_noticed(name):
    """Entries that an expression does not see may move; those that it sees may not.

    A number of sign changes and a rank stay the same under small moves, and are proved again.
    """
    c = examples()[name]
    checks = (
        checks_with_moved(c, letter, field, index)
        for letter, fields_ in c.witnesses["letters"].items()
        for field, x in fields_.items()
        for index in np.ndindex(x.shape)
    )
    counted = c.kind in ("separation/sign-changes", "separation/states")
    assert all(checks) if counted else not all(checks)


def checks_with_moved(c: Certificate, letter: str, field: str, index: tuple[int, ...]) -> bool:
    y = c.witnesses["letters"][letter][field].copy()
    y[index] = str(Fraction(y[index]) + Fraction(1, 1000))
    try:
        return with_letters(c, letter, field, y).check()
    except CertificateError:
        return False


@every_lettered
def test_letters_outside_of_their_domain_are_refused(name):
    c = examples()[name]
    spec = dsf.family(c.witnesses["violates"]).spec
    for letter, fields_ in c.witnesses["letters"].items():
        refused(replace(c, witnesses=put(dict(c.witnesses), ("letters", letter), {})))
        for field, x in fields_.items():
            bad = {"real": None, "> 0": "-7", "< 0": "7"}.get(str(spec[field].domain), "7")
            if bad is not None:
                refused(with_letters(c, letter, field, np.full_like(x, bad)))
            refused(with_letters(c, letter, field, x[..., :0]))


# ---------------------------------------------------------------------- memory
def test_certificates_share_no_memory_with_what_was_given():
    M = np.tril(np.ones((6, 6)))
    mech = dsf.gla.init(2, n=1, p=2, seed=0)
    found = [realize(M, atol=0.1).certificate, hankel_gap(M, 0), dsf.compare(mech, mech)]
    text = [c.to_json() for c in found]
    M[5, 0] = 7.0
    mech.Wq[...] = 0.0
    assert [c.to_json() for c in found] == text
