"""Symbols and balls: what `map` makes of a mechanism, and what enclosures promise."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import dsf
from dsf.core import worlds
from dsf.core.errors import DTypeError


def test_symbols_are_named_after_the_fields():
    mech = dsf.gla.init(d=2, n=2, p=2).map(dsf.symbols)
    names = {s.name for x in mech.parameters().values() for s in x.flat}
    assert {"Wq_0_0", "Wk_1_1", "b_0"} <= names
    assert len(names) == sum(x.size for x in mech.parameters().values())
    assert all(s.is_real for x in mech.parameters().values() for s in x.flat)
    assert dsf.retnet.init(d=1).map(dsf.symbols).gamma.item().name == "gamma"


@pytest.mark.smoke
def test_a_symbolic_kernel_reads_like_the_paper():
    """SSD at L = 2: M_10 = q_1 k_0 dt_0 exp(a dt_1), with the parameters as letters."""
    mech = dsf.mamba2.init(d=1, n=1, p=1).map(dsf.symbols)
    u = worlds.symbolic_input(2, 1)
    M = mech.kernel(u)[0]
    Wq, Wk, Wdt, b, A = sympy.symbols("Wq Wk Wdt b A_log", real=True)
    u0, u1 = u[:, 0]
    dt = [sympy.log(1 + sympy.exp(x * Wdt + b)) for x in (u0, u1)]
    want = Wq * u1 * Wk * u0 * dt[0] * sympy.exp(-sympy.exp(A) * dt[1])
    assert sympy.simplify(M[1, 0] - want) == 0
    assert M[0, 1] == 0


def test_balls_are_exact_numbers_with_an_exact_radius():
    x = np.array([0.1, -3.0, 5e-324])
    assert all(e.is_exact() for e in worlds.balls(x))
    assert worlds.contains(worlds.balls(x), x).all()
    wide = worlds.balls(x, 0.25)
    assert worlds.contains(wide, x + 0.25).all()
    assert not worlds.contains(wide, x + 0.2500001).any()
    assert (worlds.radii(wide) >= 0.25).all()
    assert np.allclose(worlds.midpoints(wide), x)
    assert np.isinf(worlds.radii(worlds.balls(np.zeros(1)) / worlds.balls(np.zeros(1)))).all()
    assert worlds.balls(np.array([2**62, 3]))[0] == 2**62
    assert worlds.balls(np.array([1 + 2j]))[0].imag == 2


def test_balls_refuse_symbols():
    with pytest.raises(DTypeError, match="must hold numbers"):
        worlds.balls(worlds.symbolic_input(1, 1))


def test_precision_is_local():
    with worlds.precision(300):
        fine = (worlds.balls(np.ones(1)) / 3)[0].rad()
    coarse = (worlds.balls(np.ones(1)) / 3)[0].rad()
    assert fine < 1e-80 < coarse


def test_delta_rules_need_bits_in_proportion_to_their_length():
    """Ball arithmetic loses about a bit per step: at 53 bits a long product says nothing."""
    mech = dsf.deltanet.init(d=2, n=2, p=1, seed=1)
    u = np.random.default_rng(0).standard_normal((60, 2))
    widths = []
    for bits in (53, 256):
        with worlds.precision(bits):
            widths.append(worlds.radii(mech.map(worlds.balls)(worlds.balls(u)))[-1].item())
    assert widths[0] > 1e-10
    assert widths[1] < 1e-30
