"""Which code runs a kernel: chosen from the arrays, or named, and always told.

    "reference"  one step at a time, in numpy or torch (with torch's own gradients)
    "numba"      compiled for this CPU; gradients for torch
    "torch"      scaled_dot_product_attention, for softmax attention of tensors
    "triton"     for tensors on a GPU, with gradients; half precision stays as it is there

"auto" takes numba on a CPU where it is installed and has the kernel, then torch's own kernel, then
Triton's, then the reference.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from dsf.core import hooks
from dsf.core.arrays import at_least_float32
from dsf.core.errors import KernelError
from dsf.core.worlds import is_torch
from dsf.kernels.backends import computed, module, on_gpu

BACKENDS = ("auto", "reference", "numba", "torch", "triton")
REAL = ("float32", "float64")
CONNECTED = {
    "numba": (
        "linear", "delta", "low_rank", "selective", "diagonal", "softmax", "flow", "local_linear",
    ),
    "torch": ("softmax",),
    "triton": ("linear", "delta", "selective", "softmax"),
}  # in the order in which "auto" asks them  # fmt: skip
DTYPES = {"diagonal": (*REAL, "complex64", "complex128")}
HALF = ("float16", "bfloat16")  # on a GPU
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's kernels run on the CPU, slowly


def run(
    structure: str, arrays: list[Any], numbers: list[Any], backend: str = "auto"
) -> tuple[Any, Any]:
    """(y, last state) of a structure from canonical arrays, all of one dtype and one world.

    Raises KernelError for a backend that is unknown, not installed, or has no such kernel.
    """
    name = chosen(structure, arrays, numbers, backend)
    if name == "reference":
        arrays = [at_least_float32(x) for x in arrays]
    if is_torch(arrays[0]):
        return hooks.torch_kernel(structure, name, arrays, numbers)
    return computed(structure, name, *arrays, *numbers)


def compiled_run(structure: str, arrays: list[Any], numbers: list[float]) -> tuple[Any, Any] | None:
    """`run` where a compiled kernel takes these arrays, else None."""
    name = chosen(structure, arrays, numbers, "auto")
    if name == "reference":
        return None
    if name == "triton":
        found = for_triton(structure, arrays, numbers)
        if found is None:
            return None
        arrays, numbers = found
    return run(structure, arrays, numbers, name)


def for_triton(
    structure: str, arrays: list[Any], numbers: list[float]
) -> tuple[list[Any], list[float]] | None:
    """Arrays that hold decays as Triton takes them, with logarithms; None where it has no such
    kernel.  A decay of 0 has the gradient 0."""
    if structure == "linear" and not numbers[1]:
        q, k, v, w, state = arrays
        least = float(np.finfo(str(w.dtype).removeprefix("torch.")).tiny)
        return [q, k, v, w.clamp_min(least).log(), state], numbers[:1]
    if structure == "delta":
        *most, w, state = arrays
        least = float(np.finfo(str(w.dtype).removeprefix("torch.")).tiny)
        return [*most, w.clamp_min(least).log(), state], numbers
    if structure == "selective" and (arrays[2].shape[0] == 1 or arrays[2].stride(0) == 0):
        x, delta, A, B, C, state = arrays
        return [x, delta, A[0], B, C, x.new_zeros(0), state], [0.0]
    if structure == "softmax":
        return arrays, numbers
    return None


def chosen(structure: str, arrays: list[Any], numbers: list[float], backend: str) -> str:
    """The backend that `run` takes; raises as it does."""
    if backend not in BACKENDS:
        raise KernelError(f"backend={backend!r} is unknown: one of {', '.join(BACKENDS)}")
    if backend == "reference":
        return backend
    if backend == "auto":
        fits = (name for name in CONNECTED if not _missing(structure, name, arrays, numbers))
        return next(fits, "reference")
    reason = _missing(structure, backend, arrays, numbers)
    if reason:
        raise KernelError(f"backend={backend!r} cannot run the structure {structure!r}: {reason}")
    return backend


@cache
def _installed(name: str) -> bool:
    return find_spec(name) is not None


def _missing(structure: str, backend: str, arrays: list[Any], numbers: list[float]) -> str:
    """Why a backend cannot take these arrays; "" if it can."""
    x = arrays[0]
    dtype = str(x.dtype).removeprefix("torch.")
    if not _installed(backend):
        extra = "pip install 'dsf[gpu]'" if backend == "triton" else f"pip install {backend}"
        return f"{backend} is not installed ({extra})"
    if structure not in CONNECTED[backend]:
        return f"no {backend} kernel is connected to it yet"
    if backend == "torch" and not is_torch(x):
        return "the arrays are numpy's"
    fits = on_gpu(x) == (backend == "triton") or (backend == "triton" and INTERPRETED)
    if backend != "torch" and not fits:
        return f"the arrays lie on {x.device if is_torch(x) else 'the CPU'}"
    if dtype not in DTYPES.get(structure, REAL) + HALF * (backend in ("torch", "triton")):
        return f"no kernel for {dtype}"
    if structure == "delta" and backend == "triton" and arrays[4:] and arrays[4].shape[-1] > 1:
        return "no triton kernel takes decays of channels"
    if structure == "softmax" and backend != "numba":
        refused: str = module(structure, backend).refused(arrays, numbers)
        return refused
    return ""
