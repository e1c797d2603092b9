"""Layers of other libraries, linearised as a whole; for those that are installed."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from dsf.models.layers import row, run


def rows(model, *inputs, **named):
    found = []
    run(model, inputs, named, lambda layer: found.append((layer, *row(layer))))
    return found


def whole_jacobian(mixer, x, **named):
    """dy_i / du_j of a mixer that maps [1 L d] to [1 L d], as a matrix."""

    def call(u):
        y = mixer(u[None], **named)
        return (y[0] if isinstance(y, tuple) else y)[0]

    K = torch.autograd.functional.jacobian(call, x)
    return K.reshape(x.numel(), x.numel()).double().numpy()


@pytest.mark.parametrize("kind", ["Mamba", "Mamba2"])
def test_mamba_in_plain_torch(kind):
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "hidden_size": 8, "state_size": 3, "vocab_size": 11}
    more = (
        {} if kind == "Mamba" else {"num_heads": 4, "head_dim": 4, "n_groups": 1, "chunk_size": 4}
    )
    config = getattr(library, f"{kind}Config")(**sizes, **more)
    model = getattr(library, f"{kind}Model")(config)
    found = rows(model, torch.randint(11, (2, 10)), use_cache=False)
    assert [layer.module for layer, *_ in found] == ["layers.0.mixer", "layers.1.mixer"]
    for layer, measured, proofs in found:
        inner, channels = 16, 16 if kind == "Mamba" else 16 + 2 * 3
        assert measured.own == inner * 3 + 3 * channels and not measured.note
        assert measured.kind == f"{kind}Mixer" and measured.leak is None
        assert 0 < measured.states[0.1][0] <= measured.states[0.01][1] <= measured.own
        assert all(p.check() for p in proofs)
        M = whole_jacobian(model.get_submodule(layer.module), layer.input[0])
        assert measured.norm == pytest.approx(np.linalg.norm(M, 2), rel=1e-4)


SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
OTHERS = {
    "Qwen3Next": {
        **SIZES, "head_dim": 8, "linear_key_head_dim": 4, "linear_value_head_dim": 4,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2, "num_experts": 2,
        "num_experts_per_tok": 1, "moe_intermediate_size": 8, "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "Bamba": {**SIZES, "attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 8,
              "mamba_d_state": 4, "mamba_chunk_size": 4},
    "MiniMax": {**SIZES, "head_dim": 8, "num_local_experts": 2, "block_size": 4,
                "layer_types": ["linear_attention", "full_attention"]},
    "Lfm2": {**SIZES, "layer_types": ["conv", "full_attention"]},
    "Rwkv": {"hidden_size": 8, "attention_hidden_size": 8, "num_hidden_layers": 2,
             "context_length": 40},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_hybrid_models_of_transformers(name):
    """Every other mixer is found, with its kernel, although the models fill caches as they run."""
    library = pytest.importorskip("transformers")
    if name == "Qwen3Next" and find_spec("fla") and not torch.cuda.is_available():
        pytest.skip("it calls flash-linear-attention, where that is installed, which needs a GPU")
    torch.manual_seed(0)
    config = getattr(library, f"{name}Config")(vocab_size=11, **OTHERS[name])
    model = getattr(library, f"{name}Model")(config).eval()
    given = {}

    def see(mixer, args, named):
        plain = (torch.Tensor, tuple, type(None))
        given[mixer] = {k: x for k, x in named.items() if isinstance(x, plain) and k != "state"}

    for module in model.modules():
        module.register_forward_pre_hook(see, with_kwargs=True)
    found = rows(model, input_ids=torch.randint(11, (1, 8)))
    assert len(found) == (2 if name == "Rwkv" else 1)
    for layer, measured, proofs in found:
        assert not measured.note and measured.leak is None and measured.states
        assert all(p.check() for p in proofs)
        mixer = model.get_submodule(layer.module)
        more = {k: x for k, x in given[mixer].items() if k != "hidden_states"}
        M = whole_jacobian(mixer, layer.input[0], **more)
        assert measured.norm == pytest.approx(np.linalg.norm(M, 2), rel=1e-3)
