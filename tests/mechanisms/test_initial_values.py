"""Initial values against the formulas of the papers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import dsf
from dsf.core.catalogue import everything
from dsf.core.errors import ShapeError

DEVIATION = 0.05  # of an empirical distribution from the true one; probability < 1e-8 for 4000
DRAWS = 4000  # (inequality of Dvoretzky, Kiefer, Wolfowitz: 2 exp(-2 DRAWS DEVIATION^2))


def uniform(x: np.ndarray, low: float, high: float) -> bool:
    """Whether the numbers look like independent draws from the uniform law on (low, high)."""
    x = (np.sort(x.ravel()) - low) / (high - low)
    i = np.arange(x.size)
    off = np.maximum(np.abs((i + 1) / x.size - x), np.abs(x - i / x.size))
    return bool(x[0] >= 0 and x[-1] <= 1 and off.max() < DEVIATION)


@pytest.mark.parametrize("heads", [1, 6])
def test_decay_of_retention(heads):
    """gamma_h = 1 - 2^(-5-h), h = 0, 1, ...; these numbers are exact in binary."""
    gamma = dsf.retnet.init(d=12, heads=heads).gamma
    assert gamma.shape == (heads, 1, 1)
    want = [1 - Fraction(1, 2 ** (5 + h)) for h in range(heads)]
    assert [Fraction(x) for x in gamma.ravel()] == want


@pytest.mark.parametrize("n", [2, 6])
def test_angles_of_retention(n):
    """theta_i = 10000^(-i/(n/2)): the rotary angles."""
    theta = dsf.retnet(rotation="qk").init(d=2, n=n).theta
    assert np.allclose(theta ** (n // 2) * 10000.0 ** np.arange(n // 2), 1, rtol=1e-12)


def test_forget_bias_of_mlstm():
    """Linear in the head from 3 to 6: later heads forget less."""
    bias = dsf.mlstm.init(d=4, heads=4).bf.ravel()
    assert np.allclose(bias, [3, 4, 5, 6], rtol=1e-15)


def test_steps_and_poles_of_s4d():
    """S4D-Lin: a_k = -1/2 + i pi k; dt log-uniform in [1e-3, 1e-1]."""
    mech = dsf.s4d.init(d=DRAWS, n=3)
    assert uniform(mech.log_dt, np.log(1e-3), np.log(1e-1))
    poles = -np.exp(mech.log_re) + 1j * mech.a_im
    assert np.allclose(poles, [-0.5, -0.5 + 1j * np.pi, -0.5 + 2j * np.pi], rtol=1e-15)


def test_eigenvalues_and_gain_of_the_lru():
    """|lambda|^2 uniform in (0, 1), phase in (0, 2 pi), gamma^2 = 1 - |lambda|^2."""
    mech = dsf.lru.init(d=1, n=DRAWS)
    squares = np.exp(-2 * np.exp(mech.nu))
    assert uniform(squares, 0, 1)
    assert uniform(np.exp(mech.theta), 0, 2 * np.pi)
    assert np.allclose(np.exp(2 * mech.log_gamma).ravel(), 1 - squares.ravel(), rtol=1e-9, atol=0)


# --------------------------------------------------------------------------- sizes
@pytest.mark.filterwarnings("ignore::dsf.core.errors.NotContractive")
@pytest.mark.parametrize("f", everything(), ids=repr)
def test_heads_share_the_width(f):
    """As in the libraries of layers: by default the output is as wide as the input."""
    for heads in (1, 2, 4):
        mech = f.init(d=8, heads=heads)
        assert mech(np.ones((3, 8))).shape == (3, 8)
        has = any("H" in draw.axes for draw in f.cls.draws().values())
        assert mech.sizes["H"] == (heads if has else 1)


def test_sizes_that_are_given_count_per_head():
    mech = dsf.gla.init(d=8, n=3, p=5, heads=7)
    assert [mech.sizes[k] for k in "dHnp"] == [8, 7, 3, 5]
    assert mech(np.ones((2, 8))).shape == (2, 35)
    halves = [dsf.gla.init(d=8, **{k: 3}, heads=2).sizes for k in "np"]
    assert [(x["n"], x["p"]) for x in halves] == [(3, 4), (4, 3)]


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(
        ShapeError, match=r"heads = 3 does not divide d = 8.*\(1, 2, 4, 8\).*give n"
    ):
        dsf.gla.init(d=8, n=2, heads=3)
    with pytest.raises(ShapeError, match=r"got n = 3, which is the default for d = 6, heads = 2"):
        dsf.mamba3.init(d=6, heads=2)
    assert dsf.mamba.init(d=8, heads=3)(np.ones((2, 8))).shape == (2, 8)  # channels, no heads
