"""Normalised descent against its numpy twin: interleaved medians, one thread, CPU time.

Instance B, from W = 0, steps of 0.1: `descend` (compiled) and `descend_plainly` (numpy), for one
run and for 32 runs at once, where numpy spreads its overhead.  The goal is 5 times for one run.

Run `python benchmarks/descent.py` (half a minute).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import numpy as np

from dsf.solvers import attention_svm
from dsf.solvers.dynamics.descent import descend, descend_plainly
from dsf.solvers.svm.instances import draw, named


def measure(runs: int, steps: int, repeats: int = 7) -> tuple[float, float, float]:
    """Least seconds of the twin and of the compiled path, and the median of their ratio."""
    drawn = [draw(1 + s, 6, 8, 10) for s in range(runs)]
    data = tuple(np.array([getattr(i, k) for i in drawn]) for k in ("X", "z", "scores"))
    W0 = np.zeros((runs, 10, 10))
    descend(W0, *data, record=(2,))
    times = np.empty((repeats, 2))
    for r in range(repeats):
        start = time.process_time()
        descend_plainly(W0, *data, steps=steps)
        middle = time.process_time()
        descend(W0, *data, record=(steps,))
        times[r] = middle - start, time.process_time() - middle
    return *times.min(axis=0).tolist(), float(np.median(times[:, 0] / times[:, 1]))


def main() -> None:
    for runs, steps in ((1, 5000), (32, 500)):
        slow, fast, ratio = measure(runs, steps)
        print(
            f"{runs:2} run(s), {steps} steps: numpy {slow:.3f} s, compiled {fast:.3f} s, "
            f"median ratio {ratio:.1f}" + (" (goal 5)" if runs == 1 else "")
        )
    i = named("B")
    target = attention_svm(i.X, i.z, i.optimal).W
    start = time.process_time()
    W = descend(np.zeros((1, 10, 10)), i.X[None], i.z[None], i.scores[None], record=(100_000,))
    spent = time.process_time() - start
    unit = W[0, 0] / np.linalg.norm(W) - target / np.linalg.norm(target)
    print(f"B, 100000 steps: {spent:.2f} s, 1 - corr = {0.5 * np.sum(unit**2):.4e}")


if __name__ == "__main__":
    main()
