"""Clipped softmax: where it is exactly zero, and what softmax would need for the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsf.solvers.heads.interventions import (
    clipped_range_needed,
    clipped_softmax,
    range_needed,
    softmax,
    zero_threshold,
)

statement = (
    "clip((zeta - gamma) p + gamma, 0, 1) is zero exactly where p <= -gamma/(zeta - gamma), with "
    "zero derivative there; a one needs p >= (1 - gamma)/(zeta - gamma), which is 1 for zeta = 1: "
    "out of reach of a row with two keys or more. "
    "With gamma = -alpha/T a uniform row vanishes iff alpha >= T/(T-1)."
)
reference = "bondarenko2023 (arXiv 2306.12929), section 4; the dead uniform rows are derived here"
falsified_by = "a zero above the threshold, a weight at or below it, or a gradient inside it"

rows = arrays(float, st.integers(2, 40), elements=st.floats(-8, 8))


def claim(T: int = 128, alpha: float = 3.2, seed: int = 0):
    """Number of exact zeros among T Gaussian logits against the count below the threshold."""
    s = 2 * np.random.default_rng(seed).standard_normal(T)
    zeros = np.sum(clipped_softmax(s, -alpha / T) == 0)
    return zeros, np.sum(softmax(s) <= zero_threshold(-alpha / T)), 0


@pytest.mark.parametrize("alpha", [0.5, 2.0, 3.2, 12.0])
def test_count_of_zeros(alpha: float) -> None:
    computed, theory, _ = claim(alpha=alpha)
    assert computed == theory > 0
    assert zero_threshold(-alpha / 128) == pytest.approx(alpha / (128 + alpha), rel=1e-14)


@given(rows, st.floats(-0.5, 0), st.floats(1, 1.5))
def test_zeros_ones_and_row_sums(s: np.ndarray, gamma: float, zeta: float) -> None:
    p, a = softmax(s), clipped_softmax(s, gamma, zeta)
    low, high = zero_threshold(gamma, zeta), (1 - gamma) / (zeta - gamma)
    away = 1e-12
    assert np.all(a[p < low - away] == 0) and np.all(a[p > low + away] > 0)
    assert np.all(a[p > high + away] == 1) and np.all(a[p < high - away] < 1)
    free = (a > 0) & (a < 1)
    total = (zeta - gamma) * p[free].sum() + gamma * free.sum()
    assert a[free].sum() == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("gamma", [-0.5, -0.025, 0.0])
def test_without_stretch_a_single_key_alone_has_the_weight_one(gamma: float) -> None:
    np.testing.assert_allclose(clipped_softmax(np.zeros(1), gamma), 1, rtol=1e-15)
    assert np.all(clipped_softmax(np.array([30.0, 0.0]), gamma) < 1)


@given(rows, st.floats(-0.5, 0))
def test_without_stretch_rows_sum_to_at_most_one(s: np.ndarray, gamma: float) -> None:
    assert clipped_softmax(s, gamma).sum() <= 1 + 1e-12


def test_no_gradient_inside_the_clip() -> None:
    s, gamma, step = np.array([3.0, 0.0, -1.0, 2.0]), -0.1, 1e-6
    jacobian = np.array([
        (clipped_softmax(s + e, gamma) - clipped_softmax(s - e, gamma)) / (2 * step)
        for e in step * np.eye(4)
    ])  # fmt: skip
    dead = clipped_softmax(s, gamma) == 0
    assert dead.any() and np.all(jacobian[:, dead] == 0) and np.all(jacobian[0, ~dead] != 0)


@pytest.mark.parametrize("T", [2, 8, 128])
def test_uniform_rows_die_at_the_stated_alpha(T: int) -> None:
    edge = T / (T - 1)
    assert np.all(clipped_softmax(np.zeros(T), -(edge + 1e-9) / T) == 0)
    assert np.all(clipped_softmax(np.zeros(T), -(edge - 1e-9) / T) > 0)


@pytest.mark.parametrize("rest, gap", [(1e-2, 9.4), (1e-4, 14.1), (1e-8, 23.3), (1e-16, 41.7)])
def test_softmax_needs_a_wide_range(rest: float, gap: float) -> None:
    """For 128 keys: logit gap until the other 127 together weigh `rest`."""
    found = range_needed(128, rest)
    assert found == pytest.approx(gap, abs=0.051)
    p = softmax(np.append(np.zeros(127), found))
    assert p[:-1].sum() == pytest.approx(rest, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
def test_a_clip_needs_a_finite_range(alpha: float) -> None:
    """At the stated gap the other keys are at zero; softmax would need an infinite one."""
    gap = clipped_range_needed(128, 0.0, alpha)
    for shift, zero in ((1e-9, True), (-1e-6, False)):
        a = clipped_softmax(np.append(np.zeros(127), gap + shift), -alpha / 128)
        assert np.all(a[:-1] == 0) == zero and a[-1] > 0
    rest = 1e-2
    gap = clipped_range_needed(128, rest, alpha)
    a = clipped_softmax(np.append(np.zeros(127), gap), -alpha / 128)
    assert a[:-1].sum() == pytest.approx(rest, rel=1e-9)
    assert clipped_range_needed(128, rest, 0.0) == pytest.approx(range_needed(128, rest))


def test_dead_rows_get_no_gradient_and_collide() -> None:
    """gamma = -0.025 of the script is alpha = 3.2 at T = 128; all of a nearly flat row is cut."""
    rng, gamma = np.random.default_rng(1), -0.025
    assert gamma == -3.2 / 128
    s = 0.1 * rng.standard_normal((2, 128))
    np.testing.assert_array_equal(*clipped_softmax(s, gamma))
    assert np.all(clipped_softmax(s, gamma) == 0)
    moved = clipped_softmax(s[0] + 1e-3 * np.eye(128), gamma)
    assert np.all(moved == 0)
    assert clipped_softmax(s[0] + 5 * np.eye(128), gamma).max() > 0  # a large step leaves it


def test_near_uniform_heads_start_dead() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 128))
    dead = [np.mean(clipped_softmax(std * z, -3.2 / 128).max(1) == 0) for std in (0.1, 0.3, 1.0)]
    assert dead[0] == 1 and dead[1] == pytest.approx(0.995, abs=5e-3) and dead[2] == 0
