"""Stretches summed up: against the composition of single steps, and folded at any cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core import fast
from dsf.core.catalogue import everything
from dsf.core.errors import OverflowingScanError
from dsf.core.kinds import Recurrence
from dsf.core.metrics import effective_length, gate, ratio, scale
from dsf.core.stretch import element, fold
from dsf.core.system import LTV, Element
from dsf.core.transition import Dense, Diag, LowRank, Shift

pytestmark = pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
FAMILIES = [f for f in everything() if issubclass(f.cls, Recurrence)]
L = 9
SYSTEMS = {}


def drawn(family, L=L, n=4):
    if (family, L, n) not in SYSTEMS:
        tok = family.draw_tokens(np.random.default_rng(0), L, n=n, p=3, d=3)
        ltv, X = family.without_parameters().system(tok)
        SYSTEMS[family, L, n] = replace(ltv, steps=X.shape[-3]), X
    return SYSTEMS[family, L, n]


def close(a, b):
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
@pytest.mark.parametrize("small", [0, fast.SMALL])  # in kernels, and step by step
def test_every_recurrence_against_its_single_steps(family, small, monkeypatch):
    monkeypatch.setattr(fast, "SMALL", small)
    ltv, X = drawn(family)
    whole, slow = element(ltv, X), ltv.element(0, ltv.length, X)
    assert close(whole.b, np.broadcast_to(slow.b, whole.b.shape))
    A, B = whole.A.dense(ltv.n), slow.A.dense(ltv.n)
    assert close(A, np.broadcast_to(B, A.shape))
    assert isinstance(whole.A, Diag) == isinstance(ltv.A, Diag)
    single = ltv.map(lambda x: x.astype(np.complex64 if x.dtype.kind == "c" else np.float32))
    narrow = element(single, X.astype(np.float32))
    assert (
        {x.dtype for x in narrow.A.arrays()} == {narrow.b.dtype} == {single.promote(narrow.b).dtype}
    )
    assert narrow.b.real.dtype == np.float32
    if isinstance(ltv.A, Diag):
        assert whole.A.structure == ltv.A.structure  # one number travels as one number


@given(st.data())
def test_folded_at_any_cut(data):
    ltv, X = drawn(data.draw(st.sampled_from(FAMILIES)))
    total = ltv.length
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=5)))
    ends = [0, *cuts, total]
    parts = [(ltv.part(a, b), X[..., a:b, :, :]) for a, b in pairwise(ends)]
    S = fold([element(part, x) for part, x in parts])
    reading = replace(ltv, C=np.eye(ltv.n)[None], D=None, read="after")  # the state is the output
    size = scale(reading, X)[..., -1, :, :]
    assert ratio(S, ltv.scan(X)[1], size) <= gate(effective_length(ltv))


def test_no_steps_change_nothing():
    ltv, X = drawn(dsf.deltanet)
    nothing = element(ltv.part(2, 2), X[..., 2:2, :, :])
    one = element(ltv, X)
    assert not nothing.b.any() and np.array_equal(nothing.A.dense(4), np.eye(4))
    assert np.array_equal(fold([nothing, one, nothing]), one.b)
    assert np.array_equal(fold([one, nothing]), one.b)


@pytest.mark.parametrize(("L", "kind"), [(1, LowRank), (3, LowRank), (4, Dense), (9, Dense)])
def test_factors_while_they_are_smaller_than_a_matrix(L, kind):
    ltv, X = drawn(dsf.deltanet, L, n=8)  # rank 1 a step
    A = element(ltv, X).A
    assert type(A) is kind and (kind is Dense or A.rank == L)
    assert close(A.dense(8), ltv.element(0, L, X).A.dense(8))


def test_matrices_and_shift_registers():
    rng = np.random.default_rng(0)
    one = np.ones((1, 1, 2))
    for A in (Dense(rng.standard_normal((5, 2, 2)) / 2), Shift(2)):
        ltv = LTV(A, rng.standard_normal((1, 2, 1)), one, steps=5)
        X = rng.standard_normal((5, 1, 3))
        whole, slow = element(ltv, X), ltv.element(0, 5, X)
        assert close(whole.b, slow.b) and close(whole.A.dense(2), slow.A.dense(2))


def test_gates_that_close_exactly():
    log_a = np.array([[-0.5], [-np.inf], [-0.5]])
    ltv = LTV(Diag(log_a=log_a), np.ones((1, 1, 1)), np.ones((1, 1, 1)), steps=3)
    assert element(ltv, np.ones((3, 1, 1))).A.values() == 0


def test_not_a_number_stays_where_it_is():
    ltv, X = drawn(dsf.gla)
    X = X.copy()
    X[..., 4, :, 1] = np.nan
    first, second = (element(ltv.part(a, b), X[..., a:b, :, :]) for a, b in ((0, 6), (6, L)))
    assert np.isfinite(first.A.values()).all() and np.isfinite(second.b).all()
    S = fold([first, second])
    assert np.array_equal(np.isnan(S), np.isnan(ltv.scan(X)[1])) and np.isnan(S).any()


def test_what_leaves_the_range():
    one = np.ones((1, 1, 1))
    growing = LTV(Diag(a=one[0] * 2), one, one, steps=2000)
    with pytest.raises(OverflowingScanError, match="product of the transitions of 2000") as error:
        element(growing, np.zeros((2000, 1, 1)))
    assert error.value.index == 1023
    huge = Element(Diag(a=np.array([1e200])), np.full((1, 1), 1e200))
    with pytest.raises(OverflowingScanError, match="after 2 stretches"):
        fold([huge, huge])
    assert np.isinf(fold([Element(huge.A, huge.b * np.inf), huge])).all()  # was infinite before
