"""The frozen systems of torch's recurrences: their kernel is the module's own Jacobian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dsf.core.errors import NonFiniteError, ShapeError
from dsf.models.layers.frozen import frozen

KINDS = {
    "LSTM": (nn.LSTM, {}),
    "projected LSTM": (nn.LSTM, {"proj_size": 2}),
    "GRU": (nn.GRU, {}),
    "RNN": (nn.RNN, {}),
    "relu RNN": (nn.RNN, {"nonlinearity": "relu"}),
    "without bias": (nn.GRU, {"bias": False}),
}


def sequence(L=6, d=3, seed=0):
    return torch.randn(L, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobian(net, u, start=None):
    """dy_i / du_j of the module itself [L r L d], in float64."""
    return torch.autograd.functional.jacobian(lambda x: net(x, start)[0], u).numpy()


def product(stages):
    M = stages[0].kernel()
    for stage in stages[1:]:
        M = np.einsum("icjd,jdke->icke", stage.kernel(), M)
    return M


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_the_kernel_is_the_jacobian_of_the_module(name, layers, both):
    torch.manual_seed(1)
    kind, options = KINDS[name]
    net = kind(3, 4, layers, bidirectional=both, dtype=torch.float64, **options)
    u = sequence()
    stages = frozen(net, u)
    assert np.allclose(product(stages), jacobian(net, u), atol=1e-12)
    size = (4 + (2 if "projected" in name else 4)) if kind is nn.LSTM else 4
    assert sum(s.states for s in stages) == size * layers * (1 + both)


@pytest.mark.parametrize("both", [False, True])
def test_a_run_that_starts_in_given_states(both):
    torch.manual_seed(2)
    net = nn.LSTM(3, 4, 2, bidirectional=both, dtype=torch.float64)
    count = 2 * (1 + both)
    start = tuple(torch.randn(count, 4, dtype=torch.float64) for _ in range(2))
    u = sequence()
    batched = tuple(s[:, None] for s in start)
    assert np.allclose(product(frozen(net, u, batched)), jacobian(net, u, start), atol=1e-12)
    assert not np.allclose(product(frozen(net, u)), jacobian(net, u, start), atol=1e-3)


def test_a_layer_of_float32_is_linearised_in_float64():
    net = nn.GRU(3, 4)
    [stage] = frozen(net, sequence().float())
    assert stage.kernel().dtype == np.float64
    wide = nn.GRU(3, 4, dtype=torch.float64)
    wide.load_state_dict(net.state_dict())
    assert np.allclose(stage.kernel(), jacobian(wide, sequence().float().double()), atol=1e-13)


def test_parametrised_weights_are_those_in_use():
    net = nn.GRU(3, 4, dtype=torch.float64)
    torch.nn.utils.parametrizations.spectral_norm(net, "weight_hh_l0").eval()
    u = sequence()
    assert np.allclose(product(frozen(net, u)), jacobian(net, u), atol=1e-12)


def test_one_token_of_width_one():
    net = nn.RNN(1, 1, dtype=torch.float64)
    [stage] = frozen(net, torch.ones(1, 1))
    assert stage.kernel().shape == (1, 1, 1, 1)
    assert np.allclose(stage.kernel(), jacobian(net, torch.ones(1, 1, dtype=torch.float64)))


def test_what_cannot_be_linearised():
    net = nn.GRU(3, 4)
    with pytest.raises(ShapeError, match="one sequence"):
        frozen(net, torch.zeros(2, 5, 3))
    with pytest.raises(ShapeError, match="at least one token"):
        frozen(net, torch.zeros(0, 3))
    with pytest.raises(NonFiniteError, match="NaN"):
        frozen(net, torch.full((2, 3), torch.nan))
