"""Interventions on attention: limits, bad input, and the toy of residual norms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsf.core.errors import DomainError, NonFiniteError, ShapeError, UnknownNameError
from dsf.solvers.dynamics.residual_toy import descent, train
from dsf.solvers.heads import interventions as act

logits = arrays(float, st.integers(1, 20), elements=st.floats(-50, 50))


@given(logits, st.floats(-1e3, 1e3))
def test_softmax_is_the_formula_and_ignores_shifts(s, shift):
    p = act.softmax(s)
    np.testing.assert_allclose(p, np.exp(s - 50) / np.exp(s - 50).sum(), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(act.softmax(s + shift), p, rtol=1e-10, atol=1e-300)


@given(logits)
def test_limits_recover_softmax(s):
    p = act.softmax(s)
    np.testing.assert_array_equal(act.clipped_softmax(s, 0.0), p)
    np.testing.assert_array_equal(act.tempered(s[None], 1.0)[0], p)
    np.testing.assert_array_equal(
        act.tempered(s[None], np.zeros(1))[0], np.full(len(s), 1 / len(s))
    )


def test_masked_rows_and_bad_logits():
    for bad in ([-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0]):
        with pytest.raises(NonFiniteError, match="mask"):
            act.softmax(np.array(bad))


@pytest.mark.parametrize("gamma, zeta", [(0.1, 1.0), (-0.1, 0.9)])
def test_clip_arguments(gamma, zeta):
    with pytest.raises(DomainError, match="gamma <= 0 and zeta >= 1"):
        act.clipped_softmax(np.zeros(3), gamma, zeta)


def test_gate_shapes():
    with pytest.raises(ShapeError, match=r"\[5 3\] or \[5 1\]"):
        act.gated_output(np.ones((4, 3)), np.ones((4, 5)), np.ones((5, 2)))
    assert act.gated_output(np.ones((4, 3)), np.ones((4, 5)), np.ones((5, 1))).shape == (4, 3)


def test_sink_tokens_need_one_loud_dimension():
    x = np.random.default_rng(0).standard_normal((6, 4096))
    x[2, 1415] = 3000.0
    assert act.sink_tokens(x, [1415, 2533]).tolist() == [False, False, True, False, False, False]
    assert not act.sink_tokens(x, [7]).any()
    # rms(x) of a single spike bounds the criterion by sqrt(d)
    assert 20 < np.sqrt(4096)


def test_image_centred_rows():
    image, sinks = np.array([0, 1, 1, 0]) > 0, np.array([1, 1, 0, 0]) > 0
    rows = np.array([[0.1, 0.3, 0.3, 0.3], [0.1, 0.4, 0.3, 0.2], [0.8, 0.05, 0.1, 0.05]])
    assert act.image_centred(rows, image, sinks).tolist() == [True, False, False]


def test_redistribute_refuses_bad_input():
    row = np.full(4, 0.25)
    with pytest.raises(ShapeError, match="masks"):
        act.redistribute(row, np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(DomainError, match="keep_fraction"):
        act.redistribute(row, np.ones(4, bool), np.ones(4, bool), 1.2)


def test_temperature_and_injection_domains():
    with pytest.raises(DomainError):
        act.position_temperature(np.array([0]), 0.1)
    with pytest.raises(DomainError):
        act.inject(np.zeros(2), np.ones(2), 1.5)
    with pytest.raises(DomainError):
        act.slot_logit(np.zeros(3), 1.0)
    assert act.position_temperature(np.array(1), 5.0) == 1.0


def test_injection_per_head():
    o, e = np.zeros((3, 2)), np.ones((3, 2))
    found = act.inject(o, e, np.array([0.0, 0.5, 1.0])[:, None])
    np.testing.assert_array_equal(found[:, 0], [0.0, 0.5, 1.0])


@given(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(-0.9, 0.9))
def test_the_descent_of_the_toy_is_minus_the_gradient(y, m, c):
    def loss(y, m):
        return np.exp(-y * (m + c) / np.sqrt(m * m + 2 * m * c + 1))

    h = 1e-6
    slopes = (loss(y - h, m) - loss(y + h, m), loss(y, m - h) - loss(y, m + h))
    np.testing.assert_allclose(descent(y, m, c), np.array(slopes) / (2 * h), atol=1e-8)


def test_unknown_optimiser():
    with pytest.raises(UnknownNameError, match="sgd, adam"):
        train("lion", 3)
