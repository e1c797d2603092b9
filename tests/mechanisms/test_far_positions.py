"""Positions far out: a long stream in float32 turns as far as in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import dsf
from dsf.core import ops

FAR = [2**18, 2**24, 2**30]


@pytest.mark.parametrize("t", FAR)
@pytest.mark.parametrize("rotation", [True, "qk"])
def test_a_stream_far_out_agrees_with_float64(t, rotation):
    """The reference has the parameters that float32 left, and the same state."""
    single = dsf.retnet(rotation=rotation).init(d=4, n=4, p=2).map(np.float32)
    double = single.map(np.float64)
    rng = np.random.default_rng(0)
    _, state = single.run(rng.standard_normal((3, 4)).astype(np.float32))
    state = replace(state, t=t)
    u = rng.standard_normal((9, 4)).astype(np.float32)
    wide = state.map(lambda x: x.astype(np.result_type(x.dtype, np.float64)))
    wanted = double.run(u.astype(np.float64), wide)[0]
    y = single.run(u, state)[0]
    module = single.to_torch()
    z = module.run(torch.as_tensor(u), state.map(torch.as_tensor))[0].detach().numpy()
    assert y.dtype == z.dtype == np.float32
    size = np.abs(wanted).max()
    assert np.abs(y - wanted).max() < 2e-6 * size and np.abs(z - wanted).max() < 2e-6 * size


def test_phases_are_exact_turns_in_other_worlds():
    theta, like = dsf.symbols(np.ones((1, 2)), "theta"), dsf.symbols(np.ones(1), "x")
    assert ops.phase(theta, ops.positions(7, 3, like))[2, 1] == 9 * theta[0, 1]
    far = ops.positions(2**24, 3, np.ones(1, np.float32))[:, 0]
    assert (far - 2**24).tolist() == [0.0, 1.0, 2.0]
