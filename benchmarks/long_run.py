"""Ten million tokens through GLA, streamed from one memory map into another: time and memory.

    python benchmarks/long_run.py [--tokens 10000000] [--chunk 16384]

Prints the time, the tokens per second and the peak of memory that is not the two files, and how
far the last outputs are from the same stretch run step by step from the state before it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import dsf
from dsf.kernels import last_backend

WIDTH, STATES, HEADS = 64, 16, 4
LAST = 512  # tokens that are run again, step by step


def resident() -> int:
    """Bytes of memory in use that are not mapped files (Linux)."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split("RssAnon:")[1].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--chunk", type=int, default=16384)
    options = parser.parse_args()
    L, shape = options.tokens, (options.tokens, WIDTH)
    mech = dsf.gla.init(d=WIDTH, n=STATES, p=STATES, heads=HEADS, seed=0).map(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        u = np.lib.format.open_memmap(Path(folder) / "u.npy", "w+", np.float32, shape)
        rng = np.random.default_rng(0)
        for start in range(0, L, 1 << 16):
            rows = u[start : start + (1 << 16)]
            rows[:] = rng.standard_normal(rows.shape, np.float32)
        y = np.lib.format.open_memmap(Path(folder) / "y.npy", "w+", np.float32, shape)
        dsf.simulate(mech, u[: 2 * options.chunk], out=y[: 2 * options.chunk])  # compiles
        before, peak = resident(), 0

        def watch(_: int) -> None:
            nonlocal peak
            peak = max(peak, resident())

        start = time.perf_counter()
        head = L - LAST
        _, state = dsf.simulate(mech, u[:head], chunk=options.chunk, out=y[:head], progress=watch)
        dsf.simulate(mech, u[head:], state=state, out=y[head:], progress=watch)
        seconds = time.perf_counter() - start
        exact = mech.map(np.float64)
        wide = dsf.State(state.S.astype(np.float64), state.tail, state.t)
        slow = exact.run(np.asarray(u[head:], np.float64), wide)[0]
        print(
            f"{L} tokens of GLA (d = {WIDTH}, n = p = {STATES}, {HEADS} heads, float32, "
            f"{last_backend()}): {seconds:.1f} s, {L / seconds:.3g} tokens per second\n"
            f"memory beyond the two files: {peak / 2**20:.0f} MiB at most, {before / 2**20:.0f} "
            f"MiB before the run\nlast {LAST} outputs against float64 from the same state: "
            f"{np.abs(y[head:] - slow).max() / np.abs(slow).max():.1e} of the largest"
        )


if __name__ == "__main__":
    main()
