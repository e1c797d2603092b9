"""Temperatures of selective self-attention: entropy, dilution, and what they spare the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsf.solvers.attention_metrics import entropy
from dsf.solvers.interventions import position_temperature, softmax, tempered

statement = (
    "dH/dtau = -tau Var(s) <= 0 for rows softmax(tau s). A key that leads n - 1 others by Delta "
    "keeps its weight as n grows iff tau grows like log(n)/Delta. Two queries a, b that need gaps "
    "G1, G2 on the keys k_u, k_v force |W| >= |G1 - G2| / (|k_u - k_v| |a - b|) without it."
)
reference = "zhang2024 (arXiv 2411.12892); the three statements in this form are derived here"
falsified_by = "an entropy that rises with tau, a dilution with c >= 1/Delta, or a smaller W"


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


@given(
    arrays(float, st.integers(2, 12), elements=st.floats(-3, 3)),
    st.floats(0.05, 4),
)
def test_entropy_falls_at_the_rate_of_the_variance(s: np.ndarray, tau: float) -> None:
    p, step = softmax(tau * s), 1e-5
    rate = -tau * (p @ s**2 - (p @ s) ** 2)
    slope = (entropy(softmax((tau + step) * s)) - entropy(softmax((tau - step) * s))) / (2 * step)
    assert slope == pytest.approx(rate, abs=1e-7)
    assert rate <= 1e-12


def least_norm(a: np.ndarray, b: np.ndarray, d: np.ndarray, gaps: tuple[float, float]) -> float:
    """The least |W|_2 with d'W a = G1 and d'W b = G2: W = d w'/|d|^2, w of least norm."""
    w = np.linalg.pinv(np.stack([a, b])) @ np.array(gaps)
    return float(np.linalg.norm(np.outer(d, w) / (d @ d), 2))


@pytest.mark.parametrize(
    ("distance", "least", "bound", "with_tau"),
    [(0.5, 10.4, 9.9, 0.73), (0.1, 49.6, 49.5, 0.71), (0.02, 247.5, 247.5, 0.71)],
)
def test_near_queries_with_other_gaps_force_large_weights(
    distance: float, least: float, bound: float, with_tau: float
) -> None:
    half = distance / 2
    a = np.array([half, np.sqrt(1 - half**2)])
    b = a * [-1, 1]
    d = np.array([1.0, -1.0])  # difference of two orthogonal unit keys
    found = least_norm(a, b, d, (8.0, 1.0))
    theory = 7 / (np.linalg.norm(d) * distance)
    assert found >= theory
    assert found == pytest.approx(least, abs=0.051) and theory == pytest.approx(bound, abs=0.051)
    # tau = (8, 1) leaves the gap 1 to both queries
    assert least_norm(a, b, d, (1.0, 1.0)) == pytest.approx(with_tau, abs=5e-3)


def test_a_value_temperature_of_zero_removes_a_token() -> None:
    s = np.random.default_rng(0).standard_normal((5, 5))
    keep = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    rows = tempered(s, np.ones(5), keep)
    assert np.all(rows[:, 2] == 0)
    np.testing.assert_array_equal(rows[:, keep > 0], softmax(s)[:, keep > 0])
