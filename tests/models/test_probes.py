"""Probes of models with an encoder and a decoder: both get tokens of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import Translator
from torch import nn

from dsf.core.errors import DomainError
from dsf.models import inspect
from dsf.models.probes import drawn, users, vocabulary_of


def ids(L, seed=0, B=1):
    return torch.randint(50, (B, L), generator=torch.Generator().manual_seed(seed))


def probes(model, seed=0, **named):
    """The inputs of each probe by name."""
    text = users(model, (), named)
    return {p.name: p.named for p in drawn(text, 50, ("text", "repeat", "pairs"), seed)}


def is_repeat(row, start):
    row, half = np.asarray(row), (len(row) - 1) // 2
    body, again = row[1 : 1 + half], row[1 + half : 1 + 2 * half]
    return row[0] == start and (body == again).all() and len(set(body)) == half


def is_pairs(row, start):
    row, half = np.asarray(row), (len(row) - 1) // 2
    n = half // 2
    body, again = (row[i : i + 2 * n].reshape(n, 2).tolist() for i in (1, 1 + half))
    return row[0] == start and body != again and sorted(body) == sorted(again)


@pytest.mark.parametrize("targets", ["decoder_input_ids", "labels"])
@pytest.mark.parametrize("T", [3, 12, 31])
def test_the_decoder_gets_tokens_of_the_same_recipe(targets, T):
    text, goal = ids(21, B=2), ids(T, seed=1, B=2)
    found = probes(Translator(), input_ids=text, **{targets: goal})
    assert set(found) == {"repeat", "pairs"}
    for b in (0, 1):
        assert is_repeat(found["repeat"]["input_ids"][b], text[b, 0])
        assert is_repeat(found["repeat"][targets][b], goal[b, 0])
        assert is_pairs(found["pairs"]["input_ids"][b], text[b, 0])
        assert T == 3 or is_pairs(found["pairs"][targets][b], goal[b, 0])
    own = found["repeat"][targets][:, 1:3], found["repeat"]["input_ids"][:, 1:3]
    assert not torch.equal(*own)  # drawn for itself
    again = probes(Translator(), input_ids=text, **{targets: goal})
    assert torch.equal(again["pairs"][targets], found["pairs"][targets])


def test_the_encoder_gets_the_tokens_that_it_would_get_alone():
    alone = probes(Translator(), input_ids=ids(21))
    both = probes(Translator(), input_ids=ids(21), decoder_input_ids=ids(9))
    assert torch.equal(alone["repeat"]["input_ids"], both["repeat"]["input_ids"])


def test_labels_and_masks_of_the_text_are_not_those_of_a_probe():
    hidden = torch.ones(1, 9, dtype=torch.int64)
    hidden[0, :2] = 0
    named = {"input_ids": ids(9), "decoder_input_ids": ids(9), "decoder_attention_mask": hidden}
    found = probes(Translator(), **named, labels=ids(9))
    for given in found.values():
        assert "labels" not in given and bool(given["decoder_attention_mask"].all())
    text = repr(inspect(Translator(), **named, labels=ids(9), rtol=0.1, probes="repeat"))
    assert "labels are left out of the probes" in text and "stay those of the text" not in text
    text = repr(inspect(Translator(), input_ids=ids(9), labels=ids(9), rtol=0.1, probes="repeat"))
    assert "labels are" not in text  # the decoder's tokens are made from them


def test_masks_hide_tokens_of_their_own_sequence():
    own, goal = torch.ones(2, 1, 9, dtype=torch.int64)
    own[0, 7:] = 0
    goal[0, 6:] = 0
    named = {"input_ids": ids(9), "decoder_input_ids": ids(9, seed=1), "attention_mask": own,
             "decoder_attention_mask": goal}  # fmt: skip
    found = inspect(Translator(), **named, probes="text", budget=2)
    assert [(r.module, r.tokens) for r in found.rows if r.head == 0] == [
        ("encoder", 7), ("decoder", 6), ("decoder.cross", 9), ("decoder.last", 6),
    ]  # fmt: skip
    short = inspect(Translator(), **named | {"decoder_input_ids": ids(4), "decoder_attention_mask":
                                             None}, probes="text", budget=2)  # fmt: skip
    assert [r.tokens for r in short.rows if r.head == 0] == [7, 4, 4, 4]
    with pytest.raises(DomainError, match="decoder_attention_mask hides every token"):
        inspect(Translator(), **named | {"decoder_attention_mask": 0 * goal})


def test_copies_are_looked_for_among_the_decoders_own_tokens():
    goal = torch.tensor([[1, 2, 3, 1, 2, 3, 1, 2, 3]])
    found = inspect(Translator(), input_ids=torch.arange(9)[None], decoder_input_ids=goal,
                    probes="text", budget=2)  # fmt: skip
    assert found.row("encoder").induction is None  # no token comes twice
    assert found.row("decoder").induction is not None
    shifted = inspect(Translator(), input_ids=torch.arange(9)[None], labels=goal, probes="text",
                      budget=2)  # fmt: skip
    assert shifted.row("decoder").induction is None  # the model's own tokens are not known


def test_a_smaller_table_of_the_decoder_is_not_left():
    class Two(Translator):
        def __init__(self):
            super().__init__()
            self.small = nn.Embedding(30, 8)

        def forward(self, input_ids, decoder_input_ids=None):
            self.small(decoder_input_ids)
            return super().forward(input_ids, decoder_input_ids=decoder_input_ids)

    model = Two()
    text = users(model, (), {"input_ids": ids(9), "decoder_input_ids": ids(9, seed=1) % 30})
    assert vocabulary_of(model, text) == 30


@pytest.mark.slow
def test_t5():
    library = pytest.importorskip("transformers")
    config = library.T5Config(
        vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = library.T5ForConditionalGeneration(config)
    found = inspect(model, input_ids=ids(12), decoder_input_ids=ids(12, seed=1), labels=ids(12),
                    budget=2, time_limit=1)  # fmt: skip
    assert found.probes == ("text", "repeat", "pairs") and len(found.heads) == 6
    assert "labels are left out of the probes" in repr(found)
    decoder = "decoder.block.0.layer.0.SelfAttention"
    assert found.row(decoder, probe="repeat").induction is not None
    assert {v.word for (name, *_), v in found.verdicts.items() if "EncDec" in name} == {
        "cross attention"
    }
