"""Layers of other libraries, linearised as a whole; for those that are installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsf.models.layers import row, run


def rows(model, *inputs, **named):
    found = []
    run(model, inputs, named, lambda layer: found.append((layer, *row(layer))))
    return found


def whole_jacobian(mixer, x):
    """dy_i / du_j of a mixer that maps [1 L d] to [1 L d], as a matrix."""
    K = torch.autograd.functional.jacobian(lambda u: mixer(u[None])[0], x)
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


def test_layers_of_flash_linear_attention():
    fla = pytest.importorskip("fla.layers")
    torch.manual_seed(0)
    layer = fla.GatedLinearAttention(mode="fused_recurrent", hidden_size=16, num_heads=2)
    [(_, measured, _)] = rows(layer, torch.randn(1, 8, 16))
    assert measured.kind == "GatedLinearAttention" and measured.tokens == 8
