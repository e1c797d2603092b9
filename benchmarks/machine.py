"""What this machine can do at most: bandwidth and multiply-adds of one core; and what it is."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dsf.kernels import vectors

ROOT = Path(__file__).resolve().parent.parent
SUMS = 16  # that do not depend on each other: more than the delay of a multiply-add needs


@intrinsic
def _multiply_adds(context: Any, x: Any, y: Any, count: Any, lanes: Any) -> Any:
    """y = sums of `count` rounds of SUMS multiply-adds of vectors held in registers."""

    def code(context: Any, build: Any, signature: Any, args: Any) -> Any:
        c = vectors.Code(context, build, signature, args)
        x, y, count, _ = c.args
        zero = ir.Constant(count.type, 0)
        value = c.load(x, zero)
        sums = [c.slot(value) for _ in range(SUMS)]
        with cgutils.for_range(build, count):
            for total in sums:
                c.add(total, value, value)
        for total in sums:
            c.store(build.fadd(c.load(y, zero), build.load(total)), y, zero)
        return context.get_dummy_value()

    return types.void(x, y, count, lanes), code


@numba.njit
def _rounds(x: Any, y: Any, count: Any, lanes: Any) -> None:
    _multiply_adds(x, y, count, lanes)


def timed(run: Callable[[], Any]) -> float:
    """Milliseconds of CPU."""
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def ceilings(dtype: np.dtype) -> dict[str, float]:
    """GB/s of a copy far above the caches; GFLOP/s of multiply-adds and of a product of torch."""
    x = np.ones(1 << 26, np.float32)
    y = x.copy()
    copy = min(timed(lambda: np.copyto(y, x)) for _ in range(5))
    A = torch.ones(1024, 1024, dtype=getattr(torch, dtype.name))
    product = min(timed(lambda: A @ A) for _ in range(5))
    lanes, rounds = vectors.lanes(dtype), 2_000_000
    small = np.full(64, 1e-3, dtype)
    run = lambda: _rounds(small, small.copy(), rounds, lanes)  # noqa: E731
    run()
    fma = min(timed(run) for _ in range(3))
    return {
        "copy_GB_s": 2 * x.nbytes / copy / 1e6,
        "fma_GFLOP_s": 2 * SUMS * len(lanes) * rounds / fma / 1e6,
        "product_GFLOP_s": 2 * 1024**3 / product / 1e6,
    }


def about() -> dict[str, Any]:
    """CPU, width of the vectors, commit, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    name = models[0] if models else platform.processor()
    return {
        "cpu": f"{name} ({llvm.get_host_cpu_name()})",
        "lanes_float32": len(vectors.lanes(np.dtype(np.float32))),
        "commit": commit, "torch": torch.__version__, "numba": numba.__version__,
    }  # fmt: skip
