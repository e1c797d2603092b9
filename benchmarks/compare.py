"""CPU seconds of `dsf.compare` for every pair of families and variants, each in a fresh process.

Run `python benchmarks/compare.py` (minutes) for all pairs, `--plain` for the families without
options, or name pairs: `python benchmarks/compare.py lru/s4d mamba/mamba2`.  Prints the slowest ten
and the total; `--limit` makes the exit code 1 if a pair takes longer.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Iterable

from dsf.core.catalogue import everything, families

CODE = "import sys, dsf; dsf.compare(*sys.argv[1:])"


def seconds(a: str, b: str) -> float:
    """User and system time of one comparison, with the start of Python and all imports."""
    process = subprocess.Popen([sys.executable, "-P", "-c", CODE, a, b])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"compare({a!r}, {b!r}) failed")
    return usage.ru_utime + usage.ru_stime


def chosen(arguments: argparse.Namespace) -> Iterable[tuple[str, str]]:
    """The pairs named, else all pairs."""
    if arguments.pairs:
        return [(a, b) for a, b in (pair.split("/") for pair in arguments.pairs)]
    sides = families().values() if arguments.plain else everything()
    return itertools.combinations(map(str, sides), 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pairs", nargs="*", metavar="A/B")
    parser.add_argument("--plain", action="store_true", help="families without options only")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds per pair")
    arguments = parser.parse_args()
    found = sorted(((seconds(a, b), a, b) for a, b in chosen(arguments)), reverse=True)
    print("seconds  pair")
    for time, a, b in found[:10]:
        print(f"{time:7.2f}  {a} / {b}")
    print(f"{sum(time for time, _, _ in found):7.1f}  all {len(found)} pairs")
    return int(found[0][0] > arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
