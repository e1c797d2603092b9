"""`kernels.gradient_flow` beside its numpy twin, in one process, interleaved, one thread.

    python benchmarks/gradient_flow.py [--systems 100000] [--steps 500] [--repeat 3]

Four variables, float64: the flow of the loss of a product of two factors on each of two paths, with
a target and a weight of every system.  The peer is the twin on all systems at once, and on parts
of 2048, whose arrays stay in the cache; the ratio is to the faster one.  CPU seconds; a second
table gives wall seconds on all threads.  Writes benchmarks/results/gradient_flow.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numba
import numpy as np
import sympy

from dsf import kernels

RESULTS = Path(__file__).parent / "results" / "gradient_flow.json"
PART = 2048


def problem(N: int) -> tuple[dict[Any, Any], np.ndarray, dict[Any, np.ndarray]]:
    """(rhs, y0, parameters) of N systems."""
    x = sympy.symbols("x:4")
    target, weight = sympy.symbols("target weight")
    loss = (x[0] * x[1] - target) ** 2 / 2 + weight * (x[2] * x[3] - x[0]) ** 2 / 2
    rng = np.random.default_rng(0)
    given = {target: rng.uniform(0.5, 1.5, N), weight: rng.uniform(0.5, 1.5, N)}
    return {v: -loss.diff(v) for v in x}, rng.uniform(-1, 1, (N, 4)), given


def seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--systems", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    N, steps = options.systems, options.steps
    rhs, y0, p = problem(N)

    def flow(backend: str, part: slice = slice(None)) -> np.ndarray:
        given = {k: v[part] for k, v in p.items()}
        return kernels.gradient_flow(rhs, y0[part], [0, 5], given, steps=steps, backend=backend)

    def parts() -> list[np.ndarray]:
        return [flow("reference", slice(i, i + PART)) for i in range(0, N, PART)]

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    first = seconds(lambda: flow("numba", slice(0, 1)), time.perf_counter)
    few = slice(0, min(N, PART))
    difference = float(np.abs(flow("numba", few) - flow("reference", few)).max())
    runs = {"numba": lambda: flow("numba"), "numpy": lambda: flow("reference"), "parts": parts}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeat):
        for name, run in runs.items():
            times[name].append(seconds(run, time.process_time))
    ratios = [min(b, c) / a for a, b, c in zip(*times.values(), strict=True)]
    numba.set_num_threads(threads)
    wall = [seconds(runs["numba"], time.perf_counter) for _ in range(options.repeat)]
    found = {
        **machine.about(), "load": os.getloadavg()[0], "dtype": "float64", "systems": N,
        "variables": 4, "steps": steps,
        "difference": difference, "first_call_s": first,
        **{f"{name}_s": float(np.median(x)) for name, x in times.items()},
        "ratio": float(np.median(ratios)),
        "ns_per_step": 1e9 * float(np.median(times["numba"])) / (N * steps),
        "threads": threads, "all_threads_wall_s": float(np.median(wall)),
    }  # fmt: skip
    for k, v in found.items():
        print(f"{k:20} {v:.3g}" if isinstance(v, float) else f"{k:20} {v}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
