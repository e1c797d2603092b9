"""Tokens at the border of a mechanism: the ends of a domain may be reached and not passed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsf
from dsf.core.authoring import LTV, Array, Diag, Recurrence, Tokens, col, drawn, row
from dsf.core.errors import DomainError


class Ungated(Recurrence):
    """The input itself in the places of a gate, of a decay and of a step size."""

    spec = {"f": "L d in (0, 1)", "log_a": "L d < 0", "dt": "L d > 0"}
    has_heads = False
    shift: Array = drawn("3", lambda rng, shape: np.zeros(shape))
    w: Array = drawn("d", lambda rng, shape: np.ones(shape))

    def tokens(self, u):
        first, second, third = (self.shift[..., i] for i in range(3))
        x = u * self.w
        return Tokens(f=x + first, log_a=second - x, dt=x + third)

    def recurrence(self, tok):
        return LTV(Diag(log_a=tok.log_a), B=col(tok.f), C=row(tok.dt)), row(tok.f)


ZERO_TO_ONE = np.array([[0.0, 0.5], [1.0, 0.25]])


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor])
def test_a_token_may_reach_the_end_of_its_domain_and_not_pass_it(as_array):
    """Rounding reaches the ends: sigmoid(40) is 1 in floats."""
    mech, u = Ungated(np.zeros(3), np.ones(2)), as_array(ZERO_TO_ONE)
    assert mech.run(u)[1].t == 2
    for i, name, moved in ((0, "f", 0.25), (0, "f", -0.25), (1, "log_a", 0.5), (2, "dt", -0.75)):
        shift = np.zeros(3)
        shift[i] = moved  # two or three of the four numbers stay inside
        with pytest.raises(DomainError, match=f"the token {name} leaves its domain"):
            Ungated(shift, np.ones(2)).run(u)


@pytest.mark.parametrize("f", [dsf.deltanet, dsf.qlstm, dsf.rglru, dsf.gla, dsf.mlstm], ids=repr)
def test_large_inputs_close_and_open_gates_to_the_last_bit(f):
    mech = f.init(d=4, n=2, p=2, seed=0)
    for u in (60.0 * np.eye(4), -60.0 * np.eye(4)):
        y, _ = mech.run(u)
        assert np.isfinite(y).all()
