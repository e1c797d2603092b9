"""What the objects print: one line for repr, a block within 79 columns, no walls of numbers."""

from __future__ import annotations

import numpy as np
import pytest

import dsf
from dsf.core import worlds
from dsf.core.catalogue import everything
from dsf.core.kinds import Step
from dsf.core.system import LTV
from dsf.core.transition import Dense, LowRank, Prod, Shift


@pytest.mark.parametrize("name", [str(f) for f in everything()])
def test_blocks_fit_the_screen(name):
    family = dsf.family(name)
    mech = family.init(d=64, n=32, p=64, heads=4)
    small = family.init(d=2, n=2, p=2)
    shown = [family.describe(), str(mech), str(small.map(worlds.symbols))]
    if not isinstance(small, Step):
        ltv = small.ltv(np.ones((3, 2)))
        shown += [str(ltv), repr(ltv), repr(ltv.A)]
        latex = ltv._repr_latex_()
        assert latex.count("{") == latex.count("}")
        assert latex.count("$$") == 2
    for text in shown:
        assert max(map(len, text.splitlines())) <= 79
    assert "array" not in repr(mech)
    assert "\n" not in repr(mech)
    assert family.describe().startswith(str(family))
    sizes = {"d": 64, "parameters": sum(x.size for x in mech.parameters().values())}
    assert f"d = {sizes['d']}" in str(mech)
    assert f"{sizes['parameters']} parameters" in str(mech)


def test_a_mechanism():
    assert str(dsf.gla.init(d=4, n=2, p=3, heads=2)).splitlines() == [
        "gla   d = 4, n = 2, p = 3, H = 2   float64, 92 parameters",
        "  update  S_t = diag(a_t) S_{t-1} + k_t v_t'",
        "  output  y_t = S_t' q_t",
        "  tokens  q [L n]   k [L n]   v [L p]   log_a [L n] < 0",
        "  facts   diagonal, contraction, causal, sees order, eigenvalues in (0, 1)",
        "  state   H*n*p = 12 numbers",
        "  cost    5*H*n*p = 60 flops per token",
        "  source  yang2023",
    ]
    assert repr(dsf.retnet.init(d=2)) == (
        "retnet(Wq=[1 2 2], Wk=[1 2 2], Wv=[1 2 2], gamma=[1 1 1], theta=[1 1 1], rotation=False)"
    )


def test_a_system_with_factored_coefficients():
    ltv = dsf.mamba.init(d=3, n=2).ltv(np.ones((5, 3)))
    assert str(ltv).splitlines() == [
        "LTV   L = 5   n = 2   m = 1   r = 1   batch [3]   float64",
        "  update  S_t = A_t S_{t-1} + B_t X_t",
        "  output  Y_t = C_t S_t",
        "  A       diagonal: log_a [3 5 2] = [3 5 1] x [3 1 2]",
        "  B       [3 5 2 1] = [3 5 1 1] x [1 5 2 1]",
        "  C       [1 5 1 2]",
        "  D       none",
    ]
    assert repr(ltv) == "LTV(L=5, n=2, m=1, r=1, A=diagonal, batch=(3,), read='after')"


def test_small_objects():
    one = np.ones((1, 2, 1))
    low = LowRank(dsf.Diag(a=np.ones((1, 1))), one, one)
    assert repr(low) == "LowRank(a [1 1], U [1 2 1], W [1 2 1])"
    assert repr(Shift(3)) == "Shift(3 rows)"
    assert repr(Prod((one, one))) == "Prod([1 2 1] = [1 2 1] x [1 2 1])"
    ltv = LTV(Dense(np.ones((3, 2, 2))), one, np.ones((1, 1, 2)), read="before")
    assert repr(ltv.element(0, 2)) == "Element(A=Dense(A [2 2]), b=[2 2])"
    assert "Y_t = C_t S_{t-1}" in str(ltv)
    assert r"Y_t &= C S_{t-1}" in ltv._repr_latex_()
    assert r"A_t\, S_{t-1} + B X_t" in ltv._repr_latex_()
    mech = dsf.window_softmax(width=3).init(d=2)
    state = mech.run(np.ones((5, 2)))[1]
    assert repr(state) == "State(S=none, tail=Tokens(k [1 2 2], v [1 2 2]), t=5)"
    assert repr(dsf.gla.init(d=2).run(np.ones((5, 2)))[1]) == "State(S=[1 2 2], tail=None, t=5)"


def test_an_instance_without_parameters_has_formulas_only():
    mech = dsf.gla.without_parameters()
    lines = str(mech).splitlines()
    assert lines[0] == "gla   no parameters" and "H*n*p numbers" in str(mech)
    assert lines[1:] == dsf.gla.describe().splitlines()[1:]
    assert "no parameters" in mech._repr_html_()
