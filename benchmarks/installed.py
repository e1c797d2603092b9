"""Public code for a CPU that is found here: torch code of packages, and ggml's operators.

    flash-linear-attention   naive forms in chunks, of linear attention and of the delta rule
    mambapy                  the parallel scan, and Mamba's selective scan by it
    ggml                     `benchmarks/ggml.py`; forward in float32

Each is a `Form`: what to time, and how to read what came out.  Packages that are not installed are
left out; nothing is installed here.  Fused kernels of the first need a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import ggml
import numpy as np
import torch

LONGEST = 8192  # tokens up to which mambapy runs: it holds every state, some of them twice


@dataclass
class Form:
    """A public form of a kernel on fixed arrays."""

    name: str
    run: Callable[[], Any]
    output: Callable[[], np.ndarray]


def forms(kernel: str, arrays: list[Any], shape: tuple[int, ...]) -> list[Form]:
    """What is installed of a kernel of `benchmarks/kernels.py`, for its arrays [1 L ...]."""
    tensors = [torch.tensor(np.ascontiguousarray(x)) for x in arrays]
    found = [
        Form(name, run, lambda run=run: run().reshape(shape).numpy())
        for name, run in [*_flash(kernel, tensors), *_mambapy(kernel, tensors)]
    ]
    if ggml.libraries() and kernel in ggml.OPERATORS and arrays[0].dtype == np.float32:
        graph = ggml.OPERATORS[kernel](*arrays)
        found.append(Form("ggml", graph.run, lambda: graph.values(shape)))
    return found


def _flash(kernel: str, x: list[Any]) -> list[tuple[str, Callable[[], Any]]]:
    """Its naive forms compute in float32."""
    if x[0].dtype != torch.float32:
        return []
    if kernel == "linear attention":
        chunked = _from("fla.ops.simple_gla.naive", "naive_chunk_simple_gla")
        return chunked and [("FLA, chunks", lambda: chunked(*x, scale=1.0)[0])]
    if kernel == "gated delta rule":
        q, k, v, beta, g = x
        chunked = _from("fla.ops.gated_delta_rule.naive", "naive_chunk_gated_delta_rule")
        return chunked and [("FLA, chunks", lambda: chunked(q, k, v, g, beta, scale=1.0)[0])]
    return []


def _mambapy(kernel: str, x: list[Any]) -> list[tuple[str, Callable[[], Any]]]:
    if x[0].shape[1] > LONGEST:
        return []
    if kernel == "selective scan":
        block = _from("mambapy.mamba", "MambaBlock")
        return block and [("mambapy", lambda: block.selective_scan(None, *x, 0.0))]
    if kernel == "diagonal scan":
        pscan = _from("mambapy.pscan", "pscan")
        return pscan and [("mambapy", lambda: pscan(*(y[..., None] for y in x)))]
    return []


def _from(module: str, name: str) -> Any:
    """An object of a package, or [] where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no GPU
            return getattr(import_module(module), name)
    except ImportError:
        return []
