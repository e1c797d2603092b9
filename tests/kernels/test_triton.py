"""The Triton kernels without a GPU: under the interpreter, and compiled for two architectures.

Triton reads TRITON_INTERPRET once, when it is imported; so both run in processes of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STRUCTURES = ["linear", "delta", "selective", "softmax"]
TESTS = [*STRUCTURES, "fronts"]

# What still spills: bytes of stack of a thread.  No tile that was tried keeps these in registers,
# or (bfloat16 forward, sm_90) the tiles that do were slower on an H200.
SPILLS = {
    ("delta.delta_back_kernel K=128", 90, "float32"): 8,
    ("delta.delta_grad_kernel K=128", 80, "float32"): 56,
    ("delta.delta_grad_kernel K=128", 90, "float32"): 592,
    ("delta.delta_kernel K=128", 80, "float32"): 8,
    ("delta.delta_kernel K=128", 90, "bfloat16"): 224,
    ("delta.delta_kernel K=128", 90, "float32"): 8,
    ("delta.delta_kernel K=128 again", 80, "float32"): 16,
    ("delta.delta_kernel K=128 again", 90, "bfloat16"): 8,
    ("delta.delta_kernel K=128 again", 90, "float32"): 32,
    ("delta.delta_kernel K=64", 90, "bfloat16"): 24,
    ("linear.dk_kernel K=128 decay=2", 80, "bfloat16"): 328,
    ("linear.dk_kernel K=64 decay=2", 90, "float64"): 32,
    ("linear.dq_kernel K=128 decay=2", 80, "bfloat16"): 104,
    ("linear.dq_kernel K=64 decay=2", 90, "float64"): 16,
    ("linear.dv_kernel K=128 decay=2", 90, "float32"): 8,
    ("linear.prepare_kernel K=128", 90, "bfloat16"): 56,
    ("linear.walk_kernel K=128 decay=1", 90, "bfloat16"): 64,
    ("linear.walk_kernel K=128 decay=2", 90, "bfloat16"): 48,
    ("softmax.dq_kernel K=128", 90, "float32"): 8,
}

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed: make test-triton"
)


def run(*command: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    env = {n: x for n, x in os.environ.items() if n != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=ROOT, env=env, capture_output=True, text=True
    )


@needs_triton
@pytest.mark.parametrize("structure", TESTS)
def test_under_the_interpreter(structure):
    file = f"tests/kernels/test_triton_{structure}.py"
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", file, interpret=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout[-500:]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES)
def test_compiles_and_keeps_to_registers(structure):
    done = run(str(HERE / "compile_triton.py"), structure, interpret=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and rows, done.stderr[-2000:]
    assert {r["arch"] for r in rows} == {80, 90}
    wrong = [r for r in rows if "error" in r or not r["fits"]]
    for r in rows:
        if "error" not in r and r["stack"] > SPILLS.get((r["kernel"], r["arch"], r["dtype"]), 0):
            wrong.append(r)
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("command", [["benchmarks/gpu.py"]])
def test_without_a_gpu_the_benchmark_says_so(command, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = run(*command, interpret=False)
    assert done.returncode == 0 and done.stdout.startswith("not run on a GPU"), done.stderr
