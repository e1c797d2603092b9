"""The kernels of `dsf` beside their best peers, in one process, interleaved, one thread.

    python benchmarks/kernels.py [--lengths 512 2048 8192] [--dtypes float32] [--repeat 5]

Each row: our least milliseconds of CPU; the best peer and its least; the median over repetitions of
peer / ours; our multiply-adds or bytes per second as a part of what this machine can do (the larger
of the two floors); how long backward takes in units of forward, and a training step (both) of that
peer beside ours; the difference of the outputs, relative to their size.  With --threads 2 a column
tells how much faster two threads are (on a quiet machine).  Peers are in `benchmarks/peers.py`;
public code that is installed runs beside ours too, forward (`benchmarks/installed.py`).  float64
goes up to 8192 tokens.  Writes benchmarks/results/kernels.json and kernels.md, README's table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import installed
import machine
import numba
import numpy as np
import peers
import torch
from machine import timed

from dsf import kernels

RESULTS = Path(__file__).parent / "results" / "kernels.json"
HEADS, SIZE, CHANNELS, STATES = 8, 64, 512, 16
SLOW = 8192  # tokens up to which peers train, and float64 is run: longer ones take minutes
BRIEF = 2048  # and up to which peers train that go token by token
DENSE = 2048  # tokens up to which a peer holds all weights and a K x K matrix for each query
Call = Callable[[], Any]


@dataclass
class Row:
    """A kernel on arrays, its peers by name, and the work that cannot be avoided."""

    ours: Callable[..., Any]
    arrays: list[Any]
    peers: dict[str, Callable[..., Any]]
    flops: float = 0.0
    bytes: float = 0.0


def rows(L: int, dtype: type) -> dict[str, Row]:
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, L, HEADS, SIZE)).astype(dtype)
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    g = -rng.uniform(0, 0.1, (1, L, HEADS)).astype(dtype)
    beta = rng.uniform(0, 1, (1, L, HEADS)).astype(dtype)
    u = rng.standard_normal((1, L, CHANNELS)).astype(dtype)
    delta = rng.uniform(0.001, 0.1, u.shape).astype(dtype)
    A = -rng.uniform(1, 16, (CHANNELS, STATES)).astype(dtype)
    B, C = rng.standard_normal((2, 1, L, STATES)).astype(dtype)
    a = rng.uniform(0.9, 1.0, u.shape).astype(dtype)
    state, item = L * HEADS * SIZE * SIZE, np.dtype(dtype).itemsize
    chunked = {
        f"torch, chunks of {n}": lambda *x, n=n: peers.chunked_linear(*x, n) for n in (32, 64, 128)
    }
    wy = {f"torch, chunks of {n}": lambda *x, n=n: peers.chunked_delta(*x, n) for n in (32, 64)}
    return {
        "linear attention": Row(
            lambda *x: kernels.linear_attention(*x)[0], [q, k, v, g], chunked, flops=5 * state
        ),
        "gated delta rule": Row(
            lambda *x: kernels.delta_rule(*x)[0], [q, k, v, beta, g],
            {**wy, **({"torch, token by token": peers.delta_steps} if L <= SLOW else {})},
            flops=7 * state,
        ),
        "softmax attention": Row(
            kernels.softmax_attention, [q, k, v], {"torch, SDPA": peers.attention},
            flops=2 * L * state / SIZE,
        ),
        **({"local linear attention": Row(
            kernels.local_linear_attention, [q, k, v],
            {"torch, dense": peers.dense_local_linear}, flops=2 * L * state / SIZE,
        )} if L <= DENSE else {}),
        "selective scan": Row(
            lambda *x: kernels.selective_scan(*x)[0], [u, delta, A, B, C],
            {"torch, token by token": peers.selective_steps},
            flops=L * CHANNELS * STATES * 20,  # 16 of them for the exponential
        ),
        "diagonal scan": Row(
            lambda *x: kernels.scan(*x)[0], [a, u],
            {"torch, doubling": lambda a, b: peers.doubling(a[0], b[0])[None]},
            bytes=3 * item * u.size,
        ),
        "diagonal scan, constant": Row(
            lambda *x: kernels.scan(*x)[0], [np.broadcast_to(dtype(0.9), u.shape), u],
            {"scipy, lfilter": peers.filtered}, bytes=2 * item * u.size,
        ),
    }  # fmt: skip


# ------------------------------------------------------------------------- measuring
def interleaved(
    ours: Call, others: dict[str, Call], repeat: int
) -> tuple[list[float], str, list[float]]:
    """Milliseconds of ours in every repetition, the fastest peer, and its milliseconds."""
    ours()
    for run in others.values():
        run()
    mine, theirs = [], {name: [] for name in others}  # type: tuple[list[float], dict[str, list[float]]]
    for _ in range(repeat):
        mine.append(timed(ours))
        for name, run in others.items():
            theirs[name].append(timed(run))
    best = min(theirs, key=lambda name: min(theirs[name]))
    return mine, best, theirs[best]


def training(run: Callable[..., Any], arrays: list[Any]) -> Call:
    """Forward and backward with gradients of every array."""
    leaves = [torch.tensor(np.ascontiguousarray(x), requires_grad=True) for x in arrays]

    def step() -> None:
        y = run(*leaves)
        torch.autograd.grad(y, leaves, torch.ones_like(y))

    return step


def trains(peer: str, L: int) -> bool:
    """Whether a training step of a peer is timed: not where it takes minutes."""
    return L <= (BRIEF if "token by token" in peer else SLOW) and "scipy" not in peer


def measured(row: Row, repeat: int, roof: dict[str, float], threads: int) -> dict[str, Any]:
    tensors = [torch.tensor(np.ascontiguousarray(x)) for x in row.arrays]
    by_torch = not any(name.startswith("scipy") for name in row.peers)
    given = tensors if by_torch else row.arrays
    others = {name: lambda run=run: run(*given) for name, run in row.peers.items()}
    with torch.no_grad():
        y, z = np.asarray(row.ours(*row.arrays)), np.asarray(next(iter(others.values()))())
        mine, best, theirs = interleaved(lambda: row.ours(*row.arrays), others, repeat)
    fast = min(mine)
    floor = max(row.bytes / roof["copy_GB_s"], row.flops / roof["fma_GFLOP_s"]) / 1e6
    found = {
        "ms": fast, "peer": best, "peer_ms": min(theirs),
        "ratio": float(np.median([b / a for a, b in zip(mine, theirs, strict=True)])),
        "part_of_floor": floor / fast,
        "difference": float(np.abs(y - z).max() / np.abs(z).max()),
    }  # fmt: skip
    if trains(best, len(y[0])):
        ours, peer = training(row.ours, row.arrays), training(row.peers[best], row.arrays)
        steps, _, peers_ = interleaved(ours, {best: peer}, max(2, repeat // 2))
        found["backward_over_forward"] = min(steps) / fast - 1
        found["training_ratio"] = float(
            np.median([b / a for a, b in zip(steps, peers_, strict=True)])
        )
    if threads > 1:
        found["speed_of_two_threads"] = two_threads(lambda: row.ours(*row.arrays), threads)
    return found


def public(kernel: str, row: Row, repeat: int) -> dict[str, dict[str, float]]:
    """Public code beside ours: its milliseconds, the median of its time over ours, and the
    difference of the outputs."""
    found, y = {}, np.asarray(row.ours(*row.arrays))
    for form in installed.forms(kernel, row.arrays, y.shape):
        with torch.no_grad():
            mine, _, theirs = interleaved(
                lambda: row.ours(*row.arrays), {form.name: form.run}, repeat
            )
            apart = np.abs(form.output() - y).max() / np.abs(y).max()
        ratio = np.median([b / a for a, b in zip(mine, theirs, strict=True)])
        found[form.name] = {
            "ms": min(theirs), "ratio": float(ratio), "difference": float(apart),
        }  # fmt: skip
    return found


def two_threads(run: Call, threads: int) -> float:
    """The median ratio of wall times, one thread over several."""
    ratios = []
    for _ in range(5):
        seconds = []
        for n in (1, threads):
            numba.set_num_threads(n)
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    numba.set_num_threads(1)
    return float(np.median(ratios))


# ------------------------------------------------------------------------- printing
def table(found: dict[str, Any]) -> str:
    """The rows as a table of README."""
    lines = [
        f"One thread of {found['cpu']}, {found['lanes_float32']} lanes of float32, torch "
        f"{found['torch']}, numba {found['numba']}, commit {found['commit']}:",
        "",
        "| kernel | L | ms | times faster than | than public code | training step: times faster | "
        "backward / forward | two threads | of the floor |",
        "|---|---:|---:|---|---|---:|---:|---:|---:|",
    ]
    for r in found["rows"]:
        beside = ", ".join(f"{x['ratio']:.1f} ({name})" for name, x in r["public"].items())
        step, back, two = (
            f"{r[name]:.1f}" if name in r else ""
            for name in ("training_ratio", "backward_over_forward", "speed_of_two_threads")
        )
        lines.append(
            f"| {r['kernel']}, {r['dtype']} | {r['L']} | {r['ms']:.3g} | {r['ratio']:.1f} "
            f"({r['peer']}) | {beside} | {step} | {back} | {two} | "
            f"{100 * r['part_of_floor']:.0f} % |"
        )
    return "\n".join(lines) + "\n"


def line(r: dict[str, Any]) -> str:
    """A row as it is printed while the others are measured."""
    beside = (f"{name} {x['ratio']:.1f} ({x['difference']:.0e})" for name, x in r["public"].items())
    two = f"{r['speed_of_two_threads']:.2f}" if "speed_of_two_threads" in r else ""
    return (
        f"{r['kernel']:24} {r['L']:6} {r['ms']:8.2f} {r['peer_ms']:8.2f} {r['ratio']:6.1f} "
        f"{100 * r['part_of_floor']:4.0f}% {r.get('backward_over_forward', 0):5.1f} "
        f"{r.get('training_ratio', 0):6.1f} {two:5} {r['difference']:.0e} {r['peer']}; "
        + ", ".join(beside)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192, 32768])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--kernels", nargs="+", help="names of rows; all if not given")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    found: dict[str, Any] = {**machine.about(), "rows": []}
    print(", ".join(f"{k} {v}" for k, v in found.items() if k != "rows"))
    for name in options.dtypes:
        dtype = getattr(np, name)
        roof = machine.ceilings(np.dtype(dtype))
        found[name] = roof
        print(name, ", ".join(f"{k} {v:.3g}" for k, v in roof.items()))
        print(
            f"{'kernel':24} {'L':>6} {'ms':>8} {'peer':>8} {'ratio':>6} floor  back  train "
            "2 thr diff  peer; public code, ratio (diff)"
        )
        for L in options.lengths:
            if dtype is np.float64 and L > SLOW:
                continue
            for kernel, row in rows(L, dtype).items():
                if options.kernels and kernel not in options.kernels:
                    continue
                r = {"kernel": kernel, "dtype": name, "L": L}
                r |= measured(row, options.repeat, roof, options.threads)
                r["public"] = public(kernel, row, options.repeat)
                found["rows"].append(r)
                print(line(r), flush=True)
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                RESULTS.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    main()
