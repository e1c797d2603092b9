"""The kernels of `dsf` beside plain torch, in one process, interleaved, one thread.

    python benchmarks/kernels.py [--lengths 512 2048] [--dtype float32] [--repeat 5]

Each row: our minimum in ms, that of the peer, the median over repetitions of the ratio peer / ours,
and the largest difference of the outputs, relative to their size.  Peers are what a user of torch
would write: a chunked form with matrix products (linear attention, chunks of 64), the recurrence
step by step (delta rule, selective scan), and scipy's `lfilter` for a constant diagonal scan.  A
first block calibrates the machine.  Writes benchmarks/results/kernels.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from scipy.signal import lfilter

from dsf import kernels
from dsf.kernels import vectors

RESULTS = Path(__file__).parent / "results" / "kernels.json"
HEADS, SIZE, CHANNELS, STATES, CHUNK = 8, 64, 512, 16, 64


# ------------------------------------------------------------------------- peers
def chunked(q: Any, k: Any, v: Any, g: Any) -> Any:
    """Linear attention with a scalar decay, chunk by chunk; q, k, v [1 L H K], g [1 L H]."""
    q, k, v, g = (x[0].movedim(1, 0) for x in (q, k, v, g[..., None]))  # [H L K]
    S, rows = q.new_zeros(HEADS, SIZE, SIZE), []
    mask = torch.ones(CHUNK, CHUNK, dtype=torch.bool).tril()
    for a, b, c, d in zip(*(x.split(CHUNK, 1) for x in (q, k, v, g)), strict=True):
        sums = d[..., 0].cumsum(-1)
        D = (sums[:, :, None] - sums[:, None, :]).masked_fill(~mask, -torch.inf).exp()
        rows.append((a @ b.mT * D) @ c + (a * sums.exp()[..., None]) @ S)
        keep = (sums[:, -1:] - sums).exp()[..., None]
        S = sums[:, -1, None, None].exp() * S + (b * keep).mT @ c
    return torch.cat(rows, 1).movedim(0, 1)[None]


def delta_steps(q: Any, k: Any, v: Any, beta: Any, g: Any) -> Any:
    """The gated delta rule, one token after the other."""
    S, rows = q.new_zeros(HEADS, SIZE, SIZE), []
    for t in range(q.shape[1]):
        a, b, c = q[0, t], k[0, t], v[0, t]
        S = g[0, t, :, None, None].exp() * S
        change = beta[0, t, :, None] * (c - (b[:, None] @ S)[:, 0])
        S = S + b[..., None] * change[:, None]
        rows.append((a[:, None] @ S)[:, 0])
    return torch.stack(rows)[None]


def selective_steps(u: Any, delta: Any, A: Any, B: Any, C: Any) -> Any:
    """The selective scan, one token after the other."""
    h, rows = u.new_zeros(A.shape), []
    for t in range(u.shape[1]):
        d = delta[0, t, :, None]
        h = (d * A).exp() * h + d * u[0, t, :, None] * B[0, t]
        rows.append(h @ C[0, t])
    return torch.stack(rows)[None]


def filtered(a: Any, b: Any) -> Any:
    return lfilter([1.0], [1.0, -float(a[0, 0, 0])], b, axis=1)


# ------------------------------------------------------------------------- rows
def rows(L: int, dtype: type) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """(ours, peer) by name; both give y alone."""
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, L, HEADS, SIZE)).astype(dtype)
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    g = -rng.uniform(0, 0.1, (1, L, HEADS)).astype(dtype)
    beta = rng.uniform(0, 1, (1, L, HEADS)).astype(dtype)
    u = rng.standard_normal((1, L, CHANNELS)).astype(dtype)
    delta = rng.uniform(0.001, 0.1, u.shape).astype(dtype)
    A = -rng.uniform(1, 16, (CHANNELS, STATES)).astype(dtype)
    B, C = rng.standard_normal((2, 1, L, STATES)).astype(dtype)
    a = np.broadcast_to(dtype(0.9), u.shape)
    t = [torch.from_numpy(x) for x in (q, k, v, g, beta, u, delta, A, B, C)]
    return {
        "linear attention": (
            lambda: kernels.linear_attention(q, k, v, g)[0], lambda: chunked(*t[:4])
        ),
        "gated delta rule": (
            lambda: kernels.delta_rule(q, k, v, beta, g)[0],
            lambda: delta_steps(*t[:3], t[4], t[3]),
        ),
        "selective scan": (
            lambda: kernels.selective_scan(u, delta, A, B, C)[0], lambda: selective_steps(*t[5:])
        ),
        "diagonal scan": (lambda: kernels.scan(a, u)[0], lambda: filtered(a, u)),
    }  # fmt: skip


def timed(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def measure(ours: Callable[[], Any], peer: Callable[[], Any], repeat: int) -> dict[str, float]:
    y, z = np.asarray(ours()), np.asarray(peer())
    error = float(np.abs(y - z).max() / np.abs(z).max())
    times = [(timed(ours), timed(peer)) for _ in range(repeat)]
    ratio = float(np.median([b / a for a, b in times]))
    fast, slow = (min(t) for t in zip(*times, strict=True))
    return {"ms": fast, "peer_ms": slow, "ratio": ratio, "difference": error}


def calibrated(dtype: type) -> dict[str, float]:
    """GB/s of a copy far above the caches, GFLOP/s of a product of torch."""
    x, A = (
        np.ones(1 << 26, np.float32),
        torch.ones(1024, 1024, dtype=getattr(torch, dtype.__name__)),
    )
    y = x.copy()
    copy = min(timed(lambda: np.copyto(y, x)) for _ in range(5))
    product = min(timed(lambda: A @ A) for _ in range(5))
    return {"copy_GB_s": 2 * x.nbytes / copy / 1e6, "product_GFLOP_s": 2 * 1024**3 / product / 1e6}


def about() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    root, command = RESULTS.parents[1], ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=root).stdout.strip()
    return {
        "cpu": models[0] if models else platform.processor(),
        "lanes_float32": len(vectors.lanes(np.dtype(np.float32))),
        "threads": 1, "commit": commit, "torch": torch.__version__, "numba": numba.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    dtype = getattr(np, options.dtype)
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    found: dict[str, Any] = {**about(), "dtype": options.dtype, **calibrated(dtype), "rows": []}
    shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in found.items() if k != "rows"}
    print(", ".join(f"{k} {v}" for k, v in shown.items()))
    print(f"{'kernel':18} {'L':>6} {'ms':>9} {'peer ms':>9} {'ratio':>7}  difference")
    for L in options.lengths:
        for name, (ours, peer) in rows(L, dtype).items():
            row = measure(ours, peer, options.repeat)
            found["rows"].append({"kernel": name, "L": L, **row})
            print(
                f"{name:18} {L:6} {row['ms']:9.2f} {row['peer_ms']:9.2f} {row['ratio']:7.1f}  "
                f"{row['difference']:.1e}",
                flush=True,
            )
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
