"""The entropy of a softmax row falls with its inverse temperature, at the rate of a variance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsf.solvers.heads.attention_metrics import entropy
from dsf.solvers.heads.interventions import softmax

statement = "For p = softmax(tau s): dH(p)/dtau = -tau Var_p(s) <= 0 for tau >= 0."
reference = "derived; used for zhang2024 (arXiv 2411.12892)"
falsified_by = "another slope, or an entropy that rises with tau"


def claim(tau: float = 1.3, keys: int = 12, seed: int = 0):
    """The derivative of the entropy, by a complex step through the formula, against the law."""
    s = np.random.default_rng(seed).standard_normal(keys)
    p = softmax(tau * s)
    step = 1e-30
    z = np.exp((tau + 1j * step) * (s - s.max()))
    q = z / z.sum()
    slope = -np.sum(q * np.log(q)).imag / step
    return slope, -tau * (p @ s**2 - (p @ s) ** 2), 1e-13


@given(st.floats(0, 5), st.integers(1, 40), st.integers(0, 99))
def test_slope(tau: float, keys: int, seed: int) -> None:
    computed, theory, tolerance = claim(tau, keys, seed)
    assert abs(computed - theory) <= tolerance * max(1.0, tau) * 10


@given(
    arrays(float, st.integers(2, 12), elements=st.floats(-3, 3)), st.floats(0, 4), st.floats(0, 4)
)
def test_entropy_never_rises(s: np.ndarray, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert entropy(softmax(high * s)) <= entropy(softmax(low * s)) + 1e-12


@pytest.mark.parametrize("keys", [2, 100])
def test_ends(keys: int) -> None:
    s = np.random.default_rng(1).standard_normal(keys)
    assert entropy(softmax(0 * s)) == pytest.approx(np.log(keys), rel=1e-14)
    assert abs(entropy(softmax(1e6 * s))) < 1e-12
