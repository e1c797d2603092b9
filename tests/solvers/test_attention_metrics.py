"""Metrics of attention: reference values, loops as slow twins, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.heads import attention_metrics as m


def maps(seed, *shape):
    T = shape[-1]
    A = np.random.default_rng(seed).random(shape) * np.tri(T)
    return A / A.sum(-1, keepdims=True)


@given(st.integers(0, 99), st.integers(3, 12))
def test_slow_twins(seed, T):
    A = maps(seed, T, T)
    k = 1 + seed % T
    assert m.sink_weight(A, k) == pytest.approx(
        sum(A[i, k - 1] for i in range(k - 1, T)) / (T - k + 1)
    )
    N = seed % T
    assert m.local_focus(A, N) == pytest.approx(sum(A[i, i - N] for i in range(N, T)) / (T - N))
    assert m.concentration(A) == pytest.approx(sum(a * a for a in A.ravel()) ** 0.5)
    H = [-sum(a * np.log(a) for a in row if a > 0) for row in A]
    np.testing.assert_allclose(m.entropy(A), H, atol=1e-12)
    s = np.random.default_rng(seed).standard_normal((T, T))
    delta = m.delta_logit(s)
    assert np.isnan(delta[:2]).all()
    for i in range(2, T):
        assert delta[i] == pytest.approx(s[i, 0] - sum(s[i, j] for j in range(1, i)) / (i - 1))


def test_reference_values_of_the_outlier_metrics():
    x = np.random.default_rng(0).standard_normal((4, 256))
    assert m.kurtosis(x) == pytest.approx(3.260486, abs=1e-6)
    assert m.infinity_norm(x) == pytest.approx(3.1125, abs=1e-4)
    x[:, 7] += 60
    assert m.kurtosis(x) == pytest.approx(221.3000, abs=1e-4)
    assert m.infinity_norm(x) == pytest.approx(59.8109, abs=1e-4)
    assert m.outliers(x) == 1 / 256


@given(st.integers(3, 300), st.integers(0, 99))
def test_the_bound_on_kurtosis_is_reached_by_one_outlier_only(N, seed):
    spike = np.zeros((1, N))
    spike[0, seed % N] = 1e4
    assert m.kurtosis(spike) == pytest.approx(m.largest_kurtosis(N), rel=1e-9)
    x = np.random.default_rng(seed).standard_normal((1, N))
    assert m.kurtosis(x) <= m.largest_kurtosis(N)


def test_kurtosis_flattens_all_axes_after_the_first():
    x = np.random.default_rng(1).standard_normal((3, 5, 7))
    assert m.kurtosis(x) == m.kurtosis(x.reshape(3, 35))
    assert m.infinity_norm(x) == m.infinity_norm(x.reshape(3, 35))


def test_uniform_attention():
    A = np.tri(64) / np.arange(1, 65)[:, None]
    assert round(float(m.sink_weight(A)), 4) == 0.0741
    assert m.sink_rate(A) == 0 and m.sink_rate(A, epsilon=0.07) == 1


def test_head_diversity():
    A = maps(0, 3, 5, 5)
    slow = sum(A[:, i, j].std() for i in range(5) for j in range(i + 1)) * 2 / 30
    assert m.head_diversity(A) == pytest.approx(slow)


def test_magnitudes_of_unnormalised_attention():
    A = np.array([[0.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_array_equal(m.normalised_magnitude(A), [[0, 0], [0.5, 0.5]])


def test_bad_input():
    with pytest.raises(ShapeError, match=r"\[\.\.\. T T\]"):
        m.sink_weight(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="heads"):
        m.head_diversity(np.ones((3, 3)))
    with pytest.raises(DomainError, match="counts from 1"):
        m.sink_weight(np.ones((3, 3)), 0)
    with pytest.raises(DomainError):
        m.local_focus(np.ones((3, 3)), 3)
