"""What holds for every kind of claim: its certificates check, and nothing in them can be changed.

A kind without examples fails.  What is special to a kind (how tight its bounds are, forgeries that
only its arithmetic can see) is tested beside its finder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

import dsf
from dsf.claims import MALFORMED, kinds
from dsf.claims.base import HEADER, KINDS
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import CertificateError
from dsf.core.transition import Diag, LowRank, Prod
from dsf.solvers import attention_svm, gen_svm, local_optimality, prompt_svm
from dsf.solvers.svm.instances import named
from dsf.spectra.stability import stability
from dsf.states.lower import hankel_gap, hankel_lower
from dsf.states.needed import realize
from dsf.verdicts.lattice.equal_when import equal_when
from dsf.verdicts.lattice.paths import edge
from dsf.verdicts.separations import one_state_gap, recall_gap, separate, separate_instances

pytestmark = pytest.mark.solver


# ---------------------------------------------------------------------- examples
def separations() -> dict[str, Certificate]:
    pairs = [
        ("linear_attn", "retnet"), ("gla", "deltanet"), ("gla", "retnet(rotation=True)"),
        ("gla", "softmax"), ("gla", "linear_attn"), ("gla", "window_softmax"), ("s4d", "lru"),
        ("gla", "gru"), ("softmax", dsf.recurrence(2)),
        ("gru", dsf.recurrence(2, current_token_only=True)),
    ]  # fmt: skip
    found = [c for a, b in pairs for c in separate(a, b)]
    a, b = dsf.gla.init(2, n=1, p=2, seed=0), dsf.retnet.init(2, n=1, p=2, seed=0)
    found += [recall_gap(4), one_state_gap(2), separate_instances(a, b)]
    return {f"{c.kind} {c.claim.partition(':')[0]} {i}": c for i, c in enumerate(found)}


def counts() -> dict[str, Certificate]:
    t = np.arange(16)
    M = np.tril(1.0 / (1.0 + np.subtract.outer(t, t).clip(0)))
    return {
        "states": realize(M, atol=0.01).certificate,
        "relative": realize(M, rtol=0.01).certificate,
        "error": realize(M, states=2).certificate,
        "relative error": realize(M, states=2, relative=True).certificate,
        "two directions": realize(M + M.T @ M, atol=0.05).certificate,
        "heads": realize(np.stack([M, M @ M]), atol=0.02).certificate,
        "a cache": realize(np.tril(np.random.default_rng(0).random((9, 9))), atol=1e-9).certificate,
        "necessary": hankel_lower(M, 0.01),
        "gap": hankel_gap(M, 2),
    }


def stabilities() -> dict[str, Certificate]:
    half = np.array([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    k = np.full((1, 2, 1), 0.5)
    systems = {
        "a rotation": np.array([[0.8, -0.6], [0.6, 0.8]]),
        "diagonal": Diag(a=np.array([0.5, -0.25])),
        "exponentials": Diag(log_a=Prod((np.full((1, 1), -1e-3), np.full((1, 1), 0.5)))),
        "marginal": half,
        "a Jordan block": np.array([[1.0, 1.0], [0.0, 1.0]]),
        "several": np.stack([half * 0.9, np.eye(4) / 2]),
        "low rank": LowRank(Diag(a=np.full((1, 1), 0.9)), -k, k),
    }
    return {name: stability(A).certificate for name, A in systems.items()}


def flipped_image(mech: Any) -> Any:
    params = edge("qlstm = qlstm(reversed=True)").params
    assert params is not None
    return params(mech)


def lattice() -> dict[str, Certificate]:
    a, b = (dsf.gla.init(3, n=2, p=2, seed=0) for _ in range(2))
    copied, rounded = dsf.qlstm.init(2, p=2, seed=0), dsf.retnet.init(2, n=1, p=2, seed=0)
    flipped = edge("qlstm = qlstm(reversed=True)")
    return {
        "nested": edge("mamba2 -> gla").certificate(),
        "limit": edge("linear_attn -> mamba").certificate(),
        "equal": edge("rwkv6 = rwkv6(read='after')").certificate(),
        "with parameters": flipped.certificate(Scope.MECHANISM),
        "coupled": equal_when(dsf.mamba, dsf.normalised_attn).certificate,
        "one-hot": equal_when(dsf.gla, dsf.gated_deltanet).certificate,
        "family": dsf.compare("gla", "gla").certificates[0],
        "instance": dsf.compare(a, b).certificates[0],
        "image": dsf.compare(copied, flipped_image(copied)).certificates[0],
        "near image": dsf.compare(rounded, edge("retnet -> gla").params(rounded)).certificates[0],
    }


def margins() -> dict[str, Certificate]:
    a, b, d = named("A"), named("B"), named("D")
    g = gen_svm(b.X, b.z, np.where(np.arange(8) < 2, b.scores, -40.0))
    X = np.array([[[0, 0], [1, 1]], [[0, 0], [1, -1]], [[0, 0], [-0.2, 1.5]]])
    rng = np.random.default_rng(0)
    flat = (
        rng.standard_normal((3, 4, 2)) @ rng.standard_normal((2, 6)),
        rng.standard_normal((3, 1)) @ rng.standard_normal((1, 5)),
    )
    relaxed = prompt_svm(X, [1, 1, 1], strict=np.array([True, True, False]))
    return {
        "frobenius": attention_svm(b.X, b.z, b.optimal).certificate,
        "nuclear": attention_svm(b.X, b.z, b.optimal, norm="nuclear").certificate,
        "entrywise": attention_svm(b.X, b.z, b.optimal, norm="entrywise", p=3.0).certificate,
        "infeasible": attention_svm(d.X, d.z, d.optimal).certificate,
        "relaxed": relaxed.certificate,
        "undecided": attention_svm(*flat, [0, 1, 2], solvers=["nnls"]).certificate,
        "rank": attention_svm(b.X, b.z, b.optimal, norm="nuclear").rank,
        "direction": g.direction.certificate,
        "finite": g.finite.certificate,
        "local": local_optimality(a.X, a.z, [2, 2], a.scores).certificate,
        "not local": local_optimality(a.X, a.z, [0, 2], a.scores).certificate,
    }


@cache
def examples() -> dict[str, Certificate]:
    return separations() | counts() | stabilities() | lattice() | margins()


EVERY = pytest.mark.parametrize("name", examples())


# ---------------------------------------------------------------------- tampering
def refused(c: Certificate, healed: str = "") -> None:
    """Refused on purpose, not by stumbling over it; also on the way through JSON.

    JSON has one kind of float and no masks: what it writes as before (`healed`) is as before.
    """
    with pytest.raises(CertificateError) as error:
        c.check()
    assert not str(error.value).startswith(MALFORMED), error.value
    if c.residuals is not None and c.to_json() != healed:
        with pytest.raises(CertificateError):
            Certificate.from_json(c.to_json()).check()


def tampered(c: Certificate, **changes: Any) -> None:
    """Refused with the old sentence, and with the one that fits the change."""
    other = replace(c, **changes)
    refused(other, c.to_json())
    refused(restated(other), c.to_json())


def restated(c: Certificate) -> Certificate:
    """With the sentence of what the certificate holds, where that can be read and makes one."""
    cls, values = KINDS[c.kind], {}
    try:
        for f in fields(cls):
            given = vars(c) if f.name in HEADER else c.witnesses
            if f.name in given:
                values[f.name] = f.metadata["reader"](given[f.name], f.name)
        return replace(c, claim=cls(**values).sentence)
    except (CertificateError, TypeError):  # a TypeError where a field is missing
        return c


Path = tuple[Any, ...]


def places(x: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every witness, and everything inside it."""
    if path:
        yield path, x
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


DROP = object()


def put(x: Any, path: Path, value: Any) -> Any:
    """The same with another value in one place, or without it."""
    if not path:
        return value
    key, *rest = path
    if isinstance(x, list):
        inner = [] if value is DROP and not rest else [put(x[key], tuple(rest), value)]
        return [*x[:key], *inner, *x[key + 1 :]]
    if value is DROP and not rest:
        return {k: e for k, e in x.items() if k != key}
    return {**x, key: put(x.get(key), tuple(rest), value)}


def others(x: Any) -> Iterator[Any]:
    """What a reader must not take for x."""
    if isinstance(x, np.ndarray):
        kinds = {"f": "f4 g c16 O U32", "i": "i4 f8 O u8", "b": "i8 f8 O u1", "c": "c8 f8 O"}
        with np.errstate(all="ignore"), pytest.warns() if x.dtype.kind == "c" else np.errstate():
            yield from [x.astype(k) for k in kinds.get(x.dtype.kind, "U32").split()]
        yield from [np.ma.masked_array(x), x.tolist(), None, x[..., None], x.ravel()[:-1]]
        if x.dtype.kind in "fi":
            yield x.astype(x.dtype.newbyteorder())
        if x.dtype.kind == "f" and x.size:
            yield from [np.full_like(x, bad) for bad in (np.nan, np.inf)]
        if x.dtype.kind == "O" and x.size:
            yield from [np.full_like(x, bad) for bad in ("1/0", "٣", " 1", "2/4", 0.5)]
    elif isinstance(x, bool):
        yield from [int(x), str(x), None, not x]
    elif isinstance(x, int):
        yield from [float(x), str(x), np.longdouble(x), None, -1 - x, 10**30]
    elif isinstance(x, float):
        yield from [str(x), np.longdouble(x), complex(x), np.nan, None]
    elif isinstance(x, str):
        yield from [x + " ", x + "\nclaim", None, 3, [x], "٣" + x]
    elif isinstance(x, list):
        yield from [None, dict(enumerate(x)), "".join(map(str, x)), [*x, *x[:1]]]
        yield [*x, None]
    elif isinstance(x, dict):
        yield from [None, list(x.values()), {**x, "more": 1}, {**x, 3: 1}]


# ---------------------------------------------------------------------- the laws
def test_every_kind_has_examples():
    assert {c.kind for c in examples().values()} == set(kinds())


@EVERY
def test_it_checks_also_after_json(name):
    c = examples()[name]
    assert c.check()
    again = Certificate.from_json(c.to_json())
    assert again.check()
    assert again.to_json() == c.to_json() and repr(again) == repr(c)
    assert restated(c).claim == c.claim


@EVERY
def test_the_sentence_belongs_to_the_witnesses(name):
    c = examples()[name]
    for claim in (c.claim + " ", c.claim + "\n  bounds", c.claim[:-1], "", None, c.claim.title()):
        refused(replace(c, claim=claim))
    for other in examples().values():
        if other.claim != c.claim and (other.kind == c.kind or name[0] == "g"):
            refused(replace(c, claim=other.claim))


@EVERY
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
    if c.kind not in FREE_REFERENCE:
        tampered(c, reference=c.reference + ", p. 1")
    refused(replace(c, reference="x\n  claim       everything is equal"))


FREE_REFERENCE = ("margin", "margin-zero", "nuclear-rank")  # the problem's, said by its maker


@EVERY
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


@EVERY
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


@EVERY
def test_every_witness_is_needed(name):
    c = examples()[name]
    for path, _ in places(dict(c.witnesses)):
        other = replace(c, witnesses=put(dict(c.witnesses), path, DROP))
        refused(other)
        if isinstance(path[-1], str):  # a shorter list may make another claim that is true
            refused(restated(other))


@EVERY
def test_every_witness_is_read_as_what_it_is(name):
    c = examples()[name]
    for path, value in places(dict(c.witnesses)):
        for x in others(value):
            other = replace(c, witnesses=put(dict(c.witnesses), path, x))
            if c.kind in OF_INSTANCES and same_stored_numbers(x, value):
                assert other.check()
                continue
            refused(other, c.to_json())
            if c.kind != "stability":  # which reads complex numbers too: a claim that is true
                refused(restated(other), c.to_json())


# which hold parameters and inputs as they are stored, in float64, float32 or float16
OF_INSTANCES = (
    "same-instance", "instance-image", "instance-image/near", "separation/instances",
    "separation/inputs",
)  # fmt: skip


def same_stored_numbers(x: Any, value: Any) -> bool:
    """The same numbers in float32: the same claim, which is about the numbers."""
    arrays = isinstance(x, np.ndarray) and isinstance(value, np.ndarray)
    return arrays and x.dtype == np.float32 and np.array_equal(x, value)


@EVERY
def test_nothing_surplus(name):
    c = examples()[name]
    for key in ("more", "W2", "lower", "claim", "sources"):
        refused(replace(c, witnesses={**c.witnesses, key: 1.0}))
    refused(replace(c, witnesses={**c.witnesses, "sources": {"os": "0" * 16}}))
    with pytest.raises(CertificateError, match="import no_such_module"):
        replace(c, witnesses={**c.witnesses, "sources": {"no_such_module": "0" * 16}}).check()


# ---------------------------------------------------------------------- separations
SEPARATED = [name for name, c in examples().items() if c.kind.startswith("separation/")]


@pytest.mark.parametrize("name", SEPARATED)
def test_a_separation_is_neither_looser_nor_turned_round(name):
    c = examples()[name]
    w = dict(c.witnesses)
    tampered(c, lower=c.lower * 0.999)
    if "has" in w:
        tampered(c, witnesses={**w, "has": w["violates"], "violates": w["has"]})
    if "words" in w:
        tampered(c, witnesses={**w, "words": [x + x[-1] for x in w["words"]]})


LETTERS = [name for name in SEPARATED if "letters" in examples()[name].witnesses]


def with_letters(c: Certificate, letter: str, name: str, x: np.ndarray) -> Certificate:
    return replace(c, witnesses=put(dict(c.witnesses), ("letters", letter, name), x))


@pytest.mark.parametrize("name", LETTERS)
def test_moved_letters_are_noticed(name):
    """Entries that an expression does not see may move; those that it sees may not.

    A number of sign changes stays the same under small moves, and is proved again.
    """
    c, outcomes = examples()[name], []
    for letter, fields_ in c.witnesses["letters"].items():
        for field, x in fields_.items():
            for index in np.ndindex(x.shape):
                y = x.copy()
                y[index] = str(Fraction(x[index]) + Fraction(1, 1000))
                try:
                    outcomes.append(with_letters(c, letter, field, y).check())
                except CertificateError:
                    outcomes.append(False)
    assert all(outcomes) if c.kind == "separation/sign-changes" else not all(outcomes)


@pytest.mark.parametrize("name", LETTERS)
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
