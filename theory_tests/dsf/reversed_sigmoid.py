"""The reversed sigmoid: what the step size of S6 does to its forget gate, and what alpha adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sympy
from hypothesis import given
from hypothesis import strategies as st

import dsf
from dsf.core.algebra.zero import is_zero
from dsf.core.certificate import Scope
from dsf.theory_tests import judge
from dsf.verdicts.lattice.paths import edge

statement = (
    "e^{-alpha softplus(x)} = sigmoid(-x)^alpha, so S6 with a = -alpha is a gated recurrence with "
    "the reversed sigmoid as forget gate; with a = -1 and the exact hold its write is 1 minus that "
    "gate, sigmoid(x). At alpha = 1 the qLSTM with a reversed sigmoid is the original qLSTM with "
    "-W_f, -b_f: the same function class. What the change adds is the exponent alpha."
)
reference = "sieber2024, eq. (22)"
falsified_by = (
    "An x where the two gates differ, or an input on which the two qLSTMs do at alpha = 1."
)


def claim(alpha: float = 0.7, seed: int = 0) -> list:
    """The identity on a grid, both qLSTMs on an input, and the certificate at scope mechanism."""
    x = np.linspace(-30, 30, 1201)
    gate = np.exp(-alpha * np.logaddexp(0, x))
    # rounding of the exponent: 1 + |log gate| units in the last place
    tolerance = float(np.max(gate * (2 + np.abs(np.log(gate))) * 2.0**-50))
    original = dsf.qlstm.init(d=4, p=3, seed=seed)
    nesting = edge("qlstm = qlstm(reversed=True)")
    u = np.random.default_rng(seed).standard_normal((20, 4))
    assert nesting.params is not None
    return [
        (gate, (1 / (1 + np.exp(x))) ** alpha, tolerance),
        (nesting.params(original)(u), original(u), 1e-14),
        nesting.certificate(Scope.MECHANISM),
    ]


def test_the_identities_are_proved():
    x, alpha = sympy.Symbol("x", real=True), sympy.Symbol("alpha", positive=True)
    softplus = sympy.log(1 + sympy.exp(x))
    assert is_zero(sympy.exp(-alpha * softplus) - (1 / (1 + sympy.exp(x))) ** alpha)
    assert is_zero(1 - sympy.exp(-softplus) - 1 / (1 + sympy.exp(-x)))


@given(st.floats(0.05, 4), st.integers(0, 2**31))
def test_the_claim_holds(alpha, seed):
    judgement = judge(claim(alpha, seed)[:2])
    assert judgement.holds, "\n".join(judgement.lines)


def test_the_certificate_holds():
    assert judge(claim()).holds


@given(st.floats(0.1, 0.9) | st.floats(1.1, 3), st.integers(0, 2**31))
def test_another_exponent_is_another_function(alpha, seed):
    """At the input 0 the gate is 2^-alpha, whatever the weights; the original has 1/2 there."""
    original = dsf.qlstm.init(d=4, p=3, seed=seed)
    flip = edge("qlstm = qlstm(reversed=True)").params
    assert flip is not None
    flipped = flip(original)
    tok = replace(flipped, alpha=np.full(1, alpha)).tokens(np.zeros((1, 4)))
    assert np.allclose(tok.log_f, -alpha * np.log(2), rtol=1e-12)
    assert not np.allclose(tok.log_f, original.tokens(np.zeros((1, 4))).log_f, rtol=1e-3)
