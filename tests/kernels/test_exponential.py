"""2^x in compiled code, and that it is made of vector instructions."""

from __future__ import annotations

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from dsf.kernels.exponential import exp2  # noqa: E402


@numba.njit(error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc"})
def powers(x, y):
    for i in range(x.size):
        y[i] = exp2(x[i])


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.float32, -125, 128), (np.float64, -1021, 1024)]
)
def test_every_exponent(dtype, low, high):
    x = np.random.default_rng(0).uniform(low, high - 1e-3, 20000).astype(dtype)
    x = np.concatenate([x, np.arange(low, high), [0.5, -0.5, 1e-30, -1e-30]]).astype(dtype)
    y = np.empty_like(x)
    powers(x, y)
    exact = np.exp2(x.astype(np.longdouble))
    assert np.max(np.abs(y / exact - 1)) <= 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends(dtype):
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -1e30, 1e30], dtype)
    y = np.empty_like(x)
    powers(x, y)
    assert np.array_equal(y, np.array([0, np.inf, np.nan, 1, 0, np.inf], dtype), equal_nan=True)


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -125), (np.float64, -1021)])
def test_what_is_too_small_is_zero(dtype, low):
    x = np.array([np.nextafter(dtype(low), dtype(-np.inf)), low - 0.5, low - 1, low - 40], dtype)
    y = np.ones_like(x)
    powers(x, y)
    assert (y == 0).all()
