"""Taylor features of any order: the error of the kernel, and where it is positive."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.mechanisms.linear.features import feature_map

statement = (
    "phi(q)'phi(k) = T_R(q'k) for Taylor features up to order R; |e^t - T_R(t)| <= |t|^{R+1}/(R+1)!"
    " max(1, e^t); T_R > 0 everywhere for even R, and odd R have a negative value somewhere."
)
reference = "Taylor's theorem; as features: arora2024"
falsified_by = "a kernel that is not the polynomial, an error above the bound, or a sign"


def polynomial(t, R: int):
    """T_R(t) = sum_{r <= R} t^r / r!"""
    return sum(t**r / factorial(r) for r in range(R + 1))


def claim(R: int = 3, d: int = 3, seed: int = 0):
    """phi(q)'phi(k) against T_R(q'k)."""
    q, k = np.random.default_rng(seed).standard_normal((2, d))
    kernel = feature_map("taylor", q, R) @ feature_map("taylor", k, R)
    return kernel, polynomial(q @ k, R), 1e-12 * np.exp(abs(q @ k))


@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_the_features_are_the_polynomial(R, d, seed):
    computed, theory, tolerance = claim(R, d, seed)
    assert abs(computed - theory) <= tolerance


@given(st.integers(0, 12), st.floats(-8, 8))
def test_the_bound_and_the_sign(R, t):
    value = polynomial(t, R)
    bound = abs(t) ** (R + 1) / factorial(R + 1) * max(1, np.exp(t))
    assert abs(np.exp(t) - value) <= bound + 1e-12 * np.exp(abs(t))
    if R % 2 == 0:
        assert value > 0


@pytest.mark.parametrize("R", [1, 3, 5, 7])
def test_odd_orders_go_negative(R):
    assert polynomial(-R - 1.0, R) < 0
