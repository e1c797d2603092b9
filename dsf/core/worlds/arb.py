"""Arb balls in object arrays: every operation encloses its exact result.

`mech.map(dsf.balls)` is the same equations on enclosures.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError
from dsf.core.worlds.base import Array
from dsf.core.worlds.numpy_arrays import Objects, elementwise

ALONE = threading.RLock()  # Arb has one precision per process: threads that need another one wait


def one_ball(e: Any) -> Any:
    """A number as an Arb ball (integers and fractions become exact)."""
    import flint

    if isinstance(e, (flint.arb, flint.acb)):
        return e
    if isinstance(e, Fraction):
        return flint.arb(e.numerator) / e.denominator
    return flint.acb(e) if isinstance(e, complex) else flint.arb(e)


class Arb(Objects):
    """Balls, real or complex; where a choice is undecided, the result encloses both."""

    name = "Arb balls"

    def unary(self, name: str, x: Array) -> Array:
        special = {"abs": abs, "real": _real, "conj": _conj}.get(name)
        if special:
            return elementwise(lambda e: special(one_ball(e)), x)
        return elementwise(lambda e: getattr(one_ball(e), name)(), x)

    def maximum(self, x: Array, y: Array) -> Array:
        return elementwise(lambda a, b: one_ball(a).max(one_ball(b)), x, y)

    def where_positive(self, x: Array, a: Array, b: Array) -> Array:
        return elementwise(_where_positive, x, a, b)

    def arctan2(self, y: Array, x: Array) -> Array:
        import flint

        return elementwise(lambda a, b: flint.arb.atan2(one_ball(a), one_ball(b)), y, x)

    def as_complex(self, re: Array, im: Array) -> Array:
        import flint

        return elementwise(lambda a, b: flint.acb(one_ball(a), one_ball(b)), re, im)

    def norm(self, x: Array) -> Array:
        # a square is never negative; the plain product of a straddling ball with itself is
        squares = elementwise(lambda e: abs(one_ball(e)) ** 2, x)
        return elementwise(_root, self.asum(squares, -1, True))

    def solve(self, A: Array, b: Array) -> Array:
        """By the LU decomposition of flint; undefined where a matrix is not shown to be regular."""
        import flint

        if any(isinstance(e, flint.acb) for x in (A, b) for e in x.flat):
            return super().solve(A, b)
        lead = np.broadcast_shapes(A.shape[:-2], b.shape[:-2])
        A, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (A, b))
        out = np.empty(b.shape, dtype=object)
        for i in np.ndindex(lead):
            try:
                found = flint.arb_mat(A[i].tolist()).solve(flint.arb_mat(b[i].tolist()))
                out[i] = np.array(found.tolist(), dtype=object)
            except ZeroDivisionError:
                out[i] = flint.arb("nan")
        return out

    def exact(self, value: Fraction) -> Any:
        return one_ball(value)

    def exact_pi(self) -> Any:
        import flint

        return flint.arb.pi()


def _real(e: Any) -> Any:
    import flint

    return e.real if isinstance(e, flint.acb) else e


def _conj(e: Any) -> Any:
    import flint

    return flint.acb(e.real, -e.imag) if isinstance(e, flint.acb) else e


def _where_positive(x: Any, a: Any, b: Any) -> Any:
    if x > 0:
        return one_ball(a)
    return one_ball(b) if x <= 0 else one_ball(a).union(one_ball(b))


def _root(e: Any) -> Any:
    """Square root of the non-negative part of a ball (a norm may touch zero)."""
    low = e.lower()
    return (low.sqrt() if low > 0 else low * 0).union(e.upper().sqrt())


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
