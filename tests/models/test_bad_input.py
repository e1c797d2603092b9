"""What is odd about a model or its input is said: by a row's note, or by a typed error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import SelfAttention
from torch import nn

from dsf.core.errors import DomainError, DTypeError
from dsf.models import inspect

attend = nn.functional.scaled_dot_product_attention


def floats(L=6, d=8, B=1, seed=0):
    return torch.randn(B, L, d, generator=torch.Generator().manual_seed(seed))


def encoder(d=8, heads=2):
    layer = nn.TransformerEncoderLayer(d, heads, d, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=heads > 1)


def told(found):
    """The printout in one line, and that it fits and holds."""
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 79 and found.check()
    return " ".join(text.split())


class Masked(nn.Module):
    """Causal attention of torch's module with more tokens hidden."""

    def __init__(self, hidden=None, padding=None):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden, self.padding = hidden, padding

    def forward(self, x):
        return self.attention(
            x, x, x, attn_mask=self.hidden, key_padding_mask=self.padding, need_weights=False
        )[0]


# ---------------------------------------------------------------------- masks
def test_a_row_that_a_softmax_leaves_without_numbers():
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    hidden[2] = True
    found = inspect(Masked(hidden), floats())
    assert all(row.note.startswith("weights are not finite in 1 of 6 rows") for row in found.rows)
    assert "no head could be counted" in told(found)


def test_a_mask_that_hides_everything():
    x, hidden = floats()[None], torch.zeros(6, 6, dtype=torch.bool)
    found = inspect(lambda: attend(x, x, x, attn_mask=hidden))
    assert found.rows[0].states == {0.1: (0, 0), 0.01: (0, 0)}
    assert "6 of 6 tokens see nothing" in told(found)


@pytest.mark.parametrize("make", [lambda p: (Masked(padding=p), {}),
                                  lambda p: (encoder(), {"src_key_padding_mask": p})])  # fmt: skip
def test_padding_that_is_no_attention_mask(make):
    padding = torch.zeros(1, 6, dtype=torch.bool)
    padding[0, 4:] = True
    model, named = make(padding)
    found = inspect(model, floats(), **named)
    K = found.kernel(found.rows[0]).kernel[:, 0, :, 0]
    assert not K[:, 4:].any() and "2 of 6 tokens are seen by none" in told(found)


# ---------------------------------------------------------------------- numbers
@pytest.mark.parametrize("model", [
    SelfAttention(), encoder(), nn.LSTM(8, 3, batch_first=True), nn.Conv1d(6, 6, 3, padding=1),
    nn.Linear(8, 8),
])  # fmt: skip
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite(model, bad):
    x = floats()
    x[0, 2, 1] = bad
    found = inspect(model, x)
    text = told(found)
    assert "nothing counted" in text
    assert "weights are not finite" in text or "holds NaN or infinity" in text


def test_weights_that_are_not_finite():
    torch.manual_seed(0)
    for model in (nn.GRU(8, 3, batch_first=True), nn.Linear(8, 8)):
        with torch.no_grad():
            next(model.parameters())[0, 0] = torch.nan
        assert "NaN or infinity" in told(inspect(model, floats()))
    model = SelfAttention()
    with torch.no_grad():
        model.q.weight[0, 0] = torch.nan
    first, second = inspect(model, floats()).rows
    assert not first.states and second.states  # the other head does not read it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [
    lambda: nn.LSTM(8, 3, batch_first=True), lambda: nn.Conv1d(6, 6, 3, padding=1),
    lambda: nn.Sequential(nn.Linear(8, 4), nn.Tanh()), encoder,
])  # fmt: skip
def test_half_precision_is_that_of_the_rounded_weights(dtype, make):
    torch.manual_seed(0)
    half, x = make().to(dtype), floats().to(dtype)
    wide = make().double()
    wide.load_state_dict({k: w.double() for k, w in half.state_dict().items()})
    found, wanted = inspect(half, x), inspect(wide, x.double())
    for row, other in zip(found.layers, wanted.layers, strict=True):
        assert row.states == other.states and row.norm == pytest.approx(other.norm, rel=1e-12)
    for row, other in zip(found.rows, wanted.rows, strict=True):  # its activations are rounded
        K, M = found.kernel(row).kernel, wanted.kernel(other).kernel
        assert np.abs(K - M).max() < 10 * torch.finfo(dtype).eps
    assert "nothing counted" not in told(found)


def test_no_numbers_at_all():
    x = floats().to("meta")
    for model in (SelfAttention(), lambda x: attend(x[None], x[None], x[None])):
        with pytest.raises(DTypeError, match="an input is on torch's `meta` device"):
            inspect(model, x)
    with pytest.raises(DTypeError, match="the model is on torch's `meta` device"):
        inspect(encoder().to("meta"), floats())


# ---------------------------------------------------------------------- sizes
@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("model", [
    Masked(), encoder(), nn.GRU(8, 3, batch_first=True), nn.Linear(8, 8),
])  # fmt: skip
def test_one_token(model, L):
    found = inspect(model, floats(L))
    rows = [*found.rows, *found.layers]
    # one state for each direction at the only cut, of as many numbers as a token has
    most = 2 if found.rows else 8
    assert all(row.tokens == L and row.states[0.01][1] <= most * (L - 1) for row in rows)
    assert ("1 token " in repr(found)) == (L == 1) and told(found)


@pytest.mark.parametrize("make", [
    lambda: encoder(1, 1), lambda: nn.LSTM(1, 1, batch_first=True), lambda: nn.Linear(1, 1),
])  # fmt: skip
def test_width_one(make):
    torch.manual_seed(0)
    found = inspect(make(), floats(6, 1))
    assert len(found.rows) + len(found.layers) == 1 and told(found)


def test_a_convolution_that_is_called_twice():
    torch.manual_seed(0)
    layer = nn.Conv1d(3, 3, 2, padding=1)
    found = inspect(nn.Sequential(layer, nn.ConstantPad1d((0, -1), 0.0), layer), floats(3, 6))
    assert [(row.module, row.call) for row in found.layers] == [("0", 0), ("0", 1)]
    assert "0 call 2" in told(found)


# ---------------------------------------------------------------------- claims
class Flips(nn.Module):
    def forward(self, x):
        return x.flip(1)


@pytest.mark.parametrize(("model", "cause"), [
    (encoder(), "a missing attention mask"), (Flips(), "reads from both ends"),
    (nn.Conv1d(6, 6, 3, padding=1), "or padding"),
    (nn.GRU(8, 2, bidirectional=True, batch_first=True), "reads from both ends"),
])  # fmt: skip
def test_what_is_said_to_be_causal_and_is_not(model, cause):
    with pytest.raises(DomainError, match=f"it is not causal. Likely cause: .*{cause}"):
        inspect(model.train(), floats(), causal=True)
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_models_that_never_mix_tokens():
    with pytest.raises(DomainError, match="a model that never mixes tokens"):
        inspect(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), torch.arange(9)[None])
    text = told(inspect(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), floats()))
    assert "no output depends on another token by more than the errors" in text


# ---------------------------------------------------------------------- caches
def test_a_recurrence_that_goes_on_from_a_state():
    torch.manual_seed(0)
    net, x = nn.GRU(8, 3, batch_first=True), floats(8)
    _, state = net(x[:, :3])
    found = inspect(net, x[:, 3:], state.detach())
    K = found.kernel(found.layers[0]).kernel
    whole = inspect(net, x)
    assert np.allclose(K, whole.kernel(whole.layers[0]).kernel[3:, :, 3:], atol=1e-6)


def test_a_cache_that_was_made_with_gradients():
    class Cache:
        def __init__(self, keys):
            self.keys = [keys, keys]

    class Decoder(SelfAttention):
        def forward(self, x, past):
            past.keys[0].add_(1)  # a copy, and one of both
            k = torch.cat(past.keys, 1)[:, None]
            return attend(x[:, None], k, k)

    past = Cache(2 * floats().requires_grad_())
    found = inspect(Decoder(), floats(), past)
    assert found.rows[0].note.startswith("6 queries on 12 keys")
    assert torch.equal(past.keys[0], 2 * floats()) and past.keys[0] is past.keys[1]
    K = found.kernel(found.rows[0]).kernel
    x, k = floats()[0].double(), 2 * floats()[0].double() + 1
    assert np.allclose(K[:, 0, :, 0], (x @ torch.cat([k, k]).mT / 8**0.5).softmax(-1), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated")
def test_decoding_with_a_cache_of_transformers():
    library = pytest.importorskip("transformers")
    config = library.GPT2Config(
        vocab_size=50, n_embd=8, n_layer=1, n_head=2, n_positions=40, bos_token_id=0, eos_token_id=0
    )
    model, ids = library.GPT2LMHeadModel(config).eval(), torch.arange(12)[None]
    past = library.DynamicCache()
    model(ids[:, :8], past_key_values=past)
    found = inspect(model, input_ids=ids[:, 8:], probes="text", past_key_values=past)
    assert past.get_seq_length() == 8  # the user's cache is left alone
    assert {row.note for row in found.rows} == {
        "4 queries on 12 keys, as in cached decoding: no map of a sequence to itself"
    }
    assert "nothing counted" in told(found)


def test_a_cache_in_the_place_of_a_folder():
    with pytest.raises(DTypeError, match=r"cache= is a folder .* got list"):
        inspect(SelfAttention(), floats(), cache=[floats()])
