"""A user's model for the time of a run: modes and random generators are as before afterwards."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError


@contextmanager
def as_found(model: Any) -> Iterator[None]:
    """Evaluation mode for the run; modes and the random generators are put back.

    These are the global ones of torch (CPU, CUDA and MPS where they are in use), numpy and Python.
    What `torch.compile` made runs as it was written, since compiled calls are not seen.  Raises
    DTypeError for what torch.jit made, of which no call is seen.
    """
    import torch

    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    if any(isinstance(m, torch.jit.ScriptModule) for m in modules):
        raise DTypeError(
            "inspect, replace: the model or a part of it was made by torch.jit, and what it calls "
            "cannot be seen. Give the module that was scripted or traced"
        )
    modes = [m.training for m in modules]
    with _generators():
        try:
            for m in modules:
                m.training = False
            with torch.inference_mode(False), _as_written():
                yield
        finally:
            for m, mode in zip(modules, modes, strict=True):
                m.training = mode


@contextmanager
def _generators() -> Iterator[None]:
    """The states of the global random generators are put back."""
    import torch

    plain, python = torch.get_rng_state(), random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002, models of others draw from it
    # asking a CUDA that nobody uses for its state would start it, and take its memory
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        torch.set_rng_state(plain)
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _as_written() -> AbstractContextManager[Any]:
    """Compiled functions run uncompiled; nothing where torch has compiled nothing."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    import torch

    return torch.compiler.set_stance("force_eager")
