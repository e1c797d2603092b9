"""The operators of ggml for a CPU, called through ctypes: forward only, float32.

Its libraries are found in the folder that DSF_GGML names.  They come with the source archive of
llama-cpp-python, from which they are built in some minutes:

    pip download --no-deps --no-binary :all: llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON vendor/llama.cpp/ggml
    cmake --build build --target ggml-cpu

A graph is built once for an operator and its arrays; `run()` computes it, which is what is timed.
ggml takes softplus of the step sizes itself and divides queries of the delta rule by sqrt(K); the
arrays that are handed to it undo both.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

F32, I32 = 0, 26  # ggml_type
Int64s = ctypes.c_int64 * 4


class _Parameters(ctypes.Structure):
    _fields_ = [
        ("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool),
    ]  # fmt: skip


class _Plan(ctypes.Structure):
    _fields_ = [
        ("work_size", ctypes.c_size_t), ("work_data", ctypes.c_void_p),
        ("n_threads", ctypes.c_int), ("threadpool", ctypes.c_void_p),
        ("abort_callback", ctypes.c_void_p), ("abort_callback_data", ctypes.c_void_p),
        ("use_ref", ctypes.c_bool),
    ]  # fmt: skip


def libraries() -> tuple[Any, Any] | None:
    """(base, cpu) libraries of ggml, or None where DSF_GGML does not name their folder."""
    folder = os.environ.get("DSF_GGML")
    if not folder:
        return None
    found = [next(Path(folder).glob(f"**/libggml-{name}.so"), None) for name in ("base", "cpu")]
    if None in found:
        raise FileNotFoundError(f"DSF_GGML={folder}: no libggml-base.so and libggml-cpu.so in it")
    base, cpu = (ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL) for path in found)
    for name in ("init", "new_tensor", "new_graph", "get_data", "ssm_scan", "gated_delta_net",
                 "gated_linear_attn"):  # fmt: skip
        getattr(base, f"ggml_{name}").restype = ctypes.c_void_p
    cpu.ggml_graph_plan.restype = _Plan
    return base, cpu


class Graph:
    """One operator on arrays, whose axes ggml counts from the last."""

    def __init__(self, operator: str, arrays: list[np.ndarray], *numbers: Any) -> None:
        found = libraries()
        if found is None:
            raise RuntimeError("DSF_GGML must name a folder with the libraries of ggml")
        self.base, self.cpu = found
        size = 1 << 22
        size += 2 * sum(x.nbytes for x in arrays)  # a result is no larger than the arrays
        self.context = ctypes.c_void_p(self.base.ggml_init(_Parameters(size, None, False)))
        tensors = [self._tensor(x) for x in arrays]
        call = getattr(self.base, f"ggml_{operator}")
        self.result = ctypes.c_void_p(call(self.context, *tensors, *numbers))
        graph = ctypes.c_void_p(self.base.ggml_new_graph(self.context))
        self.base.ggml_build_forward_expand(graph, self.result)
        self.graph = graph
        self.plan = self.cpu.ggml_graph_plan(graph, ctypes.c_int(1), None)
        self.work = ctypes.create_string_buffer(max(self.plan.work_size, 1))
        self.plan.work_data = ctypes.cast(self.work, ctypes.c_void_p)

    def _tensor(self, x: np.ndarray) -> ctypes.c_void_p:
        x = np.ascontiguousarray(x)
        sizes = Int64s(*([*reversed(x.shape), 1, 1, 1, 1][:4]))
        kind = I32 if x.dtype == np.int32 else F32
        made = ctypes.c_void_p(self.base.ggml_new_tensor(self.context, kind, x.ndim, sizes))
        ctypes.memmove(self.base.ggml_get_data(made), x.ctypes.data, x.nbytes)
        return made

    def run(self) -> None:
        status = self.cpu.ggml_graph_compute(self.graph, ctypes.byref(self.plan))
        if status:
            raise RuntimeError(f"ggml: the graph ended with status {status}")

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """The first entries of the result, in this shape; the last state follows them."""
        data = self.base.ggml_get_data(self.result)
        held = ctypes.cast(data, ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(held, shape=shape).copy()

    def __del__(self) -> None:
        self.base.ggml_free(self.context)


# ------------------------------------------------------------------------- operators
def linear(q: Any, k: Any, v: Any, g: Any) -> Graph:
    """Decay of a channel: that of a head repeated."""
    decay = np.broadcast_to(np.exp(g)[..., None], k.shape)
    state = np.zeros((1, v.shape[-1] * k.shape[-1] * k.shape[-2]), np.float32)
    arrays = [k[0], v[0], q[0], decay[0], state]
    return Graph("gated_linear_attn", arrays, ctypes.c_float(1.0))


def delta(q: Any, k: Any, v: Any, beta: Any, g: Any) -> Graph:
    H, K = q.shape[-2:]
    state = np.zeros((1, H, K, K), np.float32)
    arrays = [q * np.float32(K**0.5), k, v, g[..., None], beta[..., None], state]
    return Graph("gated_delta_net", arrays, ctypes.c_int64(1))


def selective(u: Any, step: Any, A: Any, B: Any, C: Any) -> Graph:
    D, N = A.shape
    raw = np.where(step > 20, step, np.log(np.expm1(step))).astype(np.float32)
    state, ids = np.zeros((1, D, 1, N), np.float32), np.zeros(1, np.int32)
    arrays = [state, u[..., None], raw, A, B[:, :, None], C[:, :, None], ids]
    return Graph("ssm_scan", arrays, ctypes.c_int64(1))


OPERATORS: dict[str, Callable[..., Graph]] = {
    "linear attention": linear, "gated delta rule": delta, "selective scan": selective,
}  # fmt: skip
