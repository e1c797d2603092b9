"""The delta rule in Triton, under its interpreter, against the float64 recurrence."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs in a process of its own: test_triton.py", allow_module_level=True)

from dsf.kernels import tiles
from dsf.kernels.delta import triton as kernels

EPS = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4}
NAMES = ["dq", "dk", "dv", "dbeta", "dg", "dS"]


def recurrence(q, k, v, beta, g, S, scale):
    """The oracle: S <- exp(g) S, S <- S + beta k (v - S'k)', y = scale S'q."""
    y = []
    for t in range(q.shape[1]):
        if g is not None:
            S = S * g[:, t].exp()[..., None, None]
        error = v[:, t] - torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + k[:, t, :, :, None] * (beta[:, t, :, None] * error)[:, :, None]
        y.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return (torch.stack(y, 1) if y else torch.zeros_like(v)), S


def draw(L, K, V, gated, dtype, repeated=False):
    """Unit keys, beta up to 2; `repeated`: the same key again and again in the second half."""
    gen = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=gen, dtype=torch.float64)

    q, k, v = normal(2, L, 1, K), normal(2, L, 1, K), normal(2, L, 1, V)
    k = k / k.norm(dim=-1, keepdim=True)
    if repeated:
        k[:, L // 2 :] = k[:, L // 2, None]
    beta = 2 * torch.rand(2, L, 1, generator=gen, dtype=torch.float64)
    g = (0.3 + 0.7 * torch.rand(2, L, 1, generator=gen, dtype=torch.float64)).log()
    inputs = [q, k, v, beta, g if gated else None, normal(2, 1, K, V)]
    grads = normal(2, L, 1, V), normal(2, 1, K, V)
    return [None if x is None else x.to(dtype) for x in inputs], [x.to(dtype) for x in grads]


def check(inputs, grads, dtype, scale=0.5):
    """Normwise, as transitions are of norm 1: errors against the largest row of the result,
    within 4 + sqrt(L) units of rounding."""
    dy, dlast = grads
    leaves = [None if x is None else x.double().requires_grad_() for x in inputs]
    y, last = recurrence(*leaves, scale)
    loss = (y * dy.double()).sum() + (last * dlast.double()).sum()
    present = [x for x in leaves if x is not None]
    want = iter(torch.autograd.grad(loss, present, allow_unused=True))
    want = [None if x is None else next(want) for x in leaves]
    got_y, got_last = kernels.forward(*inputs, scale)
    got = kernels.backward(*inputs, scale, *grads)
    found = {}
    pairs = [("y", got_y, y), ("S", got_last, last), *zip(NAMES, got, want, strict=True)]
    for name, a, b in pairs:
        if a is None:
            assert b is None
        elif b is None or b.numel() == 0:
            assert a.abs().sum() == 0
        else:
            assert a.shape == b.shape and a.isfinite().all(), name
            size = b.abs().amax()
            found[name] = ((a.double() - b).abs().max() / (EPS[dtype] * size)).item()
    limit = 4 + inputs[0].shape[1] ** 0.5
    assert all(r <= limit for r in found.values()), (found, limit)
    return found


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("L", [0, 1, 63, 65])
def test_equals_the_recurrence(L, gated):
    check(*draw(L, 16, 16, gated, torch.float32), torch.float32)


@pytest.mark.parametrize("dtype", EPS, ids=["f64", "f32", "f16"])
@pytest.mark.parametrize(("K", "V"), [(20, 24), (32, 16)])
def test_dtypes_and_sizes(K, V, dtype):
    check(*draw(35, K, V, True, dtype), dtype)


@pytest.mark.parametrize("rows", [16, 64])
def test_repeated_keys_in_blocks_of_any_size(rows, monkeypatch):
    # Powers of M grow like binomials there; substitution does not.
    table = {64: ((rows, 16, 8), (rows, 16, 8))}
    monkeypatch.setitem(tiles.DELTA, "float32", table)
    check(*draw(70, 16, 16, False, torch.float32, repeated=True), torch.float32)


def test_closed_and_open_gates():
    inputs, grads = draw(20, 16, 16, True, torch.float32)
    inputs[4][:, ::2] = 0
    inputs[4][:, 5] = float("-inf")
    inputs[3][:, ::3] = 0
    y, _ = kernels.forward(*inputs)
    cut = [x[:, 5:] for x in inputs[:5]]
    cut[4] = cut[4].clone()
    cut[4][:, 0] = 0
    want, _ = recurrence(*(x.double() for x in cut), torch.zeros(2, 1, 16, 16).double(), 1.0)
    assert (y[:, 5:] - want).abs().max() <= 8 * EPS[torch.float32] * want.abs().max()
    dg = kernels.backward(*inputs, 1.0, *grads)[4]
    assert dg.isfinite().all() and (dg[:, 5] == 0).all()
