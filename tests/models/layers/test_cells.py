"""Loops over cells of torch: found by their calls, linearised as the sequences that these make."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dsf
from dsf.models.layers import row, run

KINDS = {
    "lstm cell": (nn.LSTMCell, {}),
    "gru cell": (nn.GRUCell, {}),
    "rnn cell": (nn.RNNCell, {}),
    "relu": (nn.RNNCell, {"nonlinearity": "relu"}),
    "without bias": (nn.GRUCell, {"bias": False}),
}


def tokens(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def first(state):
    return state[0] if isinstance(state, tuple) else state


class Loop(nn.Module):
    """h_t = cell(x_t, h_{t-1}) over x [B L d] or [L d]; `hand_on` is what becomes of a state."""

    def __init__(self, cell, start=None, hand_on=lambda state: state):
        super().__init__()
        self.cell, self.start, self.hand_on = cell, start, hand_on

    def forward(self, x):
        state, y = self.start, []
        for u in x.unbind(-2):
            state = self.cell(u, state)
            y.append(first(state))
            state = self.hand_on(state)
        return torch.stack(y, -2)


def layers(model, *inputs):
    """(layer, its kernel on the first sequence) of a run; None where it has none."""
    found = []

    def see(layer):
        found.append((layer, None if row(layer)[0].note else layer.linearise().kernel()))

    run(model, inputs, {}, see)
    return found


def jacobian(model, x):
    return torch.autograd.functional.jacobian(model, x).numpy()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("given", [False, True])
def test_the_kernel_is_the_jacobian_of_the_loop(name, given):
    torch.manual_seed(0)
    kind, options = KINDS[name]
    cell = kind(3, 4, dtype=torch.float64, **options)
    start = None
    if given:
        start = tokens(1, 4, seed=1)
        start = (start, tokens(1, 4, seed=2)) if kind is nn.LSTMCell else start
    model, x = Loop(cell, start), tokens(1, 6, 3)
    [(layer, K)] = layers(model, x)
    assert np.allclose(K, jacobian(model, x)[0, :, :, 0], atol=1e-12)
    assert (layer.module, layer.call, layer.batch, layer.tokens) == ("cell", 0, 1, 6)
    assert layer.kind == kind.__name__.replace("Cell", " cell").lower()
    assert layer.states == (8 if kind is nn.LSTMCell else 4)


def test_a_loop_is_the_layer_of_torch():
    torch.manual_seed(1)
    net = nn.LSTM(3, 4, batch_first=True)
    cell = nn.LSTMCell(3, 4)
    cell.load_state_dict({k.removesuffix("_l0"): w for k, w in net.state_dict().items()})
    x = tokens(2, 7, 3).float()
    [a, b] = dsf.inspect(Loop(cell), x).layers
    [c, d] = dsf.inspect(net, x).layers
    for mine, wanted in ((a, c), (b, d)):
        assert mine.states == wanted.states and mine.norm == pytest.approx(wanted.norm, rel=1e-12)
        assert (mine.radius, mine.own) == (pytest.approx(wanted.radius), wanted.own)


class Stack(nn.Module):
    """Two cells, the second of which reads the first, and a third one along the sequence turned."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.GRUCell(3, 4), nn.LSTMCell(4, 2), nn.RNNCell(3, 2)

    def forward(self, x):
        h = s = g = None
        y = []
        for t in range(x.shape[1]):
            h, g = self.a(x[:, t], h), self.c(x[:, -1 - t], g)
            s = self.b(h, s)
            y.append(s[0] + g)
        return torch.stack(y, 1)


def test_each_of_several_cells_has_a_row():
    torch.manual_seed(2)
    model, x = Stack().train(), tokens(2, 6, 3).float()
    found = dsf.inspect(model, x)
    assert [(r.module, r.kind, r.sequence, r.own) for r in found.layers] == [
        ("a", "gru cell", 0, 4), ("a", "gru cell", 1, 4), ("c", "rnn cell", 0, 2),
        ("c", "rnn cell", 1, 2), ("b", "lstm cell", 0, 4), ("b", "lstm cell", 1, 4),
    ]  # fmt: skip
    assert found.check() and repr(found).startswith("3 layers, 6 tokens")
    assert found.kernel(found.layers[4]).kernel.shape == (6, 2, 6, 4)
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_a_cell_that_is_called_once_remembers_nothing():
    [row] = dsf.inspect(nn.Sequential(nn.GRUCell(3, 4)), tokens(2, 3).float()[:1]).layers
    assert (row.tokens, row.states) == (1, {0.1: (0, 0), 0.01: (0, 0)})


def halved(state):
    return 0.5 * state


def halved_in_place(state):
    return state.mul_(0.5)


@pytest.mark.parametrize("hand_on", [lambda _: None, torch.zeros_like, halved, halved_in_place])
def test_states_that_are_not_handed_on_are_no_sequence(hand_on):
    torch.manual_seed(3)
    found = dsf.inspect(Loop(nn.GRUCell(3, 4), None, hand_on), tokens(1, 6, 3).float())
    [row] = found.layers
    assert not row.states and row.tokens == 6
    assert "called 6 times, never with the state that it had returned" in row.note
    assert "nothing counted" in repr(found) and found.check()


def test_the_same_numbers_in_another_tensor_are_the_same_state():
    torch.manual_seed(4)
    cell, x = nn.LSTMCell(3, 4, dtype=torch.float64), tokens(1, 6, 3)
    copies = Loop(cell, None, lambda state: tuple(s.clone() for s in state))
    [(_, K)], [(_, wanted)] = layers(copies, x), layers(Loop(cell), x)
    assert np.array_equal(K, wanted)


def test_one_cell_along_two_sequences():
    torch.manual_seed(5)
    loop = Loop(nn.GRUCell(3, 4, dtype=torch.float64))
    x, y = tokens(1, 6, 3), tokens(1, 4, 3, seed=1)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.loop = loop

        def forward(self, x, y):
            return self.loop(x), self.loop(y)

    found = layers(Both(), x, y)
    assert [(layer.call, layer.tokens) for layer, _ in found] == [(0, 6), (1, 4)]
    for (_, K), u in zip(found, (x, y), strict=True):
        assert np.allclose(K, jacobian(loop, u)[0, :, :, 0], atol=1e-12)


def test_zeros_are_a_start_also_where_the_cell_returned_them():
    cell = nn.RNNCell(3, 4, nonlinearity="relu", dtype=torch.float64)
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x):
            for _ in range(2):
                Loop(cell, torch.zeros(1, 4, dtype=torch.float64))(x)
            return x

    assert [layer.tokens for layer, _ in layers(Twice(), tokens(1, 5, 3))] == [5, 5]


def test_sequences_without_a_batch_and_a_cell_of_width_one():
    torch.manual_seed(6)
    model, x = Loop(nn.RNNCell(1, 1, dtype=torch.float64)), tokens(5, 1)
    [(layer, K)] = layers(model, x)
    assert layer.batch == 1 and np.allclose(K, jacobian(model, x), atol=1e-12)


def test_a_cell_with_equations_of_its_own_is_not_known():
    class Own(nn.GRUCell):
        def forward(self, x, h):
            return super().forward(x, h) + 1

    assert layers(Loop(Own(3, 4), torch.zeros(1, 4)), tokens(1, 5, 3).float()) == []


def test_cells_without_numbers_and_with_bad_ones():
    cell = Loop(nn.GRUCell(3, 4, device="meta"))
    [(layer, K)] = layers(cell, torch.zeros(1, 5, 3, device="meta"))
    assert K is None and layer.tokens == 5
    x = tokens(1, 5, 3).float()
    x[0, 2, 1] = torch.nan
    [row] = dsf.inspect(Loop(nn.GRUCell(3, 4)), x).layers
    assert "NaN or infinity" in row.note and not row.states
