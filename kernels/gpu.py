"""Kernels on a GPU: arrays as the Triton kernels take them.

Decays are logarithms, none, one per head or one per channel, and half precision stays as it is.
"""

from __future__ import annotations

from typing import Any

from dsf.core import ops
from dsf.kernels import dispatch
from dsf.kernels.backends import on_gpu
from dsf.kernels.intake import Call


def takes(structure: str, x: Any, backend: str) -> bool:
    """Whether a call with tensors like x goes to Triton.

    Raises KernelError where "triton" is asked for and cannot run.
    """
    if not on_gpu(x) and backend != "triton":
        return False
    return dispatch.chosen(structure, [x], [], backend) == "triton"


def linear(call: Call, full: bool | None, read: str, scale: float) -> tuple[Any, Any]:
    """`linear_attention`; what is read before a step is what the next query reads after it."""
    q, k, v = (call.rows(name) for name in "qkv")
    state, logs = call.state(), call.logs(full)
    if read == "after":
        return dispatch.run("linear", [q, k, v, logs, state], [scale], "triton")
    later = ops.cat([q[:, 1:], 0 * q[:, :1]], 1)
    y, last = dispatch.run("linear", [later, k, v, logs, state], [scale], "triton")
    first = scale * (q[:, :1, :, None, :].to(state.dtype) @ state[:, None])[..., 0, :]
    return ops.cat([first.to(y.dtype), y[:, :-1]], 1), last


def delta(call: Call, full: bool | None, scale: float) -> tuple[Any, Any]:
    """`delta_rule` with at most one decay per head."""
    arrays = [*(call.rows(name) for name in ("q", "k", "v", "beta")), call.logs(full), call.state()]
    return dispatch.run("delta", arrays, [scale], "triton")


def selective(call: Call) -> tuple[Any, Any]:
    """`selective_scan` with its skip."""
    u, delta, B, C = (call.rows(name) for name in ("u", "delta", "B", "C"))
    D = call["D"] if "D" in call.arrays else call.zeros(0)
    arrays = [u, delta, call["A"], B, C, D, call.state("D N")]
    return dispatch.run("selective", arrays, [1.0], "triton")
