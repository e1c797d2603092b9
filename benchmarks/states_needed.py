"""States needed by random Gaussian softmax matrices: bounds, gap, and seconds.

    q_i, k_j ~ N(0, I_m),   M = softmax(s q k' / sqrt(m)) under the causal mask

Run `python benchmarks/states_needed.py` (a minute on 2 cores), `--small` for L = 1024 only.
"""

from __future__ import annotations

import argparse
import time

from dsf.states import realize
from dsf.theory_tests.dsf.softmax_states_table import softmax_matrix

# L, m, s, error
CASES = [
    (1024, 2, 1.0, 0.01),
    (1024, 4, 1.0, 0.01),
    (1024, 16, 1.0, 0.1),
    (2048, 4, 1.0, 0.1),
    (2048, 4, 1.0, 0.01),
    (4096, 2, 4.0, 0.1),
    (4096, 4, 1.0, 0.1),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="L = 1024 only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=30.0)
    args = parser.parse_args()
    print("    L   m  s  error   lower  upper  gap   proved/error   seconds   check s")
    for L, m, s, error in CASES:
        if args.small and L > 1024:
            continue
        found = realize(softmax_matrix(L, m, s, args.seed), atol=error, time_limit=args.time_limit)
        start = time.perf_counter()
        found.certificate.check()
        check = time.perf_counter() - start
        print(
            f"{L:5d} {m:3d} {s:2.0f}  {error:5.3g} {found.lower:7d} {found.upper:6d} "
            f"{found.upper - found.lower:4d} {found.error / error:14.4f} {found.seconds:9.2f} "
            f"{check:9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
