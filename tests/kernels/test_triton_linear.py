"""Linear attention in Triton, under its interpreter, against the float64 recurrence."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs in a process of its own: test_triton.py", allow_module_level=True)

from dsf.kernels.linear import triton as kernels
from dsf.kernels.linear import triton_forward
from dsf.kernels.tiles import Tile, linear_tile

H = 2
EPS = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4}


def recurrence(q, k, v, log_decay, state, scale):
    """The oracle: one step after another, in the dtype of its arguments."""
    S = torch.zeros(*k.shape[:1], *k.shape[2:], v.shape[-1], dtype=q.dtype) + state
    y = []
    for t in range(q.shape[1]):
        if log_decay is not None:
            a = log_decay[:, t].exp()
            S = S * (a[..., None] if a.ndim == 3 else a[..., None, None])
        S = S + k[:, t, :, :, None] * v[:, t, :, None]
        y.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return (torch.stack(y, 1) if y else torch.zeros_like(v)), S


def draw(L, K, V, decay, dtype=torch.float32, least=0.3, seed=0, B=1):
    """q, k, v, log_decay, state and the gradients at y and at the last state."""
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    g = {"none": None, "head": (B, L, H), "channel": (B, L, H, K)}[decay]
    if g is not None:
        uniform = torch.rand(*g, generator=gen, dtype=torch.float64)
        g = (least + (1 - least) * uniform).log().to(dtype)
    q, k, v = normal(B, L, H, K), normal(B, L, H, K), normal(B, L, H, V)
    return (q, k, v, g, normal(B, H, K, V)), (normal(B, L, H, V), normal(B, H, K, V))


def wide(x):
    return None if x is None else x.double()


def size(x):
    """What bounds the rounding errors: the same sums over absolute values; logarithms as given."""
    return None if x is None else x.double().abs()


def ratio(got, want, bound, dtype):
    """The largest error in units of rounding of its own sum of absolute values."""
    assert got.shape == want.shape and got.isfinite().all()
    unit = EPS[dtype] * bound + torch.finfo(dtype).tiny
    return ((got.double() - want).abs() / unit).max().item() if want.numel() else 0.0


def gate(L, log_decay):
    mean = 1.0 if log_decay is None else log_decay.double().exp().mean().item()
    return 4 + min(L, 1 / (1 - mean) if mean < 1 else L) ** 0.5


def differentiate(inputs, scale, dy, dlast):
    """Gradients of the recurrence by autograd, None for an absent log-decay."""
    leaves = [None if x is None else x.requires_grad_() for x in inputs]
    y, last = recurrence(*leaves, scale)
    loss = (y * dy).sum() + (last * dlast).sum()
    present = [x for x in leaves if x is not None]
    found = iter(torch.autograd.grad(loss, present, allow_unused=True))
    found = [None if x is None else next(found) for x in leaves]
    return [torch.zeros_like(x) if x is not None and f is None else f
            for x, f in zip(leaves, found, strict=True)]  # fmt: skip


def check(inputs, grads, dtype, scale=0.5):
    """Outputs, last state and all five gradients within the gate."""
    q, k, v, g, state = inputs
    bound = [size(q), size(k), size(v), wide(g), size(state)]
    limit = gate(q.shape[1], g)
    got = kernels.forward(q, k, v, g, state, scale)
    want, most = recurrence(*map(wide, inputs), scale), recurrence(*bound, scale)
    found = {n: ratio(*z, dtype) for n, *z in zip("yS", got, want, most, strict=True)}
    got = kernels.backward(q, k, v, g, state, scale, *grads)
    want = differentiate(list(map(wide, inputs)), scale, *map(wide, grads))
    most = differentiate(bound, scale, *map(size, grads))
    for name, a, b, c in zip(["dq", "dk", "dv", "dg", "dS"], got, want, most, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            # The gradient at a log-decay is a running sum from the end: its rounding errors are
            # those of the largest sum on the way, not of the (perhaps small) value reached.
            c = c.amax(1, keepdim=True).expand_as(c) if name == "dg" and c.numel() else c
            found[name] = ratio(a, b, c, dtype)
    assert max(found.values()) <= limit, (found, limit)
    return found


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
@pytest.mark.parametrize("L", [0, 1, 63, 65, 130])
def test_equals_the_recurrence(L, decay):
    check(*draw(L, 16, 16, decay, torch.float32), torch.float32)


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=["f64", "f16"])
def test_other_dtypes(dtype, decay):
    check(*draw(35, 16, 16, decay, dtype), dtype)


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
@pytest.mark.parametrize(("K", "V"), [(64, 32), (32, 64), (20, 24), (1, 3)])
def test_sizes_need_not_be_powers_of_two(K, V, decay):
    check(*draw(40, K, V, decay, torch.float32), torch.float32)


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_closed_and_open_gates(decay):
    inputs, grads = draw(40, 16, 16, decay)
    g = inputs[3]
    g[:, ::3] = 0  # a = 1
    g[:, 1::4] = -30.0
    g[:, [5, 20]] = float("-inf")  # a = 0: what was before is forgotten
    y, _ = kernels.forward(*inputs, 1.0)
    later = [x[:, 20:].clone() for x in inputs[:4]]
    later[3][:, 0] = 0
    nothing = torch.zeros_like(inputs[4])
    want, _ = recurrence(*map(wide, later), nothing.double(), 1.0)
    most, _ = recurrence(*map(size, later[:3]), wide(later[3]), nothing.double(), 1.0)
    assert ratio(y[:, 20:], want, most, torch.float32) <= gate(20, later[3])
    found = kernels.backward(*inputs, 1.0, *grads)
    assert all(x.isfinite().all() for x in found)
    assert (found[3][:, [5, 20]] == 0).all()


@pytest.mark.filterwarnings("ignore:invalid value")  # the interpreter is numpy
def test_nan_and_infinity_are_seen_from_their_chunk_on():
    rows = linear_tile(0, "float32", 16, 16, False, False).rows
    inputs, _ = draw(rows + 8, 16, 16, "head")
    inputs[2][0, rows + 3, 0, 3] = float("nan")
    inputs[2][0, rows + 5, 1, 4] = float("inf")
    y, last = kernels.forward(*inputs, 1.0)
    assert y[:, rows + 3 :, 0, 3].isnan().all() and last[:, 0, :, 3].isnan().all()
    assert not y[:, rows + 5 :, 1, 4].isfinite().any() and not last[:, 1, :, 4].isfinite().any()
    # Rows of the same chunk before it are lost too (0 inf in a product); others never.
    assert y[:, :rows].isfinite().all() and y[..., 5].isfinite().all()


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
def test_any_layout_and_no_state(decay):
    (q, k, v, g, state), grads = draw(20, 16, 16, decay)
    crossed = [None if x is None else x.transpose(0, 1).contiguous().transpose(0, 1)
               for x in (q, k, v, g)]  # fmt: skip
    one = kernels.forward(q, k, v, g, torch.zeros_like(state), 1.0)
    other = kernels.forward(*crossed, None, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    one = kernels.backward(q, k, v, g, torch.zeros_like(state), 1.0, *grads)
    other = kernels.backward(*crossed, None, 1.0, *grads)
    assert all(a is b or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_state_may_be_handed_on_at_any_step():
    (q, k, v, g, state), _ = draw(40, 16, 16, "head")
    whole, last = kernels.forward(q, k, v, g, state, 1.0)
    for cut in (1, 16, 23):
        first, middle = kernels.forward(q[:, :cut], k[:, :cut], v[:, :cut], g[:, :cut], state, 1.0)
        second, end = kernels.forward(q[:, cut:], k[:, cut:], v[:, cut:], g[:, cut:], middle, 1.0)
        both = torch.cat([first, second], 1)
        most, edge = recurrence(size(q), size(k), size(v), wide(g), size(state), 1.0)
        assert ratio(both, whole.double(), most, torch.float32) <= gate(40, g)
        assert ratio(end, last.double(), edge, torch.float32) <= gate(40, g)


@pytest.mark.parametrize("decay", ["none", "head", "channel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["f32", "f16"])
def test_chunks_of_64_rows_in_two_parts(dtype, decay, monkeypatch):
    tile = Tile(64, 16, 4, 1, str(dtype).removeprefix("torch."))
    monkeypatch.setattr(triton_forward, "linear_tile", lambda *a: tile)
    (q, k, v, g, state), _ = draw(130, 16, 16, decay, dtype)
    got = kernels.forward(q, k, v, g, state, 0.5)
    want = recurrence(*map(wide, (q, k, v, g, state)), 0.5)
    most = recurrence(size(q), size(k), size(v), wide(g), size(state), 0.5)
    for z in zip(got, want, most, strict=True):
        assert ratio(*z, dtype) <= gate(130, g)
