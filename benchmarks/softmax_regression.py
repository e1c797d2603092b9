"""Softmax regression with 10^6 rows and 50 columns: time, peak memory, bounds.

    python benchmarks/softmax_regression.py [--rows 1000000] [--columns 50] [--weight 1.5]

Standard normal A, b = softmax(A x*) with x* standard normal / 10.
One core of AMD EPYC, shared with others: 3.5 s, 0.89 GiB.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from dsf.solvers import softmax_regression


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--weight", type=float, default=1.5)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    A = rng.standard_normal((o.rows, o.columns))
    z = A @ (rng.standard_normal(o.columns) / 10)
    b = np.exp(z - z.max())
    b /= b.sum()
    start, cpu = time.perf_counter(), time.process_time()
    s = softmax_regression(A, b, o.weight, start=np.ones(o.columns))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"n = {o.rows}, d = {o.columns}: {seconds:.1f} s ({cpu:.1f} s of CPU), {s.iterations} "
        f"steps, peak of the process {peak:.2f} GiB with A\nloss {s.value:.6g}\n{s.bounds}"
    )


if __name__ == "__main__":
    main()
