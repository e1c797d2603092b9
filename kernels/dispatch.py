"""Which code runs a kernel: chosen from the arrays, or named, and always told.

    "reference"  one step at a time, in numpy or torch (with torch's own gradients)
    "numba"      compiled for this CPU; gradients for torch
    "torch"      scaled_dot_product_attention, for softmax attention of tensors
    "triton"     for tensors on a GPU: `make gpu` runs these kernels; none is connected here yet

"auto" takes numba on a CPU where it is installed and has the kernel, then torch's own kernel, then
the reference.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from dsf.core import hooks
from dsf.core.errors import KernelError
from dsf.core.worlds import is_torch
from dsf.kernels.backends import computed, module

BACKENDS = ("auto", "reference", "numba", "torch", "triton")
REAL = ("float32", "float64")
CONNECTED = {
    "triton": (),
    "numba": ("linear", "low_rank", "selective", "diagonal", "softmax", "flow"),
    "torch": ("softmax",),
}  # in the order in which "auto" asks them
DTYPES = {"diagonal": (*REAL, "complex64", "complex128")}


def run(
    structure: str, arrays: list[Any], numbers: list[Any], backend: str = "auto"
) -> tuple[Any, Any]:
    """(y, last state) of a structure from canonical arrays, all of one dtype and one world.

    Raises KernelError for a backend that is unknown, not installed, or has no such kernel.
    """
    chosen = _chosen(structure, arrays, numbers, backend)
    if is_torch(arrays[0]):
        return hooks.torch_kernel(structure, chosen, arrays, numbers)
    return computed(structure, chosen, *arrays, *numbers)


def compiled_run(structure: str, arrays: list[Any], numbers: list[float]) -> tuple[Any, Any] | None:
    """`run` where a compiled kernel takes these arrays, else None."""
    if _chosen(structure, arrays, numbers, "auto") == "reference":
        return None
    return run(structure, arrays, numbers)


def _chosen(structure: str, arrays: list[Any], numbers: list[float], backend: str) -> str:
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
    on_gpu = is_torch(x) and x.device.type != "cpu"
    dtype = str(x.dtype).removeprefix("torch.")
    if not _installed(backend):
        extra = "pip install 'dsf[gpu]'" if backend == "triton" else f"pip install {backend}"
        return f"{backend} is not installed ({extra})"
    if structure not in CONNECTED[backend]:
        return f"no {backend} kernel is connected to it yet"
    if backend == "torch":
        refused = module(structure, backend).refused
        return refused(arrays, numbers) if is_torch(x) else "the arrays are numpy's"
    if on_gpu != (backend == "triton"):
        return f"the arrays lie on {x.device if is_torch(x) else 'the CPU'}"
    if dtype not in DTYPES.get(structure, REAL):
        return f"no kernel for {dtype}"
    return ""
