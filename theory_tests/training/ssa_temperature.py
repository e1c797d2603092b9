"""A temperature that grows with the number of keys keeps a leading key from being diluted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.solvers.heads.interventions import position_temperature, range_needed, softmax, tempered

statement = (
    "A key that leads n - 1 others by Delta keeps its weight as n grows iff tau grows like "
    "log(n)/Delta: tau = 1 + log(n)/Delta gives 1/(1 + (n-1) e^{-Delta}/n). A value temperature "
    "of zero removes a token."
)
reference = "zhang2024 (arXiv 2411.12892); the statement in this form is derived here"
falsified_by = "a dilution with c >= 1/Delta, or a weight that stays with less"


def claim(n: int = 2**14, gap: float = 3.0):
    """Weight of the leading key with tau = 1 + log(n)/gap, against 1/(1 + (n-1) e^{-gap} / n)."""
    s = np.append(np.zeros(n - 1), gap)
    tau = position_temperature(np.array(n), 1 / gap)
    return tempered(s, tau)[-1], 1 / (1 + (n - 1) / n * np.exp(-gap)), 1e-12


@pytest.mark.parametrize("gap", [0.5, 1.0, 4.0])
def test_log_temperature_keeps_the_weight_and_a_constant_one_loses_it(gap: float) -> None:
    kept = []
    for n in (2**4, 2**10, 2**16, 2**20):
        computed, theory, tolerance = claim(n, gap)
        assert abs(computed - theory) <= tolerance
        kept.append(computed)
    assert min(kept) > 1 / (1 + np.exp(-gap))
    s = np.append(np.zeros(2**20 - 1), gap)
    assert tempered(s, 1.0)[-1] < 1e-4
    # below 1/Delta the weight still goes to zero: n^{c Delta - 1}
    tau = position_temperature(np.array(2**20), 0.5 / gap)
    assert tempered(s, tau)[-1] < 0.06


@given(st.integers(2, 10**6), st.floats(0, 30), st.integers(0, 99))
def test_a_range_of_logits_bounds_the_largest_weight(n: int, gap: float, seed: int) -> None:
    """p_max <= 1/(1 + (n-1) e^{-gap}) for logits within `gap`; equality for equal others."""
    s = gap * np.random.default_rng(seed).random(min(n, 1000))
    few = 1 / (1 + (len(s) - 1) * np.exp(-gap))
    assert softmax(s).max() <= few * (1 + 1e-12)
    # and so 1 - delta needs log(n-1) + log((1-delta)/delta)
    rest = 1 / (1 + np.exp(gap) / (n - 1))
    assert range_needed(n, rest) == pytest.approx(gap, rel=1e-9, abs=1e-9)


def test_released_coefficients() -> None:
    """c = exp(-exp(b)) with b = 1.5 or 2 at first: softmax, almost."""
    assert np.exp(-np.exp(1.5)) == pytest.approx(0.011314, abs=5e-7)
    assert np.exp(-np.exp(2.0)) == pytest.approx(6e-4, abs=5e-5)


def test_a_value_temperature_of_zero_removes_a_token() -> None:
    s = np.random.default_rng(0).standard_normal((5, 5))
    keep = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    rows = tempered(s, np.ones(5), keep)
    assert np.all(rows[:, 2] == 0)
    np.testing.assert_array_equal(rows[:, keep > 0], softmax(s)[:, keep > 0])
