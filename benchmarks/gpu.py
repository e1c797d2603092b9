"""The Triton kernels on the GPU at hand: correctness, accuracy against float64, time.

`python3 benchmarks/gpu.py [--seconds 480] [--out benchmarks/results/gpu.json] [--jobs 8]` needs
torch and triton and installs nothing, not even the package.  Each row is printed and written as
soon as it is measured; a kernel that fails is a row with its error.  Peers: torch's
scaled_dot_product_attention, and flash-linear-attention where it can be imported.  Without a GPU it
prints "not run on a GPU".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def load_package() -> None:
    """`dsf` from this checkout: its folders as links under one, since nothing is installed."""
    folder = Path(tempfile.mkdtemp(prefix="dsf-links-")) / "dsf"
    folder.mkdir()
    rooms = [ROOT / name for name in ("kernels", "solvers", "theory_tests", "figures")]
    for path in [*(ROOT / "dsf").iterdir(), *rooms]:
        (folder / path.name).symlink_to(path)
    sys.path.insert(0, str(folder.parent))


class Report:
    """Rows, printed and written one by one; knows when the time is up.

    `share` = (i, n) measures every n-th row only: so that n processes compile what one will time.
    """

    def __init__(
        self, path: Path, seconds: float, about: dict[str, Any], share: tuple[int, int] = (0, 1)
    ):
        self.path, self.end, self.about = path, time.monotonic() + seconds, about
        self.share, self.asked = share, 0
        self.rows: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, measure: Callable[[], dict[str, Any]], **row: Any) -> None:
        self.asked += 1
        if self.asked % self.share[1] != self.share[0]:
            return
        if time.monotonic() > self.end:
            row["skipped"] = "no time left"
        else:
            try:
                row |= measure()
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:500]
                row["at"] = traceback.format_exc()[-700:]
        self.rows.append(row)
        shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items() if k != "at"}
        print("  ".join(f"{k}={v}" for k, v in shown.items()), flush=True)
        self.path.write_text(json.dumps({**self.about, "rows": self.rows}, indent=1) + "\n")


def compile_ahead(jobs: int, chosen: argparse.Namespace) -> None:
    """Runs every row once in `jobs` processes: afterwards the programs lie in Triton's cache."""
    parts = [f"--part={part}" for part in chosen.part or []]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--jobs=1", f"--seconds={chosen.seconds / 2}", *parts]
        runs = [
            subprocess.Popen(
                [*command, f"--share={i}/{jobs}", f"--out={folder}/{i}.json"],
                stdout=subprocess.DEVNULL,
            )
            for i in range(jobs)
        ]
        for run in runs:
            run.wait()


def commit() -> str:
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
        return run.stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--part", action="append", choices=["accuracy", "timing"])
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--share", default="0/1", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    began = time.monotonic()
    try:
        import torch
        import triton
    except ImportError as error:
        print(f"not run on a GPU: {error.name} is not installed")
        return 0
    if not torch.cuda.is_available():
        print("not run on a GPU: torch sees no CUDA device")
        return 0

    load_package()
    from gpu_accuracy import accuracy
    from gpu_timing import bandwidth, timing

    i, n = map(int, chosen.share.split("/"))
    if chosen.jobs > 1:
        compile_ahead(chosen.jobs, chosen)
    device = torch.cuda.get_device_properties(0)
    about = {
        "device": device.name,
        "capability": f"{device.major}.{device.minor}",
        "processors": device.multi_processor_count,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "copy_GB_s": bandwidth() / 1e9 if n == 1 else 1.0,
    }
    print(json.dumps(about), flush=True)
    report = Report(chosen.out, chosen.seconds - (time.monotonic() - began), about, (i, n))
    parts = chosen.part or ["accuracy", "timing"]
    if "accuracy" in parts:
        accuracy(report)
    if "timing" in parts:
        timing(report, about["copy_GB_s"] * 1e9)
    failed = [r for r in report.rows if "error" in r]
    print(f"{len(report.rows)} rows, {len(failed)} failed; written to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
