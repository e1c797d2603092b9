"""The default suite on other machines, as far as one machine can play them.

    python tests/portable.py [--only NAME] [--jobs N]

    narrow     numpy and OpenBLAS without AVX-512
    plain      SSE only: OpenBLAS for Nehalem, numpy without dispatch, numba for a generic CPU
    seeds      other draws of Hypothesis, another hash seed, two threads everywhere
    loaded     eight busy processes beside

Prints one line for each and what failed; exit code 1 if something did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUSY = 8  # processes of the load
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA")


def dispatched(*, wide: bool) -> str:
    """What numpy dispatches to on this machine; `wide`: AVX-512 and what came after it alone."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    found = [k for k in __cpu_dispatch__ if __cpu_features__.get(k)]
    return " ".join(k for k in found if not wide or "512" in k or k == "X86_V4")


def settings() -> dict[str, dict[str, str]]:
    """Environment variables by name of the setting."""
    return {
        "narrow": {
            "NPY_DISABLE_CPU_FEATURES": dispatched(wide=True),
            "OPENBLAS_CORETYPE": "Haswell",
        },
        "plain": {
            "NPY_DISABLE_CPU_FEATURES": dispatched(wide=False),
            "OPENBLAS_CORETYPE": "Nehalem",
            "NUMBA_CPU_NAME": "generic",
        },
        "seeds": {"PYTHONHASHSEED": "1", **{f"{x}_NUM_THREADS": "2" for x in THREADS}},
        "loaded": {},
    }


@contextmanager
def load(count: int) -> Iterator[None]:
    """So many processes that do nothing but count."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], cwd=ROOT) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run(name: str, changed: dict[str, str], jobs: int) -> bool:
    """One pass of the suite; what failed is printed."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-n", str(jobs)]
    if name == "seeds":
        command.append(f"--hypothesis-seed={os.getpid()}")
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "dev", **changed}
    start = time.monotonic()
    with load(BUSY if name == "loaded" else 0):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    told = lines[-1] if lines else done.stderr.strip()
    print(f"{name:8} {told} ({time.monotonic() - start:.0f} s)", flush=True)
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}")
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=settings(), help="one setting")
    parser.add_argument("--jobs", type=int, default=2, help="test processes at a time")
    options = parser.parse_args()
    chosen = {k: x for k, x in settings().items() if options.only in (None, k)}
    return 0 if all([run(k, x, options.jobs) for k, x in chosen.items()]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
