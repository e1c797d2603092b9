"""Kernels hold their outputs, a chunk, and for gradients a state of every chunk: at any length."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("numba")
import cases
from memory import REFS, peak

MARGIN = 6 << 20  # a chunk of states and what the allocator rounds up
# The bias alone takes 72 MB there; weights of one block on all keys grow: see test_local_linear.
LONG = {"softmax": 1500, "local_linear": 1500}


@pytest.mark.skipif(not REFS.exists(), reason="only Linux tells the peak of a stretch of code")
@pytest.mark.parametrize("name", cases.EVERY)
def test_memory_of_outputs_and_one_chunk(name, monkeypatch):
    monkeypatch.setattr("dsf.kernels.compiled.SMALL", 1 << 62)  # one thread, one chunk
    L = LONG.get(name, 12_000)
    structure, arrays, numbers = cases.case(name, L, B=1, H=1, K=16, V=32)
    kernel = import_module(f"dsf.kernels.{structure}.numba")
    small = cases.case(name, 70, B=1, H=1, K=16, V=32)[1]
    (y, last), kept = cases.training(structure, small, numbers)
    kernel.backward(*small, *kept, *numbers, y, last)  # compiled before anything is counted

    used, (y, last) = peak(lambda: kernel.forward(*arrays, *numbers))
    assert used <= y.nbytes + last.nbytes + MARGIN
    used, ((y, last), kept) = peak(lambda: cases.training(structure, arrays, numbers))
    between = sum(x.nbytes for x in kept if x is not y and x is not last)
    assert used <= y.nbytes + last.nbytes + between + MARGIN
    assert between <= y.nbytes + MARGIN  # of the delta rule also a row for each of y
    used, found = peak(lambda: kernel.backward(*arrays, *kept, *numbers, y, last))
    gradients = sum(x.nbytes for x in found)
    assert used <= gradients + y.nbytes + MARGIN  # and one product of y and its gradient
    states = L * 16 * 32 * np.dtype(float).itemsize
    assert (
        structure in ("softmax", "local_linear", "diagonal")
        or gradients + y.nbytes + MARGIN < states
    )
