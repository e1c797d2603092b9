"""Stability of mechanisms and of systems, on an input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsf
from dsf.core import errors
from dsf.core.transition import Dense, Diag, Shift
from dsf.spectra.stability import stability

U = np.random.default_rng(0).standard_normal((6, 4))


@pytest.mark.parametrize(
    "name, verdict",
    [("lru", "stable"), ("s4d", "stable"), ("retnet", "stable"), ("linear_attn", "marginal"),
     ("window_softmax", "stable"), ("mamba", "contractive"), ("gla", "contractive"),
     ("gated_deltanet", "contractive"), ("rwkv6", "contractive")],
)  # fmt: skip
def test_layers(name, verdict):
    mech = dsf.family(name).init(d=4)
    s = dsf.stability(mech, U)
    assert s.verdict == verdict and s.check()
    if s.varying:
        with pytest.raises(errors.TimeVaryingError, match="depend on the input"):
            dsf.stability(mech)
        ltv = mech.ltv(U)
        assert np.all(ltv.growth() <= np.log(s.upper) * np.arange(1, 7) + 1e-12)  # |P_t| <= r^t
    else:
        assert dsf.stability(mech).upper == s.upper
        assert abs(np.abs(mech.ltv(U).eigenvalues()).max() - s.upper) < 1e-14


def test_time_constant_of_an_lru():
    mech = dsf.lru.init(d=4, n=8)
    s = dsf.stability(mech)
    r = np.abs(mech.ltv(U).eigenvalues()).max()
    low, high = s.time_constant
    assert low <= high and abs(low + 1.0 / np.log(r)) < 1e-9 * low and high - low < 1e-9 * low
    assert mech.ltv(U).A.n == 8 and s.worst[-1] == np.abs(mech.ltv(U).eigenvalues()[0]).argmax()
    slow = stability(Diag(log_a=np.array([-1e-20])))
    assert slow.time_constant[0] == pytest.approx(1e20) == slow.time_constant[1]
    assert stability(Shift(3)).time_constant == (0.0, 0.0)
    assert stability(np.eye(2)).time_constant == (np.inf, np.inf)


def test_a_delta_rule_is_nonexpansive_and_a_rounded_one_is_left_open():
    mech = dsf.deltanet.init(d=4)
    s = dsf.stability(mech, U)  # I - beta k k' with beta and k as they are
    assert s.verdict == "nonexpansive" and s.margin == (0.0, 0.0) and s.check()
    A = mech.ltv(U).A.expanded()  # U = fl(-beta k) is not exactly parallel to k: a norm exceeds 1
    s = stability(A)
    assert s.verdict == "undecided" and -1e-30 < s.margin[0] < 0.0 and s.check()
    assert "less than the rounding" in repr(s)
    one = dsf.stability(mech, U[:1])  # one token repeated for ever: eigenvalues, not norms
    assert not one.varying and one.verdict == "marginal" and one.check()


def test_torch_arrays_and_systems():
    a = torch.tensor([[0.5, 0.25]], dtype=torch.bfloat16, requires_grad=True)
    assert stability(Diag(a=a)).upper == 0.5
    A = torch.eye(2, dtype=torch.float64) / 2
    assert stability(A).verdict == "stable"
    ltv = dsf.LTV(Dense(A[None]), torch.ones(1, 2, 1), torch.ones(1, 1, 2), steps=9)
    assert stability(ltv).margin == (0.5, 0.5)


def test_an_input_belongs_to_a_mechanism():
    with pytest.raises(errors.DTypeError, match="u is for mechanisms"):
        stability(np.eye(2), U)
    with pytest.raises(TypeError, match="three answers"):
        bool(stability(np.eye(2)))
