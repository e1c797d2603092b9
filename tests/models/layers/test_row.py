"""Rows of layers: which are seen, what is counted, and what is said of those that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dsf
from dsf.core.errors import DTypeError, ShapeError
from dsf.models.layers import row as measure
from dsf.models.layers import run


def rows(model, *inputs, sequence=0, **named):
    """(row, proofs) of every layer of a run."""
    found = []
    run(model, inputs, named, lambda layer: found.append(measure(layer, sequence=sequence)))
    return found


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Turned(nn.Module):
    """A convolution over tokens as causal models write it: padded on both sides, and cut."""

    def __init__(self, d=3, taps=4, dilation=1, outside=False):
        super().__init__()
        self.reach, self.outside = (taps - 1) * dilation, outside
        padding = 0 if outside else self.reach
        self.conv = nn.Conv1d(d, d, taps, padding=padding, groups=d, dilation=dilation)

    def forward(self, x):
        x = x.mT
        if self.outside:
            return self.conv(nn.functional.pad(x, (self.reach, 0))).mT
        return self.conv(x)[..., : x.shape[-1]].mT


def test_layers_are_found_with_name_place_and_states():
    shared = nn.GRU(3, 3, batch_first=True)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = shared, nn.LSTM(3, 5, 2, bidirectional=True, batch_first=True)
            self.conv, self.own = Turned(10), dsf.gla.to_torch(10)

        def forward(self, x):
            x = self.a(self.a(x)[0])[0]
            return self.own(self.conv(self.b(x)[0]))

    seen = []
    run(Model(), (tokens(2, 6, 3),), {}, seen.append)
    assert [(s.module, s.call, s.kind, s.states) for s in seen] == [
        ("a", 0, "gru", 3), ("a", 1, "gru", 3), ("b", 0, "lstm", 40),
        ("conv.conv", 0, "convolution", 30), ("own", 0, "gla", None),
    ]  # fmt: skip
    assert all((s.batch, s.tokens) == (2, 6) for s in seen if s.kind != "convolution")


def test_the_counts_are_those_of_the_kernel():
    torch.manual_seed(0)
    net, x = nn.GRU(3, 4, batch_first=True), tokens(2, 9, 3)
    [(row, proofs)] = rows(net, x, sequence=1)
    wide = nn.GRU(3, 4, dtype=torch.float64)
    wide.load_state_dict(net.state_dict())
    K = torch.autograd.functional.jacobian(lambda u: wide(u)[0], x[1].double()).numpy()
    assert (row.how, row.own, row.tokens, row.width, row.outputs) == ("kernel", 4, 9, 3, 4)
    M = K.reshape(36, 27)
    for e, proof in zip((0.1, 0.01), proofs, strict=True):
        above = [np.sum(np.linalg.svd(M[4 * k :, : 3 * k])[1] > e * np.linalg.norm(M, 2))
                 for k in range(1, 9)]  # fmt: skip
        assert row.states[e][0] == max(above) and row.states[e][1] <= 4
        assert proof.check()
    assert row.norm == pytest.approx(np.linalg.norm(M, 2)) and row.leak is None
    assert 0 < row.radius < 1 and 0 < row.rate < 1


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_causal_convolution_needs_the_inputs_it_keeps(outside, dilation):
    torch.manual_seed(1)
    [(row, proofs)] = rows(Turned(dilation=dilation, outside=outside), tokens(1, 20, 3))
    assert row.kind == "convolution" and row.leak is None and row.own == 9 * dilation
    assert row.states[0.01][0] <= row.own and row.states[0.01][1] <= row.own
    assert row.states[0.01] == (9 * dilation, 9 * dilation)
    assert row.horizon <= 3 * dilation and all(p.check() for p in proofs)


def test_a_convolution_that_looks_ahead_says_so():
    [(row, _)] = rows(nn.Conv1d(2, 2, 3, padding=1), tokens(1, 2, 12))
    assert row.leak is not None and row.leak[1] == row.leak[0] + 1


@pytest.mark.parametrize("both", [False, True])
def test_large_recurrences_by_blocks_agree_with_their_kernel(monkeypatch, both):
    torch.manual_seed(2)
    net, x = nn.LSTM(4, 5, bidirectional=both), tokens(12, 4)
    [(whole, _)] = rows(net, x)
    monkeypatch.setattr("dsf.models.layers.measure.SMALL", 0)
    [(row, proofs)] = rows(net, x)
    assert (row.how, whole.how) == ("blocks", "kernel") and all(p.check() for p in proofs)
    for e in row.states:
        # of two directions the larger one gives the norm, which is at most that of both
        assert whole.states[e][0] <= row.states[e][0] <= row.states[e][1] <= row.own
    if not both:
        assert all(row.states[e][0] == whole.states[e][0] for e in row.states)
        assert row.norm == pytest.approx(whole.norm, rel=1e-6)
        assert row.spectrum[:5] == pytest.approx(whole.spectrum[:5], rel=1e-6)
    assert (row.leak is not None) == both


def test_a_sketch_needs_no_more_than_the_map(monkeypatch):
    torch.manual_seed(3)
    net, x = nn.GRU(4, 6, 2, bidirectional=True), tokens(10, 4)
    [(whole, _)] = rows(net, x)
    monkeypatch.setattr("dsf.models.layers.measure.SMALL", 0)
    monkeypatch.setattr("dsf.models.layers.measure.SKETCH", 20)
    [(row, proofs)] = rows(net, x)
    assert row.how == "sketch" and row.norm <= whole.norm * (1 + 1e-9)
    assert row.norm == pytest.approx(whole.norm, rel=1e-2) and all(p.check() for p in proofs)
    for e in row.states:
        assert 0 < row.states[e][0] <= whole.states[e][1] and row.states[e][1] == row.own


def test_mechanisms_by_their_system_and_attention_by_its_derivatives():
    torch.manual_seed(4)
    x = tokens(12, 4)
    for module, own in (
        (dsf.gru.to_torch(4, seed=0), True),
        (dsf.softmax.to_torch(4, seed=0), False),
    ):
        [(row, proofs)] = rows(module, x)
        assert (row.own is not None) == own and row.kind == module.mech.name
        kernel = dsf.jacobian(module.double(), x.double()).kernel
        L, r, _, d = kernel.shape
        assert row.norm == pytest.approx(np.linalg.norm(kernel.reshape(L * r, L * d), 2), rel=1e-5)
        assert all(p.check() for p in proofs)


def test_a_mechanism_with_many_states_is_measured_as_a_whole(monkeypatch):
    x = tokens(10, 4)
    module = dsf.gla.to_torch(4, seed=0)
    [(system, _)] = rows(module, x)
    monkeypatch.setattr("dsf.models.layers.linear.MOST", 3)
    [(whole, _)] = rows(module, x)
    assert system.radius is not None and whole.radius is None and whole.own == system.own == 16
    assert whole.norm == pytest.approx(system.norm, rel=1e-9)
    for e in whole.states:
        assert whole.states[e][0] <= system.states[e][1]
        assert system.states[e][0] <= whole.states[e][1]


# ---------------------------------------------------------------------- bad input
@pytest.mark.parametrize("L", [1, 2])
def test_one_token_and_width_one(L):
    for net in (nn.GRU(1, 1), nn.LSTM(1, 1, 2, bidirectional=True)):
        [(row, proofs)] = rows(net, tokens(L, 1))
        assert row.tokens == L and not row.note and all(p.check() for p in proofs)
        assert row.states[0.1][0] <= (L - 1) * 2


def test_packed_sequences_are_as_long_as_they_are():
    net = nn.GRU(3, 4, batch_first=True)
    x = tokens(2, 7, 3)
    packed = nn.utils.rnn.pack_padded_sequence(x, [7, 4], batch_first=True)
    [(row, _)] = rows(net, packed, sequence=1)
    [(alone, _)] = rows(net, x[1:, :4])
    assert row.tokens == 4 and row.norm == pytest.approx(alone.norm)


def test_dropout_is_off_and_the_model_is_left_as_it_was():
    torch.manual_seed(5)
    net = nn.Sequential(nn.Dropout(0.9), nn.LSTM(3, 4, 2, dropout=0.9, batch_first=True)).train()
    x = tokens(1, 6, 3)
    state = torch.get_rng_state()
    first, second = rows(net, x)[0][0], rows(net, x)[0][0]
    assert first == second and torch.equal(state, torch.get_rng_state())
    assert all(m.training for m in net.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32
               for p in net.parameters())  # fmt: skip


def test_the_model_is_left_as_it_was_by_an_exception():
    net = nn.Sequential(nn.GRU(3, 4)).train()

    def fail(layer):
        raise KeyError(layer.module)

    with pytest.raises(KeyError, match="0"):
        run(net, (tokens(5, 3),), {}, fail)
    assert net.training and not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite(bad):
    x = tokens(5, 3)
    x[2, 1] = bad
    [(row, proofs)] = rows(nn.GRU(3, 4), x)
    assert "NaN or infinity" in row.note and not row.states and proofs == ()


def test_half_precision_is_measured_in_float64():
    torch.manual_seed(6)
    net = nn.GRU(3, 4).bfloat16()
    [(row, _)] = rows(net, tokens(5, 3).bfloat16())
    [(wide, _)] = rows(net.double(), tokens(5, 3).bfloat16().double())
    assert row.states == wide.states and row.norm == pytest.approx(wide.norm, rel=1e-12)


def test_no_numbers_and_no_module():
    [(row, _)] = rows(nn.GRU(3, 4, device="meta"), torch.zeros(5, 3, device="meta"))
    assert "'meta'" in row.note
    with pytest.raises(DTypeError, match="no torch module"):
        run(torch.sin, (tokens(3),), {}, print)
    seen = []
    run(nn.GRU(3, 4), (tokens(5, 3),), {}, seen.append)
    with pytest.raises(ShapeError, match="sequence 1 is not there"):
        seen[0].linearise(1)


def test_a_layer_that_changes_the_length_says_so():
    [(row, _)] = rows(nn.Conv1d(2, 2, 3, stride=2), tokens(1, 2, 12))
    assert "strides" in row.note and not row.states
