"""The Triton kernels on the GPU at hand: correctness, accuracy against float64, time.

`python3 benchmarks/gpu.py [--seconds 480] [--out benchmarks/results/gpu.json]` needs torch and
triton, installs nothing, and does not need the package: the files of `kernels/` are loaded from
the checkout.  Each row is printed and written as soon as it is measured; a kernel that fails is a
row with its error.  Peers: torch's scaled_dot_product_attention, plain chunked forms in torch, and
flash-linear-attention where it can be imported.  Without a GPU it prints "not run on a GPU".
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def load_rooms() -> None:
    """`dsf.kernels` as the folder of this checkout, without what the package itself imports."""
    for name, folder in (("dsf", ROOT / "dsf"), ("dsf.kernels", ROOT / "kernels")):
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module


class Report:
    """Rows, printed and written one by one; knows when the time is up."""

    def __init__(self, path: Path, seconds: float, about: dict[str, Any]):
        self.path, self.end, self.about = path, time.monotonic() + seconds, about
        self.rows: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, measure: Callable[[], dict[str, Any]], **row: Any) -> None:
        if time.monotonic() > self.end:
            row["skipped"] = "no time left"
        else:
            try:
                row |= measure()
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:500]
                row["at"] = traceback.format_exc()[-700:]
        self.rows.append(row)
        shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items() if k != "at"}
        print("  ".join(f"{k}={v}" for k, v in shown.items()), flush=True)
        self.path.write_text(json.dumps({**self.about, "rows": self.rows}, indent=1) + "\n")


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


def plain_chunks(q, k, v, g=None, scale=1.0, size=64):
    """Linear attention in plain torch: [C C] products in a chunk, a loop over chunks."""
    L = q.shape[1]
    q, k, v = (x.transpose(1, 2).unflatten(2, (L // size, size)) for x in (q, k, v))
    A = q @ k.transpose(-1, -2)
    if g is None:
        A, S, y = A.tril(), 0, []
        inner = A @ v
        for i in range(L // size):
            y.append(inner[:, :, i] + (q[:, :, i] @ S if i else 0))
            S = S + k[:, :, i].transpose(-1, -2) @ v[:, :, i]
        return scale * torch.cat(y, 2).transpose(1, 2)
    c = g.float().transpose(1, 2).unflatten(2, (L // size, size)).cumsum(-1)
    gap = (c[..., :, None] - c[..., None, :]).tril()
    inner = (A * gap.exp().to(A.dtype).tril()) @ v
    kd = k * (c[..., -1:] - c).exp().to(k.dtype)[..., None]
    qd = q * c.exp().to(q.dtype)[..., None]
    over, S, y = c[..., -1].exp(), 0, []
    for i in range(L // size):
        y.append(inner[:, :, i] + ((qd[:, :, i] @ S) if i else 0))
        S = (S * over[:, :, i, None, None].to(v.dtype) if i else 0) + (
            kd[:, :, i].transpose(-1, -2) @ v[:, :, i]
        )
    return scale * torch.cat(y, 2).transpose(1, 2)


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


def kernel(name: str) -> ModuleType:
    return importlib.import_module(f"dsf.kernels.{name}.triton")


# --- correctness and accuracy ------------------------------------------------------------------


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
    low = kernel("low_rank")
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
    got = selective.backward(*inputs, None, dy)
    want = torch.autograd.grad(Y, leaves, dy.double())
    names = ["du", "ddelta", "dA", "dB", "dC", "dD"]
    return row | {n: relative(a, b) for n, a, b in zip(names, got, want, strict=False)}


def softmax_accuracy(K, dtype):
    gen = torch.Generator("cuda").manual_seed(0)
    q, k, v, dy = (
        torch.randn((2, 500, 4, K), generator=gen, device="cuda").to(dtype) for _ in range(4)
    )
    softmax = kernel("softmax")
    y, lse = softmax.forward(q, k, v)
    leaves = [x.double().requires_grad_() for x in (q, k, v)]
    Y = attention(*leaves).transpose(1, 2)
    row = {"y": relative(y, Y)}
    want = torch.autograd.grad(Y, leaves, dy.double())
    got = softmax.backward(q, k, v, y, lse, dy)
    return row | {n: relative(a, b) for n, a, b in zip(["dq", "dk", "dv"], got, want, strict=True)}


def accuracy(report: Report) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        name = str(dtype).removeprefix("torch.")
        report.add(lambda t=dtype: scan_accuracy(t), part="accuracy", kernel="scan", dtype=name)
        for K in (64, 128) if dtype != torch.float64 else (60,):
            measure = functools.partial(softmax_accuracy, K, dtype)
            report.add(measure, part="accuracy", kernel="softmax", dtype=name, K=K)
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.float16):
        name = str(dtype).removeprefix("torch.")
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


# --- time -----------------------------------------------------------------------------------------


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


def attention(q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


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
    (8, 1024, 8, 64),
    (1, 32768, 8, 64),
]


def linear_time(shape, decay, copy, dtype):
    B, L, H, d = shape
    q, k, v, g, _ = draw(B, L, H, d, d, decay, dtype, least=0.9)
    linear = kernel("linear")
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: linear.forward(q, k, v, g)}
    runs["sdpa"] = lambda: attention(q, k, v)
    if decay != "channel" and L <= 8192:
        runs["plain"] = lambda: plain_chunks(q, k, v, g)
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


def delta_time(shape, copy, dtype):
    B, L, H, d = shape
    q, k, v, g, _ = draw(B, L, H, d, d, "head", dtype, least=0.9)
    beta = torch.rand(B, L, H, device="cuda").to(dtype)
    low = kernel("low_rank")
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
            "ours_backward": lambda: selective.backward(*inputs, None, dy),
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
    y, lse = softmax.forward(q, k, v)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out = attention(*leaves).transpose(1, 2)
    return milliseconds(
        {
            "ours": lambda: softmax.forward(q, k, v),
            "sdpa": lambda: attention(q, k, v),
            "ours_backward": lambda: softmax.backward(q, k, v, y, lse, dy),
            "sdpa_backward": lambda: torch.autograd.grad(out, leaves, dy, retain_graph=True),
        },
        7,
    )


def timing(report: Report, copy: float) -> None:
    dtype = torch.bfloat16
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
    for shape in SHAPES[:4]:
        B, L, H, d = shape
        about = {"part": "time", "B": B, "L": L, "H": H, "d": d, "dtype": "bfloat16"}
        for decay in ("head", "channel"):
            measure = functools.partial(linear_backward_time, shape, decay, dtype)
            report.add(measure, **about, kernel="linear backward", decay=decay)


def tiles(report: Report) -> None:
    """Other tiles for the two largest rows: what the table should say for this GPU."""
    table = importlib.import_module("dsf.kernels.tiles")
    q, k, v, g, _ = draw(1, 8192, 96, 128, 128, "head", torch.bfloat16, least=0.9)
    wide = draw(1, 8192, 96, 128, 128, "channel", torch.bfloat16, least=0.9)[3]
    linear, kept = kernel("linear"), table.linear_tile
    for decay, log_decay, sizes in [
        ("head", g, [(64, 64, 8), (32, 64, 8), (64, 32, 4), (64, 128, 8), (32, 128, 8)]),
        ("channel", wide, [(16, 64, 8), (16, 32, 4), (16, 128, 8), (16, 64, 4)]),
    ]:
        for rows, columns, warps in sizes:
            for dot, precision in (("float32", "tf32"), ("bfloat16", "ieee")):
                tile = table.Tile(rows, columns, warps, 1, dot, precision)
                linear.linear_tile = lambda *a, tile=tile, **b: tile
                report.add(
                    lambda a=log_decay: milliseconds({"ours": lambda: linear.forward(q, k, v, a)}),
                    part="tiles", decay=decay, rows=rows, columns=columns, warps=warps, dot=dot,
                )  # fmt: skip
    linear.linear_tile = kept


def commit() -> str:
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
        return run.stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--part", action="append", choices=["accuracy", "timing", "tiles"])
    chosen = parser.parse_args()
    if importlib.util.find_spec("triton") is None or not torch.cuda.is_available():
        print("not run on a GPU: torch sees no CUDA device, or triton is not installed")
        return 0
    import triton

    load_rooms()
    device = torch.cuda.get_device_properties(0)
    about = {
        "device": device.name,
        "capability": f"{device.major}.{device.minor}",
        "processors": device.multi_processor_count,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "copy_GB_s": bandwidth() / 1e9,
    }
    print(json.dumps(about), flush=True)
    report = Report(chosen.out, chosen.seconds, about)
    parts = chosen.part or ["accuracy", "timing", "tiles"]
    if "accuracy" in parts:
        accuracy(report)
    if "timing" in parts:
        timing(report, about["copy_GB_s"] * 1e9)
    if "tiles" in parts:
        tiles(report)
    failed = [r for r in report.rows if "error" in r]
    print(f"{len(report.rows)} rows, {len(failed)} failed; written to {chosen.out}")
    return 0


if __name__ == "__main__":
    try:
        import torch
    except ImportError:
        print("not run on a GPU: torch is not installed")
        sys.exit(0)
    sys.exit(main())
