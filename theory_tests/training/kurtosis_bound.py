"""The largest kurtosis of N numbers, reached by a single outlier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsf.solvers.heads.attention_metrics import infinity_norm, kurtosis, largest_kurtosis

statement = (
    "mean((x - mean)^4) / s^4 of N numbers with unbiased s is at most (N^2 - 3N + 3)/(N - 1) "
    "((N-1)/N)^2 = 252.0234 at N = 256, with equality iff one number differs from all others. So "
    "a kurtosis of 3076 needs samples of at least 3080 entries: it is taken over all tokens."
)
reference = "derived; the metric is that of bondarenko2023 (arXiv 2306.12929)"
falsified_by = "N numbers with a larger kurtosis"


def claim(N: int = 256, outlier: float = 1e4):
    """The kurtosis of N - 1 zeros and an outlier against the bound."""
    x = np.zeros((1, N))
    x[0, 0] = outlier
    bound = largest_kurtosis(N)
    return kurtosis(x), bound, 1e-9 * bound


@pytest.mark.parametrize("N", [2, 3, 10, 256, 5000])
def test_one_outlier_reaches_the_bound(N: int) -> None:
    computed, theory, tolerance = claim(N)
    assert abs(computed - theory) <= tolerance


def test_values_of_the_reference() -> None:
    assert round(largest_kurtosis(256), 4) == 252.0234
    assert largest_kurtosis(3079) < 3076 < largest_kurtosis(3080) < 3076.002
    x = np.random.default_rng(0).standard_normal((4, 256))
    assert [round(kurtosis(x), 6), round(infinity_norm(x), 4)] == [3.260486, 3.1125]
    x[:, 7] += 60
    assert kurtosis(x) == pytest.approx(221.3000, abs=5e-5)
    assert infinity_norm(x) == pytest.approx(59.8109, abs=5e-5)


@given(arrays(float, st.integers(3, 30), elements=st.floats(-10, 10)))
def test_no_sample_exceeds_the_bound(x: np.ndarray) -> None:
    assert kurtosis(x[None]) <= largest_kurtosis(len(x)) * (1 + 1e-9)
