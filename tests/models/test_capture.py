"""Every way to call attention is seen, with its weights, and the model is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import WAYS, SelfAttention, tokens
from torch import nn

from dsf.core.errors import DTypeError
from dsf.models import inspect
from dsf.models.capture import run


def calls(model, *inputs, **named):
    """(call, its weights [B H L T]) of a run."""
    found = []

    def visit(call):
        w = [[call.weights(h, s) for h in range(call.heads)] for s in range(call.batch)]
        found.append((call, np.array(w)))

    run(model, inputs, named, visit)
    return found


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("L", [1, 2, 6])
def test_the_weights(how, L):
    model, x = SelfAttention(how=how), tokens(L=L)
    [(call, w)] = calls(model, x)
    assert np.allclose(w, model.wanted(x).detach(), atol=1e-6)
    assert (call.module, call.index, call.batch, call.heads, call.rows) == ("", 0, 2, 2, L)


def test_heads_that_share_keys():
    model, x = SelfAttention(heads=4, groups=2), tokens()
    [(call, w)] = calls(model, x)
    assert (call.heads, call.groups, call.width) == (4, 2, 2)
    assert np.allclose(w, model.wanted(x).detach(), atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_keys_that_were_copied_for_each_head_are_shared(groups):
    def attend(q, k, v):
        k, v = (x.repeat_interleave(4 // groups, -3) for x in (k, v))
        return (q @ k.mT).softmax(-1) @ v

    q, k, v = torch.randn(2, 4, 6, 3), *torch.randn(2, 2, groups, 6, 3)
    [(call, _)] = calls(attend, q, k, v)
    assert (call.heads, call.groups, call.width) == (4, groups, 3)
    [(call, _)] = calls(attend, q, k, 0 * v)
    assert (call.heads, call.groups) == (4, 4)  # zeros show no groups


def test_several_axes_left_of_the_heads_are_told():
    q = torch.randn(1, 2, 2, 6, 3)
    found = inspect(lambda: (q @ q.mT).softmax(-1) @ q, rtol=0.1)
    assert {row.note for row in found.rows} == {
        "2 axes left of the heads are read as sequences, also where they are heads"
    }
    assert not inspect(lambda: (q[0] @ q[0].mT).softmax(-1) @ q[0], rtol=0.1).rows[0].note


def test_every_layer_has_its_name_and_place():
    shared = SelfAttention()
    model = nn.Sequential(shared, nn.Sequential(SelfAttention(how="written out")), shared)
    found = [(call.module, call.index) for call, _ in calls(model, tokens())]
    assert found == [("0", 0), ("1.0", 1), ("0", 2)]


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_multi_head_attention(need_weights, causal, training):
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).train(training)
    x = tokens()
    mask = nn.Transformer.generate_square_subsequent_mask(6) if causal else None

    def model(x):
        return layer(x, x, x, attn_mask=mask, need_weights=need_weights, is_causal=causal)[0]

    [(call, w)] = calls(model, x)
    wanted = layer.eval()(x, x, x, attn_mask=mask, average_attn_weights=False)[1]
    assert np.allclose(w, wanted.detach(), atol=1e-6) and call.width == 4


@pytest.mark.parametrize("training", [False, True])
def test_the_encoder_layer(training):
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train(training)
    [(call, w)] = calls(model, tokens())
    assert call.module == "self_attn" and w.shape == (2, 2, 6, 6)
    assert np.allclose(w.sum(-1), 1, atol=1e-6)


def test_a_row_that_sees_nothing_is_zero():
    q = torch.randn(1, 1, 3, 2)
    hidden = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    model = lambda: nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=hidden)  # noqa: E731
    [(_, w)] = calls(model)
    assert w[0, 0].sum(-1).tolist() == [1, 0, pytest.approx(1)]


def test_a_softmax_that_meets_no_values_is_no_attention():
    model = nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1))
    assert calls(model, tokens()) == []
    assert calls(lambda x: torch.softmax(x, -1) @ x.mT, torch.randn(6, 6)) == []


@pytest.mark.parametrize("how", WAYS)
def test_the_model_and_the_random_state_are_as_before(how):
    model, x = SelfAttention(how=how), tokens()
    model.drop.train(False)
    before = [m.training for m in model.modules()], torch.get_rng_state()
    y = run(model, (x,), {}, lambda call: {} if call.weights(0) is None else None)
    assert torch.equal(y, model.eval()(x)) and not y.requires_grad
    model.train()
    model.drop.train(False)
    assert [m.training for m in model.modules()] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_model_is_as_before_after_an_exception():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = SelfAttention()

        def forward(self, x):
            self.inner(x)
            torch.rand(3)
            raise RuntimeError("of the model")

    model, state = Fails().train(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="of the model"):
        run(model, (tokens(),), {}, lambda call: None)
    assert all(m.training for m in model.modules()) and torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert len(calls(model.inner, tokens())) == 1


def test_what_cannot_be_called_is_refused():
    with pytest.raises(DTypeError, match="int"):
        run(3, (), {}, lambda call: None)
