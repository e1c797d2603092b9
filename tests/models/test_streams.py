"""Cross attention is told from self-attention by what queries and keys were computed from."""

from __future__ import annotations

import pytest
import torch
from networks import CrossAttention, LanguageModel, SelfAttention, Translator, tokens
from torch import nn

import dsf
from dsf.core.errors import ShapeError
from dsf.models.capture import run

attend = nn.functional.scaled_dot_product_attention


def crossing(model, *inputs, **named):
    """[(module, whether it is cross attention)] of a run."""
    found = []
    run(model, inputs, named, lambda call: found.append((call.module, call.cross)))
    return found


def ids(L=9, seed=1):
    return torch.randint(50, (1, L), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("how", ["sdpa", "written out"])
@pytest.mark.parametrize("given", ["decoder_input_ids", "labels", None])
def test_a_decoder_looks_at_its_encoder(how, given):
    model = Translator(how=how)
    found = crossing(model, ids(), **({} if given is None else {given: ids(seed=2)}))
    assert found == [
        ("encoder", False), ("decoder", False), ("decoder.cross", True), ("decoder.last", False),
    ]  # fmt: skip


@pytest.mark.parametrize("make", [
    lambda: LanguageModel(), lambda: nn.Sequential(SelfAttention(), SelfAttention(groups=1)),
    lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 2),
])  # fmt: skip
def test_layers_on_one_sequence_cross_nothing(make):
    model = make()
    x = ids() if isinstance(model, LanguageModel) else tokens()
    found = crossing(model, x)
    assert len(found) == 2 and not any(cross for _, cross in found)


def test_the_decoder_of_torch():
    model = nn.Transformer(8, 2, 2, 2, 8, batch_first=True)
    found = crossing(model, tokens(), tokens(seed=1))
    assert [cross for name, cross in found if "multihead" in name] == [True, True]
    assert len(found) == 6 and not any(c for name, c in found if "multihead" not in name)


def test_multi_head_attention_on_other_keys():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x, y = tokens(), tokens(seed=1)
    assert crossing(layer, x, x, x) == [("", False)]
    assert crossing(layer, x, y, y) == [("", True)]
    assert crossing(lambda x, y: layer(x, y, y), x, y) == [("", True)]
    assert crossing(lambda x: layer(x + 1, x - 1, x), x) == [("", False)]


def test_functions_alone():
    x, y = tokens()[:, None], tokens(seed=1)[:, None]
    assert crossing(lambda x, y: attend(x, 2 * y, y), x, y) == [("", True)]
    assert crossing(lambda x, y: attend(x, x + y, y), x, y) == [("", False)]
    assert crossing(lambda: attend(x, y, y)) == [("", False)]  # nothing is known of these


def test_learned_queries_are_another_sequence():
    class Pools(CrossAttention):
        def __init__(self):
            super().__init__()
            self.latent = nn.Parameter(torch.randn(1, 6, 8))

        def forward(self, x):
            return super().forward(self.latent, x)

    assert crossing(Pools(), tokens(B=1)) == [("", True)]


class Opaque(nn.Module):
    """What it does is no function of torch that could be seen."""

    def forward(self, x):
        return torch.from_numpy(2 * x.numpy())


@pytest.mark.parametrize("within", [False, True])
def test_what_was_made_out_of_sight_is_not_taken_for_another_sequence(within):
    hidden = Opaque()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = hidden if within else None

        def forward(self, x, y):
            return attend(x, hidden(x), x) + attend(x, hidden(y), y)

    # of a part of the model it is known what was given to it
    seen = crossing(Model(), tokens()[:, None], tokens(seed=1)[:, None])
    assert seen == [("", False), ("", within)]


def test_rows_of_cross_attention_are_not_counted():
    model = Translator()
    found = dsf.inspect(model, ids(), decoder_input_ids=ids(seed=2), probes="text", budget=2)
    row = found.row("decoder.cross", 1)
    assert row.cross and not row.states
    assert row.note == "cross attention, 9 queries on 9 keys of another sequence"
    assert {str(found.verdicts["decoder.cross", 0, h]) for h in (0, 1)} == {"cross attention"}
    text = repr(found)
    assert "2 cross attention" in text and max(map(len, text.splitlines())) <= 79
    assert found.kernel(row).kernel.shape == (9, 1, 9, 1) and found.check()
    assert dsf.models.Inspection.from_json(found.to_json()).rows == found.rows
    with pytest.raises(ShapeError, match="9 keys of another sequence"):
        with dsf.replace(model, states=1):
            model(ids(), decoder_input_ids=ids(seed=2))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_t5_with_as_many_tokens_on_both_sides(implementation):
    library = pytest.importorskip("transformers")
    config = library.T5Config(
        vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=2,
        decoder_start_token_id=0, attn_implementation=implementation,
    )  # fmt: skip
    model = library.T5ForConditionalGeneration(config)
    found = crossing(model, input_ids=ids(), decoder_input_ids=ids(seed=2))
    assert len(found) == 6
    assert all(cross == name.endswith("EncDecAttention") for name, cross in found)


@pytest.mark.parametrize("name", ["GPT2", "Llama", "Bert"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_models_of_one_sequence(name, implementation):
    library = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    if name == "GPT2":
        sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    config = getattr(library, f"{name}Config")(
        vocab_size=50, attn_implementation=implementation, **sizes
    )
    model = getattr(library, f"{name}Model")(config)
    found = crossing(model, input_ids=ids(), attention_mask=torch.ones_like(ids()))
    assert len(found) == 2 and not any(cross for _, cross in found)
