"""Layers of other libraries by stand-ins: called again as they were called, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dsf
from dsf.core.errors import DomainError
from dsf.jacobians.products import Products
from dsf.models.layers import row, run


class DeltaNet(nn.Module):
    """Linear attention with a decay under the names of flash-linear-attention's layers."""

    def __init__(self, hidden_size=4, num_heads=1):
        super().__init__()
        self.hidden_size, self.num_heads = hidden_size, num_heads
        self.head_k_dim = self.head_v_dim = hidden_size // num_heads
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(3)
        )

    def kernel(self, q, k, v, S):
        o = []
        for t in range(q.shape[1]):
            S = 0.8 * S + k[:, t, :, None] * v[:, t, None, :]
            o.append((q[:, t, :, None] * S).sum(1))
        return torch.stack(o, 1), S

    def forward(self, hidden_states, attention_mask=None, past=None, shared=None):
        q, k, v = (f(hidden_states) for f in (self.q_proj, self.k_proj, self.v_proj))
        if shared is not None:
            v = v + shared[0]
        if attention_mask is not None:
            v = v * attention_mask[..., None]
        S = k.new_zeros(len(k), k.shape[-1], v.shape[-1])
        o, S = self.kernel(q, k, v, past["S"] if past else S)
        if past is not None:
            past["S"] = S
        return o, None, past


DeltaNet.__module__ = "fla.layers.delta_net"


class Without(torch.autograd.Function):
    """Twice its input; `backward` is chosen by a subclass."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x


class Refuses(Without):
    @staticmethod
    def backward(ctx, g):
        raise NotImplementedError("no backward kernel")


class Wrong(Without):
    @staticmethod
    def backward(ctx, g):
        return 0.5 * g


class Once(Without):
    """Its backward pass is out of sight of a second one."""

    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(2 * g.detach().numpy())


def tokens(B=1, L=6, d=4, seed=0):
    return torch.randn(B, L, d, generator=torch.Generator().manual_seed(seed))


def layer(cls=DeltaNet, **sizes):
    torch.manual_seed(0)
    return cls(**sizes)


def kernels(model, *inputs, sequence=0, **named):
    """(row, kernel [L d L d], or None where there is none) of each layer of a run."""
    found = []

    def see(seen):
        measured, proofs = row(seen, sequence=sequence)
        assert all(p.check() for p in proofs)
        found.append((measured, None if not proofs else seen.linearise(sequence).kernel()))

    run(model, inputs, named, see)
    return found


def jacobian(f, x):
    return torch.autograd.functional.jacobian(f, x.double()).numpy()


def test_the_kernel_is_the_jacobian_of_the_layer_as_it_was_called():
    net, x, shared = layer(), tokens(B=2), (tokens(B=2, seed=1),)
    mask = torch.ones(2, 6)
    mask[1, :2] = 0
    for how in ("by place", "by name"):
        args = (x, mask, None, shared) if how == "by place" else ()
        named = {} if args else {"hidden_states": x, "attention_mask": mask, "shared": shared}
        [(found, K)] = kernels(net, *args, sequence=1, **named)
        assert (found.kind, found.own, found.note) == ("DeltaNet", 16, "")
    wide = layer().double()
    wanted = jacobian(
        lambda u: wide(u[None], mask[1:].double(), None, (shared[0][1:].double(),))[0][0], x[1]
    )
    assert np.allclose(K, wanted, atol=1e-12) and not K[:, :, :2].any()
    [(_, other)] = kernels(net, x)  # without them it is another map
    assert not np.allclose(other, wanted, atol=1e-3)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in net.parameters())


def test_an_empty_cache_changes_nothing_and_a_filled_one_is_told():
    net, x = layer(), tokens()
    [(_, K)] = kernels(net, x)
    [(found, again)] = kernels(net, x, past={})
    assert np.array_equal(K, again) and not found.note
    [(found, _)] = kernels(net, x, past={"S": torch.ones(1, 4, 4)})
    assert "a cache that it goes on from" in found.note and not found.states
    text = repr(dsf.inspect(net, x, past={"S": torch.ones(1, 4, 4)}))
    assert "nothing counted" in text and "more than its input" in text


@pytest.mark.parametrize(("function", "said"), [
    (Refuses, "no backward kernel"), (Wrong, "not those of its differences"), (Once, ""),
])  # fmt: skip
def test_derivatives_that_are_not_there_are_not_made_up(function, said):
    class Kernel(DeltaNet):
        def kernel(self, q, k, v, S):
            return super().kernel(q, k, function.apply(v), S)

    Kernel.__module__ = DeltaNet.__module__
    [(found, K)] = kernels(layer(Kernel), tokens())
    assert said in found.note and bool(found.states) == (not said)
    if not said:
        assert np.allclose(K, jacobian(lambda u: layer(Twice).double()(u[None])[0][0], tokens()[0]))


class Twice(DeltaNet):
    def kernel(self, q, k, v, S):
        return super().kernel(q, k, 2 * v, S)


Twice.__module__ = DeltaNet.__module__


def test_large_layers_need_second_derivatives(monkeypatch):
    class Kernel(DeltaNet):
        def kernel(self, q, k, v, S):
            return super().kernel(q, k, Once.apply(v), S)

    Kernel.__module__ = DeltaNet.__module__
    monkeypatch.setattr("dsf.models.layers.measure.SMALL", 0)
    [(found, _)] = kernels(layer(Kernel), tokens())
    assert "f has derivatives, and these have none" in found.note and not found.states
    [(plain, _)] = kernels(layer(Twice), tokens())
    assert (plain.how == "" and not plain.states) or plain.how == "sketch"


def test_products_know_gaps_of_the_second_derivative():
    u = tokens()[0].double()
    X = torch.ones(6, 4, 1, dtype=torch.float64)
    good = Products(lambda x: 2 * x.cumsum(0), u)
    assert np.allclose(good.times(X)[..., 0], 2 * np.arange(1, 7)[:, None].repeat(4, 1))
    for f in (lambda x: Once.apply(x), lambda x: x + Once.apply(x.cumsum(0))):
        with pytest.raises(DomainError, match="these have none"):
            Products(f, u).times(X)
    with pytest.raises(DomainError, match="NotImplementedError: no backward kernel"):
        Products(Refuses.apply, u).kernel()


class Narrow(DeltaNet):
    """Its kernel takes these dtypes alone."""

    takes = (torch.float32,)

    def kernel(self, q, k, v, S):
        if v.dtype not in self.takes:
            raise AssertionError(f"{v.dtype} is not supported\nand more")
        return super().kernel(q, k, v, S)


Narrow.__module__ = DeltaNet.__module__


def test_kernels_without_float64():
    [(wide, exact)], [(found, K)] = kernels(layer(), tokens()), kernels(layer(Narrow), tokens())
    assert found.note == "derivatives in float32 (AssertionError: torch.float64 is not supported)"
    assert found.states == wide.states and np.allclose(K, exact, atol=1e-5)
    text = repr(dsf.inspect(layer(Narrow), tokens()))
    assert "derivatives in float32" in text


def test_kernels_of_half_precision_alone(monkeypatch):
    monkeypatch.setattr(Narrow, "takes", (torch.bfloat16,))
    [(found, _)] = kernels(layer(Narrow).bfloat16(), tokens().bfloat16())
    assert "runs neither in float64 nor in float32" in found.note and not found.states


@pytest.mark.parametrize("library", ["fla", "transformers"])
def test_layers_that_do_not_run_here_are_told(library):
    class GatedDeltaNet(DeltaNet):
        def kernel(self, *_):
            raise RuntimeError("0 active drivers ([]). There should only be one.")

    GatedDeltaNet.__module__ = f"{library}.layers.delta"
    model = nn.Sequential(nn.Linear(4, 4), layer(GatedDeltaNet)).train()
    said = rf"1 \(GatedDeltaNet of {library}\) does not run here: RuntimeError: 0 active"
    with pytest.raises(DomainError, match=said):
        dsf.inspect(model, tokens())
    assert model.training and not any(m._forward_hooks for m in model.modules())
    with pytest.raises(RuntimeError, match="mat1 and mat2"):  # of the model's own
        dsf.inspect(model, tokens(d=3))


def test_models_out_of_sight_are_not_said_to_forget_everything():
    class Opaque(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.detach().numpy().cumsum(1))

    [row] = dsf.inspect(Opaque(), tokens()).layers
    assert "has no derivative" in row.note and not row.states

    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones_like(x)

    [row] = dsf.inspect(Constant(), tokens()).layers
    assert row.states[0.1] == (0, 0)
