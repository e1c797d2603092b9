"""Changing the world of an array: named symbols for proofs, Arb balls for enclosures.

`mech.map(dsf.symbols)` and `mech.map(dsf.balls)` are the same equations on other numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError

ALONE = threading.RLock()  # Arb has one precision per process: threads that need another one wait


def symbols(x: Any, name: str = "x") -> np.ndarray:
    """An array of the shape of x holding real sympy symbols, `name_i_j` for the entry (i, j).

    Axes of size 1 get no index.  `mech.map(dsf.symbols)` names the symbols after the fields, so two
    parameters never share a symbol.

    >>> symbols(np.zeros((1, 2, 2)), "W")
    array([[[W_0_0, W_0_1],
            [W_1_0, W_1_1]]], dtype=object)
    """
    import sympy

    shape = tuple(x.shape)
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        shown = [str(i) for i, size in zip(index, shape, strict=True) if size > 1]
        out[index] = sympy.Symbol("_".join([name, *shown]), real=True)
    return out


symbols.named = True  # type: ignore[attr-defined]  # Mechanism.map passes the name of the field


def symbolic_input(L: int, d: int, name: str = "u") -> np.ndarray:
    """An input sequence [L d] of real symbols.

    >>> symbolic_input(2, 1)
    array([[u_0],
           [u_1]], dtype=object)
    """
    return symbols(np.zeros((L, d)), name)


def balls(x: Any, radius: float = 0.0) -> np.ndarray:
    """The numbers of x as Arb balls of the given radius; 0 means exactly these floats.

    Every operation afterwards encloses its exact result, rounded to the bits of `precision`.
    Raises DTypeError unless x holds floats, integers or complex numbers.

    >>> balls(np.array([0.5]))[0]
    0.500000000000000
    >>> balls(np.array([0.5]), radius=0.25)[0].contains(0.7)
    True
    """
    import flint

    x = np.asarray(x)
    if x.dtype.kind not in "iufc":
        raise DTypeError(
            f"balls: `x` must hold numbers; got dtype {x.dtype}. Likely cause: symbols, or balls "
            "already. Map the float mechanism instead."
        )
    error = flint.arb(0, float(radius))

    def ball(e: Any) -> Any:
        if x.dtype.kind == "c":
            return flint.acb(flint.arb(float(e.real)) + error, flint.arb(float(e.imag)) + error)
        return flint.arb(int(e) if x.dtype.kind in "iu" else float(e)) + error

    return np.asarray(np.frompyfunc(ball, 1, 1)(x), dtype=object)


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """A context in which balls are computed with that many bits (the default of Arb is 53).

    The precision belongs to the process, so other threads wait for the end of the context.

    >>> with precision(128):
    ...     width = (balls(np.ones(1)) / 3)[0].rad()
    >>> bool(width < 1e-38)
    True
    """
    import flint

    with ALONE, flint.ctx.workprec(bits):
        yield


def midpoints(x: np.ndarray) -> np.ndarray:
    """The centres of real balls, rounded to float64."""
    return np.array([float(e.mid()) for e in x.flat]).reshape(x.shape)


def radii(x: np.ndarray) -> np.ndarray:
    """The radii of real balls, rounded up to float64 (infinite for an undefined ball)."""
    found = [float(e.rad()) if e.is_finite() else np.inf for e in x.flat]
    return np.nextafter(np.array(found), np.inf).reshape(x.shape)


def contains(x: np.ndarray, values: Any) -> np.ndarray:
    """Whether each real ball contains the number of the same index."""
    pairs = zip(x.flat, np.asarray(values).flat, strict=True)
    return np.array([bool(e.contains(float(v))) for e, v in pairs]).reshape(x.shape)


def evaluate(x: np.ndarray, values: Mapping[Any, float], digits: int = 30) -> np.ndarray:
    """Symbolic entries at the given values of their symbols, computed with `digits` digits.

    >>> u = symbolic_input(1, 2)
    >>> evaluate(u * u, {u[0, 0]: 3.0, u[0, 1]: 0.5})
    array([[9.  , 0.25]])
    """
    import mpmath
    import sympy

    names = list(values)
    f = sympy.lambdify(names, list(x.flat), modules="mpmath", cse=True)
    with mpmath.workdps(digits):
        found = f(*[mpmath.mpf(float(values[s])) for s in names])
        return np.array([float(e) for e in found]).reshape(x.shape)
