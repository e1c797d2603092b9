"""2^x in compiled code, with the vectors of every width."""

from __future__ import annotations

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from dsf.kernels import vectors  # noqa: E402
from dsf.kernels.exponential import powers  # noqa: E402

REAL = [np.float32, np.float64]


@numba.njit(error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc"})
def in_place(x, lanes):
    powers(x, x.shape[0], x.shape[1], lanes)


@pytest.fixture(params=list(vectors.BYTES))
def power(request, monkeypatch):
    """2^x of a row of any length."""
    monkeypatch.setenv("DSF_SIMD", request.param)

    def run(x):
        lanes = vectors.lanes(x.dtype)
        rows = np.zeros((1, -(-x.size // len(lanes)) * len(lanes)), x.dtype)
        rows[0, : x.size] = x
        in_place(rows, lanes)
        return rows[0, : x.size]

    return run


def exponents(dtype, low, high):
    x = np.random.default_rng(0).uniform(low, high - 1e-3, 20000).astype(dtype)
    return np.concatenate([x, np.arange(low, high), [0.5, -0.5, 1e-30, -1e-30]]).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.float32, -125, 128), (np.float64, -1021, 1024)]
)
def test_every_exponent(power, dtype, low, high):
    x = exponents(dtype, low, high)
    exact = np.exp2(x.astype(np.longdouble))
    assert np.max(np.abs(power(x) / exact - 1)) <= 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", REAL)
def test_the_ends(power, dtype):
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -1e30, 1e30], dtype)
    exact = np.array([0, np.inf, np.nan, 1, 0, np.inf], dtype)
    assert np.array_equal(power(x), exact, equal_nan=True)


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 128), (np.float64, 1024)])
def test_what_is_too_large_is_infinite(power, dtype, most):
    x = np.array([most, most + 0.25, np.nextafter(dtype(most), dtype(0))], dtype)
    assert np.array_equal(np.isinf(power(x)), [True, True, False])


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -125), (np.float64, -1021)])
def test_what_is_too_small_is_zero(power, dtype, low):
    x = np.array([np.nextafter(dtype(low), dtype(-np.inf)), low - 0.5, low - 1, low - 40], dtype)
    assert (power(x) == 0).all()


@pytest.mark.parametrize("dtype", REAL)
def test_every_width_gives_the_same_bits(monkeypatch, dtype):
    found = []
    info = np.finfo(dtype)
    x = exponents(dtype, info.minexp - 5, info.maxexp + 5)
    x = x[: x.size // 16 * 16][None]
    for name in vectors.BYTES:
        monkeypatch.setenv("DSF_SIMD", name)
        y = x.copy()
        in_place(y, vectors.lanes(x.dtype))
        found.append(y)
    assert all(np.array_equal(y, found[0]) for y in found)
