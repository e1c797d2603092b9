"""The user's random generators and modes are as they were, also after an exception."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from networks import SelfAttention, tokens
from torch import nn

import dsf
from dsf.models.restored import as_found


class Draws(nn.Module):
    """It draws from every global generator, and may fail then."""

    def __init__(self, fails=False):
        super().__init__()
        self.attention, self.fails = SelfAttention(), fails

    def forward(self, x):
        random.random()
        np.random.rand(3)  # noqa: NPY002
        torch.rand(3)
        y = self.attention(x)
        if self.fails:
            raise RuntimeError("of the model")
        return y


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def seed():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)


@pytest.mark.parametrize("fails", [False, True])
def test_generators_are_put_back(fails):
    model = Draws(fails).train()
    seed()
    wanted = drawn()
    for call in (
        lambda: dsf.inspect(model, tokens(B=1)),
        lambda: dsf.models.layers.run(model, (tokens(B=1),), {}, print),
    ):
        seed()
        if fails:
            with pytest.raises(RuntimeError, match="of the model"):
                call()
        else:
            call()
        assert drawn() == wanted and all(m.training for m in model.modules())


@pytest.mark.parametrize("used", [False, True])
def test_generators_of_other_devices_where_they_are_in_use(monkeypatch, used):
    states = {"cuda": [1, 2], "mps": 3}

    def put(name):
        return lambda state: states.update({name: state})

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(states["cuda"]))
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put("cuda"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: used)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", put("mps"))
    with as_found(nn.Linear(2, 2)):
        states.update(cuda=[5, 6], mps=7)
    assert states == ({"cuda": [1, 2], "mps": 3} if used else {"cuda": [5, 6], "mps": 7})
