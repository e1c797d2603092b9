"""The full Taylor kernel of order 2: positive, close to softmax to third order, few states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsf.mechanisms.linear.linear_attn import LinearAttention
from dsf.solvers.heads.deconstructed import scaled, standard, taylor

statement = (
    "1 + s + s^2/2 = (1 + (1+s)^2)/2 >= 1/2, with equality at s = -1: the normaliser of the full "
    "kernel never vanishes, rows sum to one, and they differ from softmax by O(s^3). With s = q'k "
    "/ sqrt d it is linear attention with phi = taylor, normalised, and q / sqrt d for q."
)
reference = "derived; beside the approximate variant of xue2025 (arXiv 2510.11602)"
falsified_by = "a weight below 1/2, or an error that falls slower than the cube of the scale"


def claim(T: int = 20, d: int = 4, seed: int = 0):
    """Outputs of dsf's linear attention at the mapped parameters against the map times v."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((T, d))
    Wq, Wk, Wv = rng.standard_normal((3, d, d)) / d**0.5
    mech = LinearAttention(
        Wq[None] / d**0.5, Wk[None], Wv[None], phi="taylor", order=2, normalise=True
    )
    return mech(u), taylor(u @ Wq, u @ Wk) @ (u @ Wv), 1e-12


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_instance_of_linear_attention(T: int, d: int, seed: int) -> None:
    computed, theory, tolerance = claim(T, d, seed)
    np.testing.assert_allclose(computed, theory, atol=tolerance)


@given(st.floats(-1e6, 1e6))
def test_weights_are_at_least_one_half(s: float) -> None:
    weight = 1 + s + s * s / 2
    assert weight >= 0.5 * (1 - 1e-12)
    assert weight == pytest.approx((1 + (1 + s) ** 2) / 2, rel=1e-12)


def test_rows_are_stochastic_and_positive() -> None:
    q, k = 5 * np.random.default_rng(0).standard_normal((2, 50, 4))
    A = taylor(q, k)
    np.testing.assert_allclose(A.sum(1), 1, rtol=1e-13)
    assert np.all(A[np.tri(50, dtype=bool)] > 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_of_third_order(seed: int) -> None:
    q, k = np.random.default_rng(seed).standard_normal((2, 30, 4))
    scales = 2.0 ** -np.arange(3, 8)
    errors = [np.abs(taylor(c * q, k) - standard(c * q, k)).max() for c in scales]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(3, abs=0.1)
    # the leading term: each row loses s^3/6 minus its mean
    i = int(np.argmax(np.abs(taylor(scales[-1] * q, k) - standard(scales[-1] * q, k)).max(1)))
    s = scaled(scales[-1] * q, k)[i, : i + 1]
    leading = (s**3 - np.mean(s**3)) / 6 / (i + 1)
    found = (standard(scales[-1] * q, k) - taylor(scales[-1] * q, k))[i, : i + 1]
    np.testing.assert_allclose(found, leading, atol=0.1 * np.abs(leading).max())
