"""The code of a backend, what comes out of it, and which one ran last."""

from __future__ import annotations

from contextvars import ContextVar
from importlib import import_module
from typing import Any

import numpy as np

from dsf.core.worlds import is_torch


def on_gpu(x: Any) -> bool:
    """Whether x is a tensor that does not lie in the memory of the CPU."""
    return is_torch(x) and x.device.type != "cpu"


KEEPING = ("linear", "delta", "low_rank", "selective")  # states between chunks of time
# of y, the last state (of softmax the logarithms of the denominators) and what was asked for
KEPT = {"softmax": slice(2), "local_linear": slice(1, 2), "diagonal": slice(1)}

_ran: ContextVar[str] = ContextVar("backend that ran last", default="")


def last_backend() -> str:
    """The backend of the last call of a kernel in this thread; "" before the first.

    >>> from dsf import kernels
    >>> one = np.ones((3, 1, 1))
    >>> _ = kernels.linear_attention(one, one, one, backend="reference")
    >>> kernels.last_backend()
    'reference'
    """
    return _ran.get()


def computed(structure: str, backend: str, *args: Any, part: str = "forward") -> Any:
    """The function of a backend, and a note that it ran."""
    _ran.set(backend)
    return getattr(module(structure, backend), part)(*args)


def module(structure: str, backend: str) -> Any:
    """The module with `forward`, and `backward` unless it is the reference."""
    return import_module(f"dsf.kernels.{structure}.{backend}")


def outputs_like(
    structure: str, backend: str, arrays: list[Any], keep: bool
) -> list[tuple[int, ...]]:
    """The shapes of y, of the last state, and of what is kept beside them for the gradients."""
    shapes = [tuple(x.shape) for x in arrays]
    if structure in ("softmax", "local_linear"):  # y, and the logarithms of the denominators
        return [(*shapes[0][:-1], shapes[2][-1]), shapes[0][:-1]]
    if structure == "low_rank":  # q has a row for each output, the others one for each substep
        y = (*shapes[0][:-1], shapes[2][-1])
    else:
        y = shapes[{"linear": 2, "delta": 2, "diagonal": 1, "selective": 0}[structure]]
    more = module(structure, backend).kept(*arrays) if keeps(structure, backend, keep) else []
    return [y, shapes[-1], *more]


def keeps(structure: str, backend: str, keep: bool) -> bool:
    """Whether `forward` is asked for more than y and the last state: where gradients follow."""
    return keep and backend == "numba" and structure in KEEPING


def kept(structure: str, outputs: Any) -> tuple[Any, ...]:
    """The outputs that the backward pass takes after the inputs."""
    return tuple(outputs[KEPT.get(structure, slice(2, None))])


def as_numpy(x: Any) -> np.ndarray:
    """A tensor's memory as an array: nothing is copied.

    Conjugated and negated views come to an operator of torch as what they stand for.
    """
    array: np.ndarray = x.detach().numpy()
    return array
