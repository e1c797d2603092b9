"""The worlds of numbers that equations run on, and how to get from floats into the exact ones.

    numpy     arrays of floats                   `numpy_arrays`
    torch     tensors, with device and gradient  `tensors`
    symbols   object arrays of sympy expressions `symbolic`
    Arb balls object arrays of enclosures        `arb`
    residues  object arrays of a prime field     `residues`: identities in free tokens
    gaps      two runs in balls at once          `gaps`

A world is one object (`NUMPY`, `ARB`, `RESIDUES`, ...); `world(x)` finds it.  None of
torch, sympy and flint is imported before an argument comes from there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from dsf.core.worlds.arb import ALONE, Arb, balls, contains, midpoints, precision, radii
from dsf.core.worlds.base import Array, FloatWorld, World
from dsf.core.worlds.gaps import Gap, Gaps, as_gap
from dsf.core.worlds.modular import Number
from dsf.core.worlds.numpy_arrays import Numpy, elementwise
from dsf.core.worlds.residues import Modular
from dsf.core.worlds.symbolic import Sympy, evaluate, symbolic_input, symbols
from dsf.core.worlds.tensors import Torch, is_torch

__all__ = [
    "ALONE", "ARB", "GAPS", "NUMPY", "RESIDUES", "SYMPY", "TORCH", "Array", "FloatWorld", "Gap",
    "World", "as_gap", "balls", "contains", "elementwise", "evaluate", "holder", "is_torch",
    "midpoints", "precision", "radii", "symbolic_input", "symbols", "world",
]  # fmt: skip

NUMPY, TORCH, SYMPY, ARB = Numpy(), Torch(), Sympy(), Arb()
RESIDUES, GAPS = Modular(), Gaps()


def world(*xs: Any) -> World:
    """The world of the first argument that decides: a tensor, then a symbol or a ball, else numpy.

    >>> world(np.ones(2), symbols(np.ones(2))).name
    'symbols'
    """
    if len(xs) == 1 and isinstance(xs[0], np.ndarray) and xs[0].dtype.kind != "O":
        return NUMPY  # asked most often
    for x in xs:
        if is_torch(x):
            return TORCH
    for x in xs:
        x = np.asarray(x)
        if x.dtype.kind == "O":
            for e in x.flat:
                kind: Any = type(e)
                found = _world_of(kind)
                if found is not None:
                    return found
    return NUMPY


def holder(x: Any) -> FloatWorld:
    """The world that holds the axes of x; its entries are not looked at."""
    return TORCH if is_torch(x) else NUMPY


@cache
def _world_of(kind: type) -> World | None:
    own: dict[type, World] = {Gap: GAPS, Number: RESIDUES}
    if kind in own:
        return own[kind]
    return {"flint": ARB, "sympy": SYMPY}.get(kind.__module__.partition(".")[0])
