"""Several errors in one call: the results of single calls, and what is shared is done once."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dsf
from dsf.core.errors import DomainError, DTypeError
from dsf.states import kept, needed, realize, search, states_needed
from dsf.theory_tests.dsf.softmax_states_table import softmax_matrix

ERRORS = (0.3, 0.1, 0.01, 1e-6)


def same(one: dsf.Realization, other: dsf.Realization) -> None:
    """Both claim the same, with systems and blocks of the same sizes."""
    assert (one.lower, one.upper, one.all_heads) == (other.lower, other.upper, other.all_heads)
    assert np.isclose(one.error, other.error, rtol=1e-6, atol=1e-13)
    assert (one.notes, one.batch, len(one.heads)) == (other.notes, other.batch, len(other.heads))
    assert len(one.theorems) == len(other.theorems)
    assert all(a.follows(b) for a, b in zip(one.theorems, other.theorems, strict=True))
    a, b = one.certificate.witnesses, other.certificate.witnesses
    assert [a[k] for k in ("question", "asked", "relative")] == [
        b[k] for k in ("question", "asked", "relative")
    ]
    for x, y in zip(a["heads"], b["heads"], strict=True):
        assert np.array_equal(x["M"], y["M"])
        assert all(x[way]["cut"] == y[way]["cut"] for way in ("forward", "backward") if x.get(way))
    for x, y in zip(one.heads, other.heads, strict=True):
        same(x, y)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 20),
    st.sampled_from(["causal", "full", "heads"]),
    st.sampled_from(["rtol", "atol"]),
    st.lists(st.sampled_from(ERRORS), min_size=1, max_size=3),
)
def test_each_is_the_single_call(seed, L, kind, name, errors):
    M = np.exp(np.random.default_rng(seed).standard_normal((2, L, L)))
    M = {"causal": np.tril(M[0]), "full": M[0], "heads": np.tril(M)}[kind]
    together = realize(M, **{name: tuple(errors)})
    assert type(together) is tuple and len(together) == len(errors)
    for found, error in zip(together, errors, strict=True):
        same(found, realize(M, **{name: error}))
        assert found.check() and found.seconds > 0


def counting(calls, plain):
    def wrapped(*args, **options):
        calls[plain.__name__] = calls.get(plain.__name__, 0) + 1
        return plain(*args, **options)

    return wrapped


def counted(monkeypatch, *places):
    """The number of calls of each function, under its name."""
    calls: dict[str, int] = {}
    for module, name in places:
        monkeypatch.setattr(module, name, counting(calls, getattr(module, name)))
    return calls


def test_the_shared_part_runs_once(monkeypatch):
    """Bounds of |M|, the pass, and each singular value decomposition: as often as for one error."""
    M = softmax_matrix(60, 4)
    calls = counted(monkeypatch, (needed, "operator"), (search, "compress"), (np.linalg, "svd"))
    realize(M, rtol=0.01)
    one = dict(calls)
    calls.clear()
    realize(M, rtol=ERRORS[:3])
    assert calls == one
    assert one["operator"] == one["compress"] == 1 and one["svd"] >= 59  # one for each cut


def test_nothing_is_kept_after_the_call(monkeypatch):
    plain, sizes = kept.Kept.clear, []

    def watched(self):
        before = len(self)
        plain(self)
        sizes.append((before, len(self)))

    monkeypatch.setattr(kept.Kept, "clear", watched)
    realize(np.tril(np.ones((2, 9, 9))), rtol=(0.1, 0.01))
    assert sizes == [(9, 0)] * 2  # for each head, eight cuts and the pass


def test_a_large_operator_is_truncated_at_each_error(monkeypatch):
    M = softmax_matrix(170, 2)
    single = [realize(M, rtol=error) for error in (0.1, 0.01)]
    calls = counted(monkeypatch, (needed, "operator"), (search, "compress"))
    together = realize(M, rtol=(0.1, 0.01))
    assert calls == {"operator": 1, "compress": 2}
    for found, alone in zip(together, single, strict=True):
        same(found, alone)


def test_what_does_not_fit_is_computed_again(monkeypatch):
    M = softmax_matrix(30, 4)
    free = realize(M, rtol=(0.1, 0.01))
    monkeypatch.setattr(kept, "KEPT", 0)
    for found, other in zip(realize(M, rtol=(0.1, 0.01)), free, strict=True):
        same(found, other)


def test_states_needed_takes_several():
    mech = dsf.family("gla").init(d=4)
    u = np.random.default_rng(0).standard_normal((12, 4))
    for found, error in zip(states_needed(mech, u, rtol=(0.1, 0.001)), (0.1, 0.001), strict=True):
        same(found, states_needed(mech, u, rtol=error))
    (only,) = states_needed(np.tril(np.ones((8, 8))), atol=[1e-3])
    assert only.upper == 1


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(rtol=()), DomainError, "holds no error"),
        (dict(rtol=(0.1, 0.0)), DomainError, "must be positive"),
        (dict(atol=(0.1, -1.0)), DomainError, "atol must be finite and not negative"),
        (dict(rtol=(0.1, None)), DTypeError, "rtol must be a number"),
        (dict(rtol=(0.1, "0.2")), DTypeError, "rtol must be a number"),
        (dict(rtol=(0.1,), atol=(0.1,)), DomainError, "not both"),
        (dict(rtol=(0.1,), states=2), DomainError, "not both"),
        (dict(rtol=(0.1,), relative=True), DomainError, "is for states= only"),
    ],
)
def test_bad_errors(options, error, message):
    with pytest.raises(error, match=message):
        realize(np.eye(4), **options)
