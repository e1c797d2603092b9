"""Layers of flash-linear-attention on a CPU: its kernels replaced by its own plain functions.

The Triton kernels need a GPU.  What is tested of these layers here is what stands around the
kernels, with the library's naive functions in their place, in float64 and as they are.
"""

from __future__ import annotations

import importlib
import inspect
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import dsf
from dsf.core.errors import DomainError
from dsf.models.layers import row, run

pytestmark = pytest.mark.slow
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    layers = pytest.importorskip("fla.layers", exc_type=ImportError)

D, HEADS, L = 8, 2, 7


def tokens(B=1, d=D, seed=0):
    return torch.randn(B, L, d, generator=torch.Generator().manual_seed(seed))


def naive(module, function, double=True):
    """A plain function of the library, with float64 in the place of float32."""
    source = inspect.getsource(importlib.import_module(f"fla.ops.{module}.naive"))
    if double:
        for single, wide in ((".float()", ".double()"), ("torch.float32", "torch.float64"),
                             ("torch.float)", "torch.float64)")):  # fmt: skip
            source = source.replace(single, wide)
    space = {}
    exec(compile(source, module, "exec"), space)
    return space[function]


class Plain(nn.Module):
    """RMSNorm, with a gate if one is given."""

    def __init__(self, weight, eps):
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x, gate=None):
        y = functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return y if gate is None else y * functional.silu(gate)


def shift(x, *_, **__):
    """x_{t-1} - x_t, and what is kept."""
    before = functional.pad(x, (0, 0, 1, -1))
    return before - x, x[:, -1]


def convolved(self, x, *_, **__):
    y = functional.conv1d(x.mT, self.weight, self.bias, padding=self.kernel_size[0] - 1,
                          groups=self.in_channels)[..., : x.shape[1]].mT  # fmt: skip
    return functional.silu(y) if self.activation else y, None


def l2(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


@pytest.fixture
def plain(monkeypatch):
    """Layers by name, built with plain functions in the place of kernels; final states as seen."""
    seen = {}

    def put(where, name, function, double):
        def kept(**named):
            out, state = function(**named)
            seen["states"] = None if state is None else state.numel() // len(state)
            return out.to(named["v"]) if double else out, state

        monkeypatch.setattr(importlib.import_module(f"fla.layers.{where}"), name, kept)

    def gla(op):
        return lambda q, k, v, gk=None, g=None, **_: op(
            q, k, v, g if gk is None else gk, output_final_state=True
        )

    def delta(op):
        def call(q, k, v, beta, use_qk_l2norm_in_kernel=False, **_):
            q, k = (l2(x) if use_qk_l2norm_in_kernel else x for x in (q, k))
            o, S = op(*(x.transpose(1, 2) for x in (q, k, v, beta)))
            return o.transpose(1, 2), S

        return call

    def gated(op):
        def call(q, k, v, g, beta, A_log, dt_bias, **_):
            g = -A_log.exp() * functional.softplus(g + dt_bias)
            return op(l2(q), l2(k), v, beta.sigmoid(), g, output_final_state=True)

        return call

    def retention(op):
        return lambda q, k, v, **_: (
            op(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2), None
        )  # fmt: skip

    def turned(self, q, k, **_):
        angle = torch.arange(q.shape[1], dtype=q.dtype)[:, None, None] * 0.3
        half = lambda x: torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)  # noqa: E731
        return tuple(x * angle.cos() + half(x) * angle.sin() for x in (q, k))

    def rwkv(op):
        def call(r, w, k, v, kk=None, a=None, b=None, scale=1.0, **_):
            alpha, beta = (-kk, kk * a) if b is None else (a, b)
            q = r * r.shape[-1] ** 0.5 * scale
            o, S = op(*(x.transpose(1, 2) for x in (q, k, v, alpha, beta, w)))
            return o.transpose(1, 2), S

        return call

    def make(name, double=True, **options):
        torch.manual_seed(0)
        convolution = importlib.import_module("fla.modules").ShortConvolution
        monkeypatch.setattr(convolution, "forward", convolved)
        sizes = {"hidden_size": D, "num_heads": HEADS, **options}
        if name == "GatedLinearAttention":
            op = gla(naive("gla", "naive_recurrent_gla", double))
            put("gla", "fused_recurrent_gla", op, double)
            sizes |= {"fuse_norm": False, "norm_eps": 0.1}  # without, differences are too rough
        elif name == "DeltaNet":
            op = delta(naive("delta_rule", "delta_rule_recurrence", double))
            put("delta_net", "fused_recurrent_delta_rule", op, double)
        elif name == "GatedDeltaNet":
            op = gated(naive("gated_delta_rule", "naive_recurrent_gated_delta_rule", double))
            put("gated_deltanet", "chunk_gated_delta_rule", op, double)
            put("gated_deltanet", "fused_recurrent_gated_delta_rule", op, double)
            sizes |= {"head_dim": 4, "expand_v": 1}
            monkeypatch.setattr(layers.GatedDeltaNet, "_use_fused_qkv_conv", lambda *_, **__: False)
        elif name == "MultiScaleRetention":
            op = retention(naive("retention", "naive_retention", double))
            put("multiscale_retention", "chunk_retention", op, double)
            put("multiscale_retention", "fused_recurrent_retention", op, double)
            monkeypatch.setattr(
                importlib.import_module("fla.modules").RotaryEmbedding, "forward", turned
            )
            sizes |= {"fuse_norm": False}
        elif name == "RWKV7Attention":
            op = rwkv(naive("generalized_delta_rule.dplr", "dplr_recurrence", double))
            put("rwkv7", "chunk_rwkv7", op, double)
            put("rwkv7", "fused_mul_recurrent_rwkv7", op, double)
            where = importlib.import_module("fla.layers.rwkv7")
            parts = importlib.import_module("fla.ops.rwkv7.fused_addcmul")
            monkeypatch.setattr(where, "fused_addcmul_rwkv7", parts.torch_addcmul_rwkv7)
            parts = importlib.import_module("fla.ops.rwkv7.fused_k_update")
            monkeypatch.setattr(where, "fused_k_rwkv7", parts.k_update_ref)
            parts = importlib.import_module("fla.ops.rwkv7.gate_output_correction")
            monkeypatch.setattr(where, "gate_output_correction", parts.gate_output_correction_ref)
            monkeypatch.setattr(where, "token_shift", shift)
            sizes |= {"fuse_norm": False, "head_dim": 4, "layer_idx": 0, "num_hidden_layers": 2}
        else:
            del sizes["num_heads"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer = getattr(layers, name)(**sizes)
        for part, module in list(layer.named_children()):
            if "RMSNorm" in type(module).__name__:
                setattr(layer, part, Plain(module.weight, module.eps))
        for gate in ("act", "gate_fn"):
            if hasattr(layer, gate):
                setattr(layer, gate, nn.SiLU())
        with torch.no_grad():
            for p in layer.parameters():  # some begin with zeros
                p.add_(0.3 * torch.randn_like(p))
        return layer

    make.seen = seen
    return make


def rows(model, *inputs, **named):
    found = []
    run(model, inputs, named, lambda layer: found.append((layer, *row(layer))))
    return found


def differences(layer, x, h=1e-5):
    """dy_i / du_j of a layer on x [1 L d], in float64, from its values alone."""
    import copy

    net, columns = copy.deepcopy(layer).double().eval(), []
    for e in torch.eye(x.numel(), dtype=torch.float64):
        step = h * e.reshape(x.shape)
        with torch.no_grad():
            gap = net(x.double() + step)[0] - net(x.double() - step)[0]
        columns.append(gap.flatten() / (2 * h))
    return torch.stack(columns, 1).numpy()


KINDS = ("GatedLinearAttention", "DeltaNet", "GatedDeltaNet", "MultiScaleRetention",
         "RWKV7Attention")  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_kernel_is_that_of_differences(plain, name):
    layer, x = plain(name), tokens(B=2)
    with torch.no_grad():
        layer(x)
    kept = plain.seen["states"]
    found = rows(layer, x)
    [(seen, measured, proofs)] = found
    assert measured.kind == name and measured.tokens == L and not measured.note
    assert measured.leak is None and all(p.check() for p in proofs)
    K = seen.linearise(1).kernel()
    assert np.abs(K.reshape(L * D, L * D) - differences(layer, x[1:])).max() < 1e-7
    if kept is not None:  # and what convolutions or shifts keep
        taps = sum((m.kernel_size[0] - 1) * m.in_channels for m in layer.modules()
                   if isinstance(m, nn.Conv1d))  # fmt: skip
        assert seen.states == kept + taps + (D if name == "RWKV7Attention" else 0)
    assert measured.states[0.01][1] <= measured.own


def test_a_layer_whose_kernel_is_of_float32(plain):
    layer, x = plain("GatedDeltaNet", double=False, use_gate=False), tokens()
    [(seen, measured, _)] = rows(layer, x)
    assert measured.note.startswith("derivatives in float32 (RuntimeError") and measured.states
    K = seen.linearise().kernel()
    exact = differences(plain("GatedDeltaNet", use_gate=False), x)
    assert K.dtype == np.float64
    assert np.linalg.norm(K.reshape(exact.shape) - exact) < 1e-4 * np.linalg.norm(exact)


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
def test_mamba(plain, name):
    sizes = {"Mamba": {"intermediate_size": 16, "state_size": 3},
             "Mamba2": {"num_heads": 4, "head_dim": 4, "state_size": 3, "expand": 2,
                        "n_groups": 1, "chunk_size": 4}}  # fmt: skip
    layer, x = plain(name, **sizes[name]), tokens()
    [(seen, measured, proofs)] = rows(layer, x)
    assert measured.kind == name and measured.leak is None and all(p.check() for p in proofs)
    assert measured.own == 16 * 3 + 3 * (16 if name == "Mamba" else 16 + 2 * 3)
    M = seen.linearise().kernel().reshape(L * D, L * D)
    exact = differences(layer, x, h=1e-2)  # it computes in float32 inside
    assert np.linalg.norm(M - exact) < 1e-3 * np.linalg.norm(exact)


def test_a_model_of_layers_with_a_mask(plain):
    """Padding in front is left out by the layer itself."""
    layer, x = plain("RWKV7Attention"), tokens()
    mask = torch.ones(1, L, dtype=torch.int64)
    mask[0, :2] = 0

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x, attention_mask=mask)[0]

    found = dsf.inspect(Model(), x)
    [row] = found.layers
    K = found.kernel(row).kernel
    assert row.module == "layer" and not row.note and found.check()
    assert not K[:, :, :2].any() and K[2:, :, 2:].any()


def test_kernels_that_need_a_gpu_are_told():
    with pytest.raises(DomainError, match=r"of fla\) does not run here: RuntimeError"):
        layer = layers.GatedLinearAttention(hidden_size=D, num_heads=HEADS)
        dsf.inspect(nn.Sequential(layer), tokens())
