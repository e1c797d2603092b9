"""Whole mechanisms and training steps: ours beside plain torch, one thread.

    python benchmarks/end_to_end.py [--lengths 1024 4096] [--repeat 3]

First, y = mech(u) at L = 100 000 and d = 512 against its projections plus its kernel alone.  Then a
training step (forward, backward, Adam) of two layers, ours against the same layers with plain torch
in place of our kernel: chunks by matrix products for the linear ones, token by token for Mamba.
Last, one streamed token.  Writes benchmarks/results/end_to_end.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numba
import numpy as np
import peers
import torch
from machine import timed

import dsf
from dsf.core import hooks

RESULTS = Path(__file__).parent / "results" / "end_to_end.json"
NAMES = ("gla", "mamba", "gated_deltanet")
LONG, WIDTH, HEADS = 100_000, 512, 8


# ------------------------------------------------------------------------- one long call
def long_call(name: str, repeat: int) -> dict[str, float]:
    """The whole call, and of it what the kernel takes; the rest are projections and layout."""
    options = {} if name == "mamba" else {"heads": HEADS, "n": 64, "p": 64}
    mech = getattr(dsf, name).init(d=WIDTH, seed=0, **options).map(np.float32)
    u = np.random.default_rng(0).standard_normal((LONG, WIDTH)).astype(np.float32)
    spent, kernel = [0.0], hooks.kernel

    def measured(*call: Any) -> Any:
        start = time.process_time()
        found = kernel(*call)
        spent[0] += 1e3 * (time.process_time() - start)
        return found

    hooks.kernel = measured
    mech(u[:2000])
    whole, inside, matrices = [], [], []
    for _ in range(repeat):
        spent[0] = 0.0
        whole.append(timed(lambda: mech(u)))
        inside.append(spent[0])
        matrices.append(timed(lambda: projections(mech, u)))
    hooks.kernel = kernel
    least = min(a + b for a, b in zip(inside, matrices, strict=True))
    return {"ms": min(whole), "kernel_ms": min(inside), "projections_ms": min(matrices),
            "over_projections_and_kernel": min(whole) / least}  # fmt: skip


def projections(mech: Any, u: np.ndarray) -> None:
    """The products of u with the matrices of the mechanism, as one call each."""
    for x in mech.parameters().values():
        if x.ndim == 3 and x.shape[-2] == WIDTH:
            u @ np.ascontiguousarray(np.moveaxis(x, 0, 1)).reshape(WIDTH, -1)
        elif x.ndim == 2 and WIDTH in x.shape[:1]:
            u @ x


# ------------------------------------------------------------------------- training
def plain(structure: str, arrays: list[Any], numbers: list[float]) -> tuple[Any, Any]:
    """What `hooks.kernel` gives, in plain torch; the last state is not made."""
    if structure == "linear":
        q, k, v, w, _ = arrays
        return chunked_vectors(q, k, v, w.log(), 32), arrays[-1]
    if structure == "delta":
        q, k, v, beta, w, _ = arrays
        rows = [
            peers.chunked_delta(*(x[b : b + 1] for x in (q, k, v, beta, w[..., 0].log())), 64)
            for b in range(q.shape[0])
        ]
        return torch.cat(rows), arrays[-1]
    x, delta, A, B, C, _ = arrays
    rows = []
    for b in range(x.shape[0]):
        u, d, key, query = (z[b : b + 1] for z in (x, delta, B, C))
        rows.append(peers.selective_steps(u / d, d, A[b], key, query))
    return torch.cat(rows), arrays[-1]


def chunked_vectors(q: Any, k: Any, v: Any, g: Any, chunk: int) -> Any:
    """Gated linear attention by chunks, short ones: plain code takes e^{-sums}."""
    q, k, v, g = (x.movedim(2, 1) for x in (q, k, v, g))
    S, rows = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1]), []
    mask = torch.ones(chunk, chunk, dtype=torch.bool).tril()
    for a, b, c, d in zip(*(x.split(chunk, 2) for x in (q, k, v, g)), strict=True):
        sums = d.cumsum(-2)
        n = a.shape[-2]
        inner = (a * sums.exp()) @ (b * (-sums).exp()).mT
        rows.append((inner * mask[:n, :n]) @ c + (a * sums.exp()) @ S)
        last = sums[..., -1:, :]
        S = last.exp().mT * S + (b * (last - sums).exp()).mT @ c
    return torch.cat(rows, 2).movedim(1, 2)


def step_of(name: str, L: int) -> Callable[[], float]:
    torch.manual_seed(0)
    options = {} if name == "mamba" else {"heads": 4}
    layers = [getattr(dsf, name).to_torch(d=64, **options) for _ in range(2)]
    model = torch.nn.Sequential(*layers)
    adam = torch.optim.Adam(model.parameters(), 1e-4)
    u = torch.randn(1, L, 64)

    def step() -> float:
        adam.zero_grad()
        loss = model(u).square().mean()
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


def training(name: str, L: int, repeat: int) -> dict[str, float]:
    ours, theirs, kernel = step_of(name, L), step_of(name, L), hooks.kernel
    mine, others, losses = [], [], []
    for i in range(repeat + 1):
        a = time.process_time()
        one = ours()
        b = time.process_time()
        hooks.kernel = plain
        two = theirs()
        hooks.kernel = kernel
        c = time.process_time()
        losses.append(abs(one - two) / one)
        if i:
            mine.append(b - a)
            others.append(c - b)
    ratio = float(np.median([y / x for x, y in zip(mine, others, strict=True)]))
    return {
        "L": L,
        "s": min(mine),
        "torch_s": min(others),
        "ratio": ratio,
        "loss_difference": max(losses),
    }


# ------------------------------------------------------------------------- one token
def token(name: str, count: int = 500) -> float:
    options = {} if name == "mamba" else {"heads": 4, "n": 16, "p": 16}
    stream = dsf.Stream(getattr(dsf, name).init(d=64, seed=0, **options))
    u = np.random.default_rng(0).standard_normal((count, 64))
    times = []
    for row in u:
        start = time.perf_counter()
        stream(row)
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    found: dict[str, Any] = {**machine.about(), "long": {}, "training": {}, "token_us": {}}
    for name in NAMES:
        found["long"][name] = r = long_call(name, options.repeat)
        print(name, f"L = {LONG}", {k: round(v, 2) for k, v in r.items()}, flush=True)
    for name in NAMES:
        found["training"][name] = rows = [
            training(name, L, options.repeat) for L in options.lengths
        ]
        for r in rows:
            print(name, "training", {k: round(v, 4) for k, v in r.items()}, flush=True)
        found["token_us"][name] = token(name)
        print(name, f"streamed token {found['token_us'][name]:.0f} us", flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
