"""How fast the Triton kernels are on a GPU, beside peers: rows of `gpu.py`."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_accuracy import attention, draw, kernel, scan_inputs


def milliseconds(contestants: dict[str, Callable[[], Any]], repeats: int = 15) -> dict[str, float]:
    """Median milliseconds on the GPU, interleaved, each on a cold cache of 50 MB or more.

    The GPU is kept busy for 2 ms before, so that launches are queued and not waited for.
    """
    flush = torch.empty(1 << 26, dtype=torch.int32, device="cuda")
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for f in contestants.values():
        f(), f()
    for _ in range(repeats):
        for name, f in contestants.items():
            for _ in range(32):
                flush.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            f()
            end.record()
            torch.cuda.synchronize()
            times[name].append(start.elapsed_time(end))
    return {f"ms_{name}": sorted(t)[len(t) // 2] for name, t in times.items()}


def fla(name: str) -> Callable[..., Any] | None:
    """An operator of flash-linear-attention, or None where that is not installed."""
    places = {
        "none": ("fla.ops.linear_attn", "chunk_linear_attn"),
        "head": ("fla.ops.simple_gla", "chunk_simple_gla"),
        "channel": ("fla.ops.gla", "chunk_gla"),
        "delta": ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
    }
    try:
        module, function = places[name]
        return getattr(importlib.import_module(module), function)
    except Exception:
        return None


def floor(*tensors, bandwidth: float) -> float:
    """Milliseconds to move these once."""
    return 1e3 * sum(x.numel() * x.element_size() for x in tensors) / bandwidth


def bandwidth() -> float:
    """Bytes a second of a large copy, read and write counted."""
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() / (milliseconds({"copy": lambda: b.copy_(a)})["ms_copy"] / 1e3)


SHAPES = [
    (1, 8192, 96, 128),
    (2, 16384, 16, 128),
    (4, 2048, 16, 128),
    (4, 4096, 64, 128),
    (8, 4096, 32, 64),
    (8, 1024, 8, 64),
    (1, 32768, 8, 64),
]


def linear_time(shape, decay, copy, dtype):
    B, L, H, d = shape
    q, k, v, g, _ = draw(B, L, H, d, d, decay, dtype, least=0.9)
    g = None if g is None else g.float()
    linear = kernel("linear")
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: linear.forward(q, k, v, g)}
    runs["sdpa"] = lambda: attention(q, k, v)
    peer = fla(decay)
    if peer is not None and decay == "none":
        runs["fla"] = lambda: peer(q, k, v, scale=1.0, normalize=False)
    elif peer is not None:
        runs["fla"] = lambda: peer(q, k, v, g, scale=1.0)
    row: dict[str, Any] = milliseconds(runs)
    moved = [q, k, v, v] + ([g] if g is not None else [])
    row["fraction_of_copy"] = floor(*moved, bandwidth=copy) / row["ms_ours"]
    return row


def linear_backward_time(shape, decay, dtype):
    B, L, H, d = shape
    q, k, v, g, _ = draw(B, L, H, d, d, decay, dtype, least=0.9)
    dy = torch.randn_like(v)
    linear = kernel("linear")
    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: linear.backward(q, k, v, g, None, 1.0, dy)
    }
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attention(*leaves).transpose(1, 2)
    runs["sdpa"] = lambda: torch.autograd.grad(out, leaves, dy, retain_graph=True)
    return milliseconds(runs, 7)


def host_time() -> dict[str, Any]:
    """Microseconds that this computer needs to launch one call."""
    q, k, v, g, _ = draw(1, 256, 8, 64, 64, "head", torch.bfloat16, least=0.9)
    g, beta = g.float(), torch.rand(1, 256, 8, device="cuda")
    linear, delta = kernel("linear"), kernel("delta")
    runs = {
        "linear": lambda: linear.forward(q, k, v),
        "decay": lambda: linear.forward(q, k, v, g),
        "delta": lambda: delta.forward(q, k, v, beta, g),
        "sdpa": lambda: attention(q, k, v),
    }
    row = {}
    for name, f in runs.items():
        f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(50):
            f()
        row[f"us_{name}"] = (time.perf_counter() - start) / 50 * 1e6
        torch.cuda.synchronize()
    return row


def delta_time(shape, copy, dtype):
    B, L, H, d = shape
    q, k, v, g, _ = draw(B, L, H, d, d, "head", dtype, least=0.9)
    g, beta = g.float(), torch.rand(B, L, H, device="cuda").to(dtype)
    low = kernel("delta")
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: low.forward(q, k, v, beta, g)}
    runs["sdpa"] = lambda: attention(q, k, v)
    peer = fla("delta")
    if peer is not None:
        runs["fla"] = lambda: peer(q, k, v, g, beta, scale=1.0)
    row: dict[str, Any] = milliseconds(runs)
    row["fraction_of_copy"] = floor(q, k, v, v, g, beta, bandwidth=copy) / row["ms_ours"]
    return row


def scan_time(B, L, D, copy, dtype):
    inputs = scan_inputs(B, L, D, 16, dtype)
    selective = kernel("selective")
    dy = torch.randn_like(inputs[0])
    row: dict[str, Any] = milliseconds(
        {
            "ours": lambda: selective.forward(*inputs),
            "ours_backward": lambda: selective.backward(*inputs, None, 1.0, dy),
        },
        7,
    )
    # 16 exponentials per clock and processor, at 1.75 GHz.
    limit = 16 * 1.75e9 * torch.cuda.get_device_properties(0).multi_processor_count
    row["fraction_of_exp"] = 1e3 * B * L * D * 16 / limit / row["ms_ours"]
    row["fraction_of_copy"] = floor(*inputs, dy, bandwidth=copy) / row["ms_ours"]
    return row


def softmax_time(shape, dtype):
    B, L, H, d = shape
    q, k, v, _, _ = draw(B, L, H, d, d, "none", dtype)
    dy = torch.randn_like(v)
    softmax = kernel("softmax")
    none = q.new_zeros(B, H, L, 0), q.new_zeros(B, 0, H), q.new_zeros(B, 0)
    numbers = d**-0.5, 1.0, 0.0
    y, lse = softmax.forward(q, k, v, *none, *numbers)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attention(*leaves).transpose(1, 2)
    return milliseconds(
        {
            "ours": lambda: softmax.forward(q, k, v, *none, *numbers),
            "sdpa": lambda: attention(q, k, v),
            "ours_backward": lambda: softmax.backward(q, k, v, *none, y, lse, *numbers, dy),
            "sdpa_backward": lambda: torch.autograd.grad(out, leaves, dy, retain_graph=True),
        },
        7,
    )


def timing(report: Any, copy: float) -> None:
    """Forward passes beside peers, then ours backward."""
    dtype = torch.bfloat16
    report.add(host_time, part="time", kernel="launch")
    for B, L, D in [(8, 2048, 2048), (1, 16384, 2048), (4, 4096, 4096)]:
        for kind in (torch.bfloat16, torch.float32):
            measure = functools.partial(scan_time, B, L, D, copy, kind)
            name = str(kind).removeprefix("torch.")
            report.add(measure, part="time", kernel="scan", B=B, L=L, D=D, N=16, dtype=name)
    for shape in [(4, 2048, 16, 128), (2, 8192, 16, 64)]:
        B, L, H, d = shape
        measure = functools.partial(softmax_time, shape, dtype)
        report.add(measure, part="time", kernel="softmax", B=B, L=L, H=H, d=d, dtype="bfloat16")
    for shape in SHAPES:
        B, L, H, d = shape
        about = {"part": "time", "B": B, "L": L, "H": H, "d": d, "dtype": "bfloat16"}
        for decay in ("none", "head", "channel"):
            measure = functools.partial(linear_time, shape, decay, copy, dtype)
            report.add(measure, **about, kernel="linear", decay=decay)
        measure = functools.partial(delta_time, shape, copy, dtype)
        report.add(measure, **about, kernel="delta")
    for shape in SHAPES[2:3]:
        B, L, H, d = shape
        about = {"part": "time", "B": B, "L": L, "H": H, "d": d, "dtype": "bfloat16"}
        for decay in ("none", "head", "channel"):
            measure = functools.partial(linear_backward_time, shape, decay, dtype)
            report.add(measure, **about, kernel="linear backward", decay=decay)
