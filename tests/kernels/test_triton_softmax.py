"""Streamed softmax attention in Triton, under its interpreter, against float64."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs in a process of its own: test_triton.py", allow_module_level=True)

from dsf.kernels.softmax import triton as kernels

EPS = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4}


def attention(q, k, v, scale, causal):
    """The oracle: the formula, [B M H K] against [B N G K]."""
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    s = scale * torch.einsum("bmhk,bnhk->bhmn", q, k)
    M, N = s.shape[-2:]
    if causal:
        s = s.masked_fill(torch.ones(M, N).triu(1 + N - M).bool(), float("-inf"))
    return torch.einsum("bhmn,bnhv->bmhv", s.softmax(-1), v)


def bounds(q, k, v, dy, scale, causal):
    """Scales of y, dq, dk, dv: sums of absolute values, each row by 1 + its largest logit."""
    G = k.shape[2]
    wide = [x.repeat_interleave(q.shape[2] // G, 2) for x in (k, v)]
    eye = torch.eye(k.shape[1], dtype=q.dtype)[None, :, None, :].expand(*k.shape[:3], -1)
    p = attention(q, k, eye, scale, causal).transpose(1, 2)  # the weights, [B H M N]
    q, k, v, dy = q.abs(), wide[0].abs(), wide[1].abs(), dy.abs()
    row = 1 + scale * torch.einsum("bmhk,bnhk->bhmn", q, k).amax(-1, keepdim=True)
    p = p * row
    ds = torch.einsum("bmhv,bnhv->bhmn", dy, v)
    ds = scale * (p * ds + p * (p / row * ds).sum(-1, keepdim=True))
    y = torch.einsum("bhmn,bnhv->bmhv", p, v)
    dq = torch.einsum("bhmn,bnhk->bmhk", ds, k)
    dk = torch.einsum("bhmn,bmhk->bnhk", ds, q)
    dv = torch.einsum("bhmn,bmhv->bnhv", p, dy)
    return y, dq, *(x.unflatten(2, (G, -1)).sum(3) for x in (dk, dv))


def nothing(q):
    """No bias, no forget gates, no sink."""
    (n, M, H, _) = q.shape
    return q.new_zeros(n, H, M, 0), q.new_zeros(n, 0, H), q.new_zeros(n, 0)


def check(M, N, H, G, K, V, dtype, causal=True, size=1.0):
    """Outputs and gradients within 4 units of rounding of their scales."""
    gen = torch.Generator().manual_seed(0)
    shapes = [(2, M, H, K), (2, N, G, K), (2, N, G, V), (2, M, H, V)]
    q, k, v, dy = (torch.randn(s, generator=gen, dtype=torch.float64).to(dtype) for s in shapes)
    q = q * size
    inputs, numbers = [q, k, v, *nothing(q)], [K**-0.5, float(causal), 0.0]
    y, lse = kernels.forward(*inputs, *numbers)
    got = [y, *kernels.backward(*inputs, y, lse, *numbers, dy)[:3]]
    leaves = [x.double().requires_grad_() for x in (q, k, v)]
    Y = attention(*leaves, K**-0.5, causal)
    want = [Y, *torch.autograd.grad(Y, leaves, dy.double())]
    most = bounds(*(x.detach() for x in leaves), dy.double(), K**-0.5, causal)
    found = []
    for a, b, bound in zip(got, want, most, strict=True):
        assert a.shape == b.shape == bound.shape and a.isfinite().all()
        unit = EPS[dtype] * bound + torch.finfo(dtype).tiny
        found.append(((a.double() - b).abs() / unit).max().item())
    assert max(found) <= 4, found


@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize(("M", "N"), [(1, 1), (63, 63), (65, 65), (5, 70)])
def test_equals_the_formula(M, N, size):
    check(M, N, 2, 1, 16, 16, torch.float32, size=size)


@pytest.mark.parametrize("dtype", EPS, ids=["f64", "f32", "f16"])
@pytest.mark.parametrize(("K", "V"), [(20, 24), (64, 32)])
def test_dtypes_and_sizes(K, V, dtype):
    check(35, 35, 4, 2, K, V, dtype)


def test_without_a_mask():
    check(20, 40, 2, 2, 16, 16, torch.float32, causal=False)


def test_empty():
    q = torch.zeros(1, 0, 2, 16)
    inputs = q, q, q, *nothing(q)
    y, lse = kernels.forward(*inputs, 1.0, 1.0, 0.0)
    assert y.shape == q.shape and lse.shape == (1, 0, 2)
    found = kernels.backward(*inputs, y, lse, 1.0, 1.0, 0.0, q)
    assert [x.shape for x in found] == [x.shape for x in inputs]
