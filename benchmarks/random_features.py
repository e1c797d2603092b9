"""Ridge regression on 10^5 random features of attention heads, made again block by block.

    python benchmarks/random_features.py [--features 100000] [--samples 10000] [--block 30]

d = N = 8, target (1/N) sum_i <x_0, x_i><beta, x_i> plus noise of 1 %.  Prints the time, the peak
of memory above the start of the solve, the residual and the bound on the distance to the solution.
Two cores of AMD EPYC, shared with others: 244 s (309 s of CPU), 0.855 GiB.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from scipy.linalg import blas, lapack  # noqa: F401  loaded before memory is measured

from dsf.solvers import RandomFeatureHeads, ridge_regression_in_blocks
from dsf.solvers.random_features.targets import TARGETS, relative, unit_tokens

D = KEYS = 8


def peak() -> float:
    """Largest resident memory of this process so far, in GiB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--block", type=int, default=30, help="heads made at once")
    parser.add_argument("--penalty", type=float, default=1e-6)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    beta = np.eye(D)[0]
    X = unit_tokens(rng, o.samples + 1000, KEYS, D)
    y = relative(TARGETS["weighted"](X, beta))
    X, new, noisy = X[: o.samples], X[o.samples :], y.copy()
    noisy += 0.01 * rng.standard_normal(len(y))
    model = RandomFeatureHeads.draw(-(-o.features // (D + 1)), D)
    heads = range(0, len(model.W), o.block)
    sizes = [(min(h + o.block, len(model.W)) - h) * (D + 1) for h in heads]

    def block(b: int) -> np.ndarray:
        return model.features(X, slice(heads[b], heads[b] + o.block))

    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    found = ridge_regression_in_blocks(block, sizes, noisy[: o.samples], o.penalty)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    size = float(np.linalg.norm(found.theta))
    guess = sum(
        model.features(new, slice(h, h + o.block)) @ found.theta[h * (D + 1) :][:s]
        for h, s in zip(heads, sizes, strict=True)
    )
    error = float(np.mean((guess - y[o.samples :]) ** 2))
    print(
        f"{model.size} features, {o.samples} samples, penalty {o.penalty:g}: {seconds:.0f} s "
        f"({cpu:.0f} s of CPU), peak {peak() - before:.3f} GiB above the start\n"
        f"residual |Phi'(y - Phi theta) - penalty theta| = {found.residual:.2e}; over the "
        f"penalty {found.residual / o.penalty:.2e}, with its rounding |theta - theta*| <= "
        f"{found.error_bound:.2e}, |theta| = {size:.4g}\n"
        f"relative squared error on 1000 new samples {error:.4f}"
    )


if __name__ == "__main__":
    main()
