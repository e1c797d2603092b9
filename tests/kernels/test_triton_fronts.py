"""The public kernels by Triton, under its interpreter, against the reference in float64."""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("runs in a process of its own: test_triton.py", allow_module_level=True)

from dsf import kernels
from dsf.core.errors import KernelError
from dsf.kernels import dispatch
from dsf.kernels.backends import module

UNIT = {torch.float64: 2.2e-16, torch.float32: 1.2e-7, torch.float16: 9.8e-4}
B, L, H, K, V = 2, 37, 2, 16, 8


def normal(*shape, seed=0):
    gen = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def arguments(decay="head"):
    gates = {"none": (), "head": (B, L, H), "channel": (B, L, H, K)}[decay]
    found = {"q": normal(B, L, H, K), "k": normal(B, L, H, K, seed=1), "v": normal(B, L, H, V)}
    found["k"] = found["k"] / found["k"].norm(dim=-1, keepdim=True)
    if gates:
        found["log_decay"] = -0.3 * normal(*gates).abs()
    return found | {"state": normal(B, H, K, V)}


def scan_arguments():
    D, N = 12, 5
    names = {"u": (B, L, D), "delta": (B, L, D), "A": (D, N), "B": (B, L, N), "C": (B, L, N)}
    found = {n: normal(*s) for n, s in names.items()} | {"D": normal(D), "h0": normal(B, D, N)}
    return found | {"delta": found["delta"].abs() / 4, "A": -found["A"].abs()}


def softmax_arguments(M):
    return {"q": normal(B, M, 4, K), "k": normal(B, L, 2, K), "v": normal(B, L, 2, V)}


def run(front, given, dtype, backend, **how):
    """Outputs and gradients of all arguments; states, decays and the like at least float32."""
    wide = {"state", "log_decay", "A", "D", "h0", "bonus"}
    most = torch.promote_types(dtype, torch.float32)
    leaves = {n: x.to(most if n in wide else dtype).requires_grad_() for n, x in given.items()}
    found = front(**leaves, **how, backend=backend)
    found = found if isinstance(found, tuple) else (found,)
    loss = sum((y.double() * normal(*y.shape, seed=3)).sum() for y in found)
    how = {"allow_unused": True, "materialize_grads": True}
    return found, torch.autograd.grad(loss, list(leaves.values()), **how), leaves


CASES = {
    "linear": (kernels.linear_attention, lambda: arguments("none"), {}),
    "decay": (kernels.linear_attention, lambda: arguments("head"), {"scale": 0.5}),
    "channels": (kernels.linear_attention, lambda: arguments("channel"), {}),
    "before": (
        kernels.linear_attention,
        lambda: arguments("channel") | {"bonus": normal(H, K)},
        {"read": "before", "scale": 0.5},
    ),
    "delta": (
        kernels.delta_rule,
        lambda: arguments("none") | {"beta": torch.sigmoid(normal(B, L, H))},
        {},
    ),
    "gated": (
        kernels.delta_rule,
        lambda: arguments("head") | {"beta": torch.sigmoid(normal(B, L, H))},
        {"scale": 0.5},
    ),
    "scan": (kernels.selective_scan, scan_arguments, {}),
    "softmax": (kernels.softmax_attention, lambda: softmax_arguments(L), {}),
    "last queries": (kernels.softmax_attention, lambda: softmax_arguments(5), {"scale": 0.3}),
    "all keys": (kernels.softmax_attention, lambda: softmax_arguments(50), {"causal": False}),
}


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, dtype):
    front, make, how = CASES[case]
    got, grads, leaves = run(front, make(), dtype, "triton", **how)
    assert kernels.last_backend() == "triton"
    given = {n: x.detach().double() for n, x in leaves.items()}
    want, slow, _ = run(front, given, torch.float64, "reference", **how)
    for a, b in zip((*got, *grads), (*want, *slow), strict=True):
        assert a.shape == b.shape and a.isfinite().all()
        assert (a - b).norm() <= 8 * UNIT[dtype] * b.norm(), (a - b).norm() / b.norm()
    assert got[0].dtype == dtype
    assert [x.dtype for x in got[1:]] == [torch.promote_types(dtype, torch.float32)] * len(got[1:])
    assert [x.dtype for x in grads] == [x.dtype for x in leaves.values()]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("case", ["decay", "channels", "before", "gated"])
def test_smallest_lengths(case, size):
    front, make, how = CASES[case]
    short = {n: x if n in ("state", "bonus") else x[:, :size] for n, x in make().items()}
    got, grads, _ = run(front, short, torch.float32, "triton", **how)
    want, slow, _ = run(front, short, torch.float32, "reference", **how)
    for a, b in zip((*got, *grads), (*want, *slow), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("structure", ["linear", "delta", "selective", "softmax"])
def test_systems(structure):
    """Arrays with decays, as systems hold them; a decay of 0 forgets."""
    q, k, v = normal(B, L, H, K), normal(B, L, H, K), normal(B, L, H, V)
    if structure == "linear":
        w = normal(B, L, H, K).sigmoid()
        w[:, 9] = 0
        arrays, numbers = [q, k, v, w, normal(B, H, K, V)], [0.5, 0.0]
    elif structure == "delta":
        k, beta, w = k / k.norm(dim=-1, keepdim=True), normal(B, L, H).sigmoid(), normal(B, L, H, 1)
        w = w.sigmoid()
        w[:, 9] = 0
        arrays, numbers = [q, k, v, beta, w, normal(B, H, K, V)], [0.5]
    elif structure == "selective":
        given = scan_arguments()
        given["delta"][:, 5] = 0  # where something is written all the same
        x, delta, A, b, c, _, h = given.values()
        arrays = [x, delta, A.expand(B, *A.shape), b, c, h]
        numbers = []
    else:
        none = [q.new_zeros(B, H, L, 0), q.new_zeros(B, 0, H), q.new_zeros(B, 0)]
        arrays, numbers = [q, k, v, *none], [1.0, 1.0, 0.0]
    leaves = [x.detach().requires_grad_() for x in arrays]
    want = module(structure, "reference").forward(*leaves, *numbers)
    found, then = dispatch.for_triton(structure, leaves, numbers)
    got = dispatch.run(structure, found, then, "triton")
    outputs = 1 if structure == "softmax" else 2  # Triton's sums of rows are logarithms to base 2
    for a, b in zip(got[:outputs], want[:outputs], strict=True):
        assert (a - b).norm() <= 1e-14 * b.norm()
    # the gradients of all, but that of a decay of 0
    dy = normal(*want[0].shape, seed=5)
    how = {"allow_unused": True, "materialize_grads": True}
    slow, fast = (torch.autograd.grad(y[0], leaves, dy, **how) for y in (want, got))
    for i, (x, a, b) in enumerate(zip(arrays, fast, slow, strict=True)):
        b = b.masked_fill(x == 0, 0) if structure in ("linear", "delta") else b
        if structure == "selective" and i == 2:  # A is one for the whole batch
            a, b = a.sum(0), b.sum(0)
        assert (a - b).norm() <= 1e-13 * (1 + b.norm())


def test_what_triton_has_not():
    assert dispatch.for_triton("linear", arguments("channel").values(), [1.0, 1.0]) is None
    assert dispatch.for_triton("low_rank", [], []) is None
    given = {n: x.float() for n, x in softmax_arguments(L).items()}
    with pytest.raises(KernelError, match="no bias, window, forget gate or sink"):
        kernels.softmax_attention(**given, window=3, backend="triton")
    more = {n: x.float() for n, x in softmax_arguments(L + 1).items()}
    with pytest.raises(KernelError, match="causal queries are more than the keys"):
        kernels.softmax_attention(**more, backend="triton")
    given = {n: x.float() for n, x in arguments("channel").items()}
    with pytest.raises(KernelError, match="no triton kernel"):
        kernels.delta_rule(**given, beta=torch.ones(B, L, H), backend="triton")


def test_a_single_channel_is_a_decay_of_its_head():
    given = {n: x[..., :1] for n, x in arguments("channel").items() if n != "state"}
    given |= {"beta": torch.sigmoid(normal(B, L, H))}
    got = kernels.delta_rule(**given, backend="triton")
    assert kernels.last_backend() == "triton"
    for a, b in zip(got, kernels.delta_rule(**given, backend="reference"), strict=True):
        assert (a - b).norm() <= 1e-14 * b.norm()


@pytest.mark.parametrize("case", ["decay", "gated", "scan"])
def test_half_precision_is_not_widened_on_the_way(case, monkeypatch):
    seen = []
    kernel = module({"decay": "linear", "gated": "delta", "scan": "selective"}[case], "triton")
    inner = kernel.forward
    monkeypatch.setattr(
        kernel, "forward", lambda *a: seen.append([x.dtype for x in a[:2]]) or inner(*a)
    )
    front, make, how = CASES[case]
    run(front, make(), torch.float16, "triton", **how)
    assert seen == [[torch.float16, torch.float16]]


def test_decays_of_another_batch_than_the_rows():
    """One decay [L H] for a whole batch, in the delta rule too: it is still one per head."""
    given = arguments("head") | {"beta": torch.sigmoid(normal(B, L, H))}
    given["log_decay"] = given["log_decay"][0]
    got = kernels.delta_rule(**given, backend="triton")
    want = kernels.delta_rule(**given, backend="reference")
    assert kernels.last_backend() == "reference"
    for a, b in zip(got, want, strict=True):
        assert (a - b).norm() <= 1e-14 * b.norm()
