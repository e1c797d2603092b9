"""What the Triton kernels compute on a GPU, against float64: rows of `gpu.py`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch


def kernel(name: str) -> ModuleType:
    return importlib.import_module(f"dsf.kernels.{name}.triton")


def recurrence(q, k, v, g, state, scale, beta=None):
    """The oracle, one step after another: linear attention, or with beta the delta rule."""
    S, y = state, []
    for t in range(q.shape[1]):
        if g is not None:
            a = g[:, t].exp()
            S = S * (a[..., None] if a.ndim == 3 else a[..., None, None])
        new = v[:, t]
        if beta is not None:
            new = beta[:, t, :, None] * (new - torch.einsum("bhkv,bhk->bhv", S, k[:, t]))
        S = S + k[:, t, :, :, None] * new[:, :, None]
        y.append(scale * torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    return torch.stack(y, 1), S


def relative(got, want) -> float:
    """The largest error of a row over the largest row: 0 is exact."""
    got, want = got.double(), want.double()
    if not torch.isfinite(got).all():
        return float("nan")
    return ((got - want).norm(dim=-1).max() / want.norm(dim=-1).max()).item()


def draw(B, L, H, K, V, decay, dtype, seed=0, least=0.3):
    gen = torch.Generator("cuda").manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=gen, device="cuda", dtype=torch.float32).to(dtype)

    shape = {"none": None, "head": (B, L, H), "channel": (B, L, H, K)}[decay]
    g = None
    if shape:
        g = torch.rand(shape, generator=gen, device="cuda", dtype=torch.float32)
        g = (least + (1 - least) * g).log().to(dtype)
    unit = torch.nn.functional.normalize(normal(B, L, H, K).float(), dim=-1).to(dtype)
    return normal(B, L, H, K), unit, normal(B, L, H, V), g, normal(B, H, K, V).float()


def attention(q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def gradients(inputs, scale, dy, dlast):
    leaves = [x if x is None else x.double().requires_grad_() for x in inputs]
    y, last = recurrence(*leaves[:5], scale, *leaves[5:])
    loss = (y * dy.double()).sum() + (last * dlast.double()).sum()
    return torch.autograd.grad(loss, [x for x in leaves if x is not None])


def linear_accuracy(L, K, V, decay, dtype):
    B, H = 2, 3
    inputs = draw(B, L, H, K, V, decay, dtype)
    dy = torch.randn(B, L, H, V, device="cuda").to(dtype)
    dlast = torch.randn(B, H, K, V, device="cuda")
    linear = kernel("linear")
    scale = 1.0 if K >= 64 else 0.5  # 1: programs that the timing uses again
    y, last = linear.forward(*inputs, scale)
    wide = [x if x is None else x.double() for x in inputs]
    Y, S = recurrence(*wide, scale)
    row = {"y": relative(y, Y), "state": relative(last, S)}
    got = [x for x in linear.backward(*inputs, scale, dy, dlast) if x is not None]
    names = ["dq", "dk", "dv", *(["dg"] if inputs[3] is not None else []), "dstate"]
    for name, a, b in zip(names, got, gradients(inputs, scale, dy, dlast), strict=True):
        row[name] = relative(a, b)
    if K <= 64:
        again = linear.forward(*inputs, scale)[0]
        row["same_again"] = bool((again == y).all())
    return row


def delta_accuracy(L, K, V, gated, dtype):
    B, H = 2, 3
    q, k, v, g, state = draw(B, L, H, K, V, "head" if gated else "none", dtype)
    beta = torch.rand(B, L, H, device="cuda").to(dtype)
    low = kernel("delta")
    scale = 1.0 if K >= 64 else 0.5
    y, last = low.forward(q, k, v, beta, g, state, scale)
    wide = [x if x is None else x.double() for x in (q, k, v, g, state)]
    Y, S = recurrence(*wide, scale, beta.double())
    row = {"y": relative(y, Y), "state": relative(last, S)}
    dy = torch.randn(B, L, H, V, device="cuda").to(dtype)
    dlast = torch.randn(B, H, K, V, device="cuda")
    dq, dk, dv, dbeta, dg, dstate = low.backward(q, k, v, beta, g, state, scale, dy, dlast)
    got = [x for x in (dq, dk, dv, dg, dstate, dbeta) if x is not None]
    names = ["dq", "dk", "dv", *(["dg"] if gated else []), "dstate", "dbeta"]
    want = gradients((q, k, v, g, state, beta), scale, dy, dlast)
    row |= {n: relative(a, b) for n, a, b in zip(names, got, want, strict=True)}
    return row


def scan_inputs(B, L, D, N, dtype):
    gen = torch.Generator("cuda").manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=gen, device="cuda", dtype=torch.float32).to(dtype)

    delta = torch.nn.functional.softplus(normal(B, L, D).float() - 2).to(dtype)
    A = -torch.arange(1, N + 1, device="cuda", dtype=torch.float32).expand(D, N).contiguous()
    A = A.double() if dtype == torch.float64 else A
    return normal(B, L, D), delta, A, normal(B, L, N), normal(B, L, N), normal(D)


def scan_recurrence(u, delta, A, B, C, D):
    """The oracle of the selective scan."""
    h, y = 0, []
    for t in range(u.shape[1]):
        new = (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        h = (delta[:, t, :, None] * A).exp() * h + new
        y.append((h * C[:, t, None]).sum(-1) + D * u[:, t])
    return torch.stack(y, 1), h


def scan_accuracy(dtype):
    inputs = scan_inputs(2, 500, 200, 16, dtype)
    selective = kernel("selective")
    y, last = selective.forward(*inputs)
    leaves = [x.double().requires_grad_() for x in inputs]
    Y, h = scan_recurrence(*leaves)
    row = {"y": relative(y, Y), "state": relative(last, h)}
    dy = torch.randn_like(y)
    got = selective.backward(*inputs, None, 1.0, dy)
    want = torch.autograd.grad(Y, leaves, dy.double())
    names = ["du", "ddelta", "dA", "dB", "dC", "dD"]
    return row | {n: relative(a, b) for n, a, b in zip(names, got, want, strict=False)}


def softmax_accuracy(K, dtype):
    gen = torch.Generator("cuda").manual_seed(0)
    q, k, v, dy = (
        torch.randn((2, 500, 4, K), generator=gen, device="cuda").to(dtype) for _ in range(4)
    )
    softmax = kernel("softmax")
    none = q.new_zeros(2, 4, 500, 0), q.new_zeros(2, 0, 4), q.new_zeros(2, 0)
    numbers = K**-0.5, 1.0, 0.0
    y, lse = softmax.forward(q, k, v, *none, *numbers)
    leaves = [x.double().requires_grad_() for x in (q, k, v)]
    Y = attention(*leaves).transpose(1, 2)
    row = {"y": relative(y, Y)}
    want = torch.autograd.grad(Y, leaves, dy.double())
    got = softmax.backward(q, k, v, *none, y, lse, *numbers, dy)[:3]
    return row | {n: relative(a, b) for n, a, b in zip(["dq", "dk", "dv"], got, want, strict=True)}


def front_accuracy(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """A public kernel and its gradients by autograd, against the reference in float64."""
    from dsf import kernels

    shape = {"decay": "head", "channel": "channel", "before": "channel", "gated": "head"}
    q, k, v, g, state = draw(2, 300, 4, 64, 64, shape.get(name, "none"), dtype, least=0.8)
    given: dict[str, Any] = {"q": q, "k": k, "v": v, "state": state}
    how: dict[str, Any] = {}
    front: Callable[..., Any] = kernels.linear_attention
    if g is not None:
        given["log_decay"] = g.float()
    if name == "before":
        given["bonus"], how["read"] = torch.rand(4, 64, device="cuda"), "before"
    if name == "gated":
        front, given["beta"] = kernels.delta_rule, torch.rand(2, 300, 4, device="cuda").to(dtype)
    if name == "scan":
        front = kernels.selective_scan
        given = dict(
            zip("u delta A B C D".split(), scan_inputs(2, 300, 96, 16, dtype), strict=True)
        )
    if name == "softmax":
        front, given = kernels.softmax_attention, {"q": q, "k": k, "v": v}

    def run(given: dict[str, Any], backend: str) -> tuple[Any, Any]:
        leaves = [x.detach().requires_grad_() for x in given.values()]
        found = front(**dict(zip(given, leaves, strict=True)), **how, backend=backend)
        found = found if isinstance(found, tuple) else (found,)
        weights = [torch.linspace(-1, 1, y.numel(), device="cuda").reshape(y.shape) for y in found]
        loss = sum((y.double() * w).sum() for y, w in zip(found, weights, strict=True))
        return found, torch.autograd.grad(loss, leaves)

    got, grads = run(given, "auto")
    row: dict[str, Any] = {"backend": kernels.last_backend(), "out": str(got[0].dtype)}
    want, slow = run({n: x.double() for n, x in given.items()}, "reference")
    row |= {n: relative(a, b) for n, a, b in zip(("y", "state"), got, want, strict=False)}
    return row | {f"d{n}": relative(a, b) for n, a, b in zip(given, grads, slow, strict=True)}


def layer_accuracy(name: str) -> dict[str, Any]:
    """A mechanism as a layer on the GPU, against the same layer on the CPU in float64."""
    import dsf

    torch.manual_seed(0)
    layer = getattr(dsf, name).to_torch(d=64, heads=2)
    u = torch.randn(2, 200, 64)
    want = layer.double()(u.double())
    got = layer.float().cuda()(u.cuda())
    return {"backend": dsf.kernels.last_backend(), "y": relative(got.cpu(), want.detach())}


def accuracy(report: Any) -> None:
    """Every kernel, every public front, and some layers."""
    for dtype in (torch.float32, torch.bfloat16):
        for name in ("none", "decay", "channel", "before", "gated", "scan", "softmax"):
            about = {"part": "accuracy", "kernel": f"front {name}", "dtype": str(dtype)[6:]}
            report.add(functools.partial(front_accuracy, name, dtype), **about)
    for name in ("gla", "retnet", "mamba", "mamba2", "softmax"):
        report.add(functools.partial(layer_accuracy, name), part="accuracy", kernel=f"layer {name}")
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        name = str(dtype)[6:]
        report.add(lambda t=dtype: scan_accuracy(t), part="accuracy", kernel="scan", dtype=name)
        for K in (64, 128) if dtype != torch.float64 else (60,):
            measure = functools.partial(softmax_accuracy, K, dtype)
            report.add(measure, part="accuracy", kernel="softmax", dtype=name, K=K)
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.float16):
        name = str(dtype)[6:]
        for decay in ("none", "head", "channel"):
            for K, V in [(64, 64), (128, 128), (60, 40)]:
                if (dtype in (torch.float64, torch.float16)) != (K == 60):
                    continue
                measure = functools.partial(linear_accuracy, 700, K, V, decay, dtype)
                report.add(measure, part="accuracy", kernel="linear", decay=decay, dtype=name, K=K)
        for gated in (False, True):
            for K, V in [(64, 64), (128, 128), (60, 40)]:
                if (dtype in (torch.float64, torch.float16)) != (K == 60):
                    continue
                measure = functools.partial(delta_accuracy, 700, K, V, gated, dtype)
                report.add(measure, part="accuracy", kernel="delta", gated=gated, dtype=name, K=K)
