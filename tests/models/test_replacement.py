"""Heads as recurrences: streamed values are those of the truncated matrix, errors are proved, and
the model is left as it was."""

from __future__ import annotations

from dataclasses import replace as replace_fields

import numpy as np
import pytest
import torch
from networks import WAYS, SelfAttention, tokens
from torch import nn

import dsf
from dsf.core.errors import (
    CertificateError,
    DomainError,
    DTypeError,
    NonFiniteError,
    ShapeError,
    UnknownNameError,
)
from dsf.models.capture import run
from dsf.models.replacement import Replaced, losses, next_token_loss, replace
from dsf.models.replacement.recurrences import streamed


def network(*ways, **options):
    torch.manual_seed(0)
    return nn.Sequential(*(SelfAttention(how=how, **options) for how in ways or WAYS)).eval()


def untouched(model):
    """That nothing of `replace` is left on a model in training."""
    hooks = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return not hooks and all(m.training for m in model.modules()) and torch.is_grad_enabled()


# ---------------------------------------------------------------------- the recurrence
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3, 12])
def test_a_stream_is_the_kernel_of_its_systems(causal, n):
    rng = np.random.default_rng(n)
    M = rng.random((3, 12, 12))
    M = np.tril(M) if causal else M
    found = [dsf.realize(x, states=n) for x in M]
    V = rng.standard_normal((3, 12, 5))
    for y, proof, v in zip(streamed(found, V), found, V, strict=True):
        K = proof.system.kernel()
        if proof.backward is not None:
            K = K + np.flip(proof.backward.kernel())
        assert (proof.backward is None) == causal
        assert np.allclose(y, K @ v, atol=1e-10)


def test_heads_of_different_sizes_are_streamed_together():
    rng = np.random.default_rng(0)
    M = [np.tril(rng.random((9, 9))), np.eye(9), np.tril(np.ones((9, 9)))]
    found = [dsf.realize(x, states=n) for x, n in zip(M, (4, 0, 1), strict=True)]
    V = rng.standard_normal((3, 9, 2))
    assert np.allclose(streamed(found, V)[1:], np.stack(M[1:]) @ V[1:], atol=1e-12)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_model_of_one_layer_mixes_by_the_truncated_weights(how, n):
    """The twin: the weights of the systems as a matrix, multiplied by the values."""
    model, x = network(how), 2 * tokens(L=8)
    layer = model[0]
    with replace(model, states=n) as found:
        y = model(x)
    kernels = np.stack([p.system.kernel() for p in found.proofs])  # heads, then sequences
    K = torch.from_numpy(kernels.reshape(2, 2, 8, 8)).transpose(0, 1)
    mixed = K @ layer.parts(x)[2].double()
    wanted = layer.out(mixed.float().transpose(-3, -2).flatten(-2))
    assert torch.allclose(y, wanted, atol=1e-5)


def test_enough_states_reproduce_the_model_and_few_do_not():
    model, x = network("sdpa", "mask", heads=4), 4 * tokens(L=12)
    plain = model(x)
    off = []
    for n in (1, 12):
        with replace(model, states=n):
            off.append(float((model(x) - plain).norm() / plain.norm()))
    assert off[1] < 1e-5 < 1e-3 < off[0]


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_of_torch_in_both_directions(need_weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = 3 * tokens(L=10)
    plain = layer(x, x, x)[0]
    with replace(layer, rtol=1e-6) as found:
        y = layer(x, x, x, need_weights=need_weights)[0]
    assert {r.directions for r in found.rows} == {2} and torch.allclose(y, plain, atol=1e-5)
    assert "2 heads look at later tokens" in repr(found)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_encoder_of_torch(training, norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    x = 3 * tokens(L=8)
    padded = torch.zeros(2, 8, dtype=torch.bool)
    padded[1, 6:] = True
    ys = []
    for n in (8, 1):
        with replace(model, states=n) as found:
            ys.append(model(x, src_key_padding_mask=padded))
    assert {r.module for r in found.rows} == {"layers.0.self_attn", "layers.1.self_attn"}
    plain = model.eval()(x, src_key_padding_mask=padded)
    seen = ~padded[..., None]  # what torch gives at padding differs between its paths
    assert torch.allclose(ys[0] * seen, plain * seen, atol=1e-5)
    assert not torch.allclose(ys[1] * seen, plain * seen, atol=1e-2)


# ---------------------------------------------------------------------- what is reported
def test_errors_are_those_of_the_systems_and_lie_above_their_floors():
    model, x = network("sdpa"), 3 * tokens(L=20)
    weights = {}

    def note(call):
        weights.update({(h, s): call.weights(h, s) for h in range(2) for s in range(2)})

    run(model, (x,), {}, note)
    with replace(model, states=3) as found:
        model(x)
    for r, p in zip(found.rows, found.proofs, strict=True):
        M = weights[r.head, r.sequence]
        true = np.linalg.norm(M - p.system.kernel(), 2) / np.linalg.norm(M, 2)
        assert true <= r.error <= true * 1.001 + 1e-12 and r.floor <= r.error
        assert r.states == p.system.n == 3 and r.necessary is None
    assert found.check() and len(found.certificates) == 4 and found.states == 12


def test_an_error_that_is_asked_for_is_kept():
    model, x = network("sdpa", "written out"), 3 * tokens(L=20)
    with replace(model, rtol=0.05) as found:
        model(x)
    assert max(found.errors) <= 0.05
    assert all(r.necessary <= r.states < 19 and r.floor is None for r in found.rows)


def test_it_survives_json_and_becomes_a_table():
    model, x = network("sdpa"), tokens(L=6)
    with replace(model, states=2) as found:
        model(x)
    again = Replaced.from_json(found.to_json())
    assert again.rows == found.rows and repr(again) == repr(found) and again.check()
    assert list(found.to_pandas()["error"]) == list(found.errors)
    with pytest.raises(CertificateError):
        Replaced.from_json(found.to_json().replace('"proofs"', '"proof"'))
    for wrong in ({"error": 0.0}, {"states": 1}, {"floor": 1.0}, {"tokens": 7}, {"directions": 2}):
        rows = [replace_fields(found.rows[0], **wrong), *found.rows[1:]]
        with pytest.raises(CertificateError, match="does not say this"):
            Replaced(rows, found.proofs).check()
    with pytest.raises(CertificateError, match="each row"):
        Replaced(found.rows, found.proofs[1:]).check()
    assert max(map(len, repr(found).splitlines())) <= 79
    assert "sequence 1" in repr(found) and "measured" in repr(found)


# ---------------------------------------------------------------------- which heads
def test_heads_by_name_by_rule_and_by_plan():
    model, x = network("sdpa", "written out"), tokens(B=1, L=6)
    for heads in ([("0", 1), ("1", 0)], lambda module, head: (module == "1") != (head == 1)):
        with replace(model, states=2, heads=heads) as found:
            model(x)
        assert [(r.module, r.head) for r in found.rows] == [("0", 1), ("1", 0)]
    with replace(model, {("0", 1): 3, ("1", 0): 1}) as found:
        model(x)
    assert [(r.module, r.head, r.states) for r in found.rows] == [("0", 1, 3), ("1", 0, 1)]


def test_a_module_that_is_called_twice_has_rows_for_both_calls():
    shared = SelfAttention().eval()
    model = nn.Sequential(shared, shared)
    with dsf.replace(model, states=1) as found:
        model(tokens(B=1))
    assert [(r.module, r.index, r.head) for r in found.rows] == [
        ("0", 0, 0), ("0", 0, 1), ("0", 1, 0), ("0", 1, 1)
    ]  # fmt: skip


# ---------------------------------------------------------------------- the loss
def language_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Embedding(11, 8), *network("sdpa", "written out"), nn.Linear(8, 11))


def test_the_loss_as_a_function_of_the_states():
    model, text = language_model().eval(), torch.arange(24).reshape(2, 12) % 11
    found = losses(model, text, states=(1, 11))
    logits = model(text).detach()
    wanted = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert found.plain == pytest.approx(float(wanted), abs=1e-6)
    few, all_ = found.rows
    assert all_.loss == pytest.approx(found.plain, abs=1e-5) and all_.worst < 1e-9
    assert few.worst > few.median > 1e-3 and few.heads == 4
    by = losses(model, text, states=(1,), by_module=True)
    assert [(r.module, r.heads) for r in by.rows] == [("1", 2), ("2", 2)]
    assert list(found.to_pandas()["states"]) == [1, 11] and "measured" in repr(found)


def test_padding_is_left_out_of_the_loss():
    logits, text = torch.randn(1, 5, 7), torch.tensor([[1, 2, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    assert next_token_loss(logits, text, mask) == next_token_loss(logits[:, :3], text[:, :3])
    with pytest.raises(ShapeError, match="two tokens"):
        next_token_loss(logits[:, :1], text[:, :1])
    with pytest.raises(ShapeError, match="logits"):
        next_token_loss(logits[0], text)
    with pytest.raises(DomainError, match="states="):
        losses(language_model(), text, states=())


# ---------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, DomainError, "exactly one"),
        ({"states": 1, "rtol": 0.1}, DomainError, "exactly one"),
        ({"plan": {}}, DomainError, "no head was replaced"),
        ({"plan": [("0", 1)]}, DomainError, "mapping"),
        ({"plan": {("7", 0): 1}}, UnknownNameError, "'7', 0"),
        ({"states": 1, "heads": [("0", 9)]}, UnknownNameError, "'0', 9"),
        ({"states": 1, "heads": lambda m, h: False}, DomainError, "no head was replaced"),
        ({"states": -1}, DomainError, "states"),
        ({"states": 1.5}, DomainError, "states"),
        ({"plan": {("0", 0): -1}}, DomainError, "states"),
        ({"states": "2"}, DTypeError, "states"),
        ({"rtol": 2}, DomainError, "between 0 and 1"),
        ({"rtol": 0.0}, DomainError, "between 0 and 1"),
        ({"states": 1, "time_limit": 0}, DomainError, "time_limit"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    model = network("sdpa").train()
    with pytest.raises(error, match=words), replace(model, **arguments):
        model(tokens(L=4))
    assert untouched(model)


def test_models_that_cannot_be_replaced():
    with (
        pytest.raises(DomainError, match="no head was replaced"),
        replace(nn.Linear(2, 2), states=1),
    ):
        pass
    with torch.device("meta"):
        model = SelfAttention()
    with pytest.raises(DTypeError, match="meta"), replace(model, states=1):
        pass
    with pytest.raises(DTypeError, match="int"), replace(3, states=1):
        pass


def test_a_cache_is_refused():
    q, k = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 5, 4)
    attend = nn.functional.scaled_dot_product_attention
    with pytest.raises(ShapeError, match="cache"), replace(attend, states=1):
        attend(q, k, k)


def test_activations_that_are_not_finite():
    model = network("sdpa", "sdpa").train()
    x = tokens()
    x[0, 2] = torch.nan
    with pytest.raises(NonFiniteError, match="0 head 0 on sequence 0"), replace(model, states=1):
        model(x)
    assert untouched(model)


def test_dropout_is_off_and_comes_back():
    model, x = network("written out").train(), tokens(L=8)
    state = torch.get_rng_state()
    with replace(model, states=7):
        y = model(x)
    assert untouched(model) and torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(y, model.eval()(x), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_of_the_model_is_kept(dtype):
    model, x = network("sdpa").to(dtype), tokens(L=8).to(dtype)
    with replace(model, states=8):
        y = model(x)
    assert y.dtype == dtype
    assert torch.allclose(y, model(x), atol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("how", WAYS)
def test_one_token_and_heads_of_width_one(how):
    model = SelfAttention(d=2, heads=2, how=how).eval()
    for L in (1, 2):
        x = tokens(L=L, d=2)
        with replace(model, states=1) as found:
            y = model(x)
        assert torch.allclose(y, model(x), atol=1e-6) and max(found.errors) < 1e-12


def test_tokens_that_see_nothing_stay_zero():
    x = torch.randn(1, 1, 4, 2)
    hidden = torch.ones(4, 4, dtype=torch.bool).tril()
    hidden[1] = False
    attend = nn.functional.scaled_dot_product_attention
    with replace(attend, states=4):
        y = attend(x, x, x, attn_mask=hidden)
    assert torch.allclose(y, attend(x, x, x, attn_mask=hidden).nan_to_num(0.0), atol=1e-6)
