"""Enclosures of spectral radii and of norms, with the sign of r - 1 where it can be proved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from dsf.core.errors import TooLargeError
from dsf.core.ops import Array
from dsf.core.worlds import precision

BITS = (53, 128, 512)
LARGEST = 1 << 25  # (distinct matrices)(n^4 + 2^15): about five seconds of work for the checker
# a product of floats in floats: the relative error of a few factors, and what underflows
PRODUCT, UNDERFLOW = 2.0**-45, 1e-300
NARROW = 1e-12  # relative width of r and of 1 - r at which no more bits are asked for
NARROW_POWERS = 1e-6  # the same for powers, whose bounds close slowly
AXES = {"a": 1, "log_a": 1, "U": 2, "W": 2, "A": 2}  # axes right of time
Gauss = tuple[Any, Any]  # real and imaginary part, rationals


@dataclass(frozen=True)
class Radius:
    """lower <= r <= upper, bounds of 1 - r, the sign of r - 1 (None: not proved).

    bounded: False only where r = 1 is proved and the powers are proved to grow.
    """

    lower: float
    upper: float
    margin: tuple[float, float]
    sign: int | None
    how: str
    bounded: bool = True


def radii(
    parts: dict[str, list[Array]], n: int, lead: tuple[int, ...], varying: bool
) -> list[tuple[tuple[int, ...], Radius]]:
    """(index, r) of the largest diagonal entry, or of every distinct matrix.

    r is the spectral radius, or the 2-norm if `varying`.
    """
    if n == 0:
        return [((), Radius(0.0, 0.0, (1.0, 1.0), -1, "as there is no state"))]
    with precision(BITS[-1]):
        if "U" not in parts and "A" not in parts:
            return [_diagonal(*next(iter(parts.items())))]
        return [(i, _matrix(x, varying)) for i, x in _distinct(parts, n, lead)]


# ------------------------------------------------------------------- diagonals
def _diagonal(name: str, factors: list[Array]) -> tuple[tuple[int, ...], Radius]:
    """The largest entry: floats leave few candidates, rationals decide between them."""
    log, rows = name == "log_a", np.broadcast_arrays(*factors)
    with np.errstate(all="ignore"):
        product = reduce(np.multiply, rows)
        error = reduce(np.multiply, [np.abs(x) for x in rows]) * PRODUCT + UNDERFLOW
        value = product.real if log else np.abs(product)
        smaller = value + error < np.fmax.reduce((value - error).ravel())
    near = np.argwhere(~smaller)  # also where overflow left no number
    table = np.stack([x[tuple(near.T)] for x in rows], -1)
    unique, first = np.unique(table, axis=0, return_index=True)
    sizes = [_size(row, log) for row in unique]
    best = max(range(len(sizes)), key=sizes.__getitem__)
    index = tuple(int(i) for i in near[first[best]])
    positive, size = sizes[best]
    return index, _of_log(size) if log and positive else _of_square(size)


def _size(row: Array, log: bool) -> tuple[bool, Any]:
    """What orders the entries: (a != 0, log |a|) or (True, |a|^2)."""
    if log and np.isneginf(row[0].real):
        return False, 0
    real, imaginary = reduce(_times, [_gauss(x) for x in row])
    return True, real if log else real * real + imaginary * imaginary


def _of_square(square: Any) -> Radius:
    import flint

    r = flint.arb(square).sqrt()
    return _outward(r, r, flint.arb(1 - square) / (1 + r), _sign(square - 1), "exactly")


def _of_log(x: Any) -> Radius:
    import flint

    r = flint.arb(x).exp()
    return _outward(r, r, -flint.arb(x).expm1(), _sign(x), "exactly")


# ------------------------------------------------------------------- matrices
def _distinct(
    parts: dict[str, list[Array]], n: int, lead: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], dict[str, list[Array]]]]:
    """The distinct matrices with the index where each comes first."""
    full = {
        k: [np.broadcast_to(f, (*lead, *f.shape[f.ndim - AXES[k] :])) for f in x]
        for k, x in parts.items()
    }
    first: dict[bytes, tuple[int, ...]] = {}
    for i in np.ndindex(lead):
        first.setdefault(b"".join(f[i].tobytes() for x in full.values() for f in x), i)
    if len(first) * (n**4 + 2**15) > LARGEST:
        raise TooLargeError(
            f"stability: {len(first)} matrices of size {n} take more exact arithmetic than the "
            f"limit (matrices times n^4 + 2^15 <= {LARGEST:.1e}), as one of size 75. Ask for fewer "
            "steps: ltv.part(start, stop)."
        )
    for i in first.values():
        yield i, {k: list(np.broadcast_arrays(*(f[i] for f in x))) for k, x in full.items()}


def _matrix(part: dict[str, list[Array]], varying: bool) -> Radius:
    real = not any(np.any(f.imag) for x in part.values() for f in x)
    if "log_a" in part:
        logs = reduce(np.multiply, part["log_a"])
        if np.any(logs[~np.isneginf(logs.real)]):
            return _by_powers(part, varying)
        part = {"a": [np.exp(logs)], "U": part["U"], "W": part["W"]}  # of 0 and of -inf
    if "A" in part:
        A = _embedded(part["A"], real)
    else:  # W' is not conjugated, the transpose of an embedding is
        n, W = part["U"][0].shape[0], [f.conj() for f in part["W"]]
        D = [np.diag(np.broadcast_to(f, n)) for f in part["a"]]
        A = _embedded(D, real) + _embedded(part["U"], real) * _embedded(W, real).transpose()
    return _by_roots(A.transpose() * A if varying else A, varying)


def _embedded(factors: list[Array], real: bool) -> Any:
    """An elementwise product in rationals, complex [[Re, -Im], [Im, Re]]: the same moduli."""
    import flint

    rows = np.stack(np.broadcast_arrays(*factors), -1)
    table = [[reduce(_times, map(_gauss, x)) for x in row] for row in rows]
    if real:
        return flint.fmpq_mat([[x for x, _ in row] for row in table])
    top = [[x for x, _ in row] + [-y for _, y in row] for row in table]
    low = [[y for _, y in row] + [x for x, _ in row] for row in table]
    return flint.fmpq_mat(top + low)


def _by_roots(M: Any, square: bool) -> Radius:
    """From the roots of the exact characteristic polynomial of M (r^2 if `square`)."""
    import flint

    whole, den = M.numer_denom()
    p = _primitive([int(x) * int(den) ** k for k, x in enumerate(whole.charpoly().coeffs())])
    for bits in BITS:
        with precision(bits):
            sizes = [abs(z) for z, _ in p.complex_roots()]
        low, high = max(x.lower() for x in sizes), max(x.upper() for x in sizes)
        if low <= 1 and sum(1 for x in sizes if x.contains(1)) == _on_circle(p, bits):
            simple = square or _simple_on_circle(M.minpoly())
            one = flint.arb(1)
            return _outward(one, one, 1 - one, 0, "by roots that are their own mirror", simple)
        found = _between(low, high, square, f"by enclosed roots ({bits} bits)")
        if found.sign is not None and _narrow(found):
            break
    return found


def _on_circle(p: Any, bits: int) -> int:
    """How many roots of p lie on the unit circle, as far as proved; each is a root of p* too.

    p is real, so the roots of g = gcd(p, p*) are closed under z -> 1/conj(z).  An isolated root
    whose mirror image meets the enclosure of no other root is its own mirror.
    """
    import flint

    g = p.gcd(flint.fmpz_poly(p.coeffs()[::-1]))
    if g.degree() < 1:
        return -1
    with precision(bits):
        roots = [z for z, _ in g.complex_roots()]
        mirrors = [1 / z.conjugate() for z in roots if abs(z).contains(1)]
    return sum(1 for m in mirrors if sum(1 for z in roots if z.overlaps(m)) == 1)


def _simple_on_circle(minimal: Any) -> bool:
    """Whether the powers stay bounded: the roots on the circle are simple in it."""
    p = _primitive(minimal.numer().coeffs())
    return all(k == 1 for z, k in p.complex_roots() if abs(z).contains(1))


def _primitive(coefficients: Any) -> Any:
    import flint

    p = flint.fmpz_poly(coefficients)
    return p // flint.fmpz_poly([p.content()])


def _by_powers(part: dict[str, list[Array]], varying: bool) -> Radius:
    """For a matrix of balls A = diag(exp(log_a)) + U W', whose powers are squared again and again:

    (|tr A^k|/n)^(1/k)  <=  r  <=  |A^k|_F^(1/k),     k = 2, 4, ... 2^(bits/4)
    """
    logs = np.stack(np.broadcast_arrays(*part["log_a"]), -1)
    n = part["U"][0].shape[0]
    for bits in BITS:
        with precision(bits):
            A = _balls(part["U"]) * _balls(part["W"]).transpose()
            for i, x in enumerate(np.broadcast_to(logs, (n, logs.shape[-1]))):
                A[i, i] += 0 if np.isneginf(x[0].real) else _ball(x).exp()
            low, high = _gelfand(A.conjugate().transpose() * A if varying else A, bits // 4)
        found = _between(low, high, varying, f"by enclosed powers ({bits} bits)")
        if found.sign is not None and _narrow(found, NARROW_POWERS):
            break
    return found


def _gelfand(A: Any, squarings: int) -> tuple[Any, Any]:
    """The bounds of `_by_powers`; the lower one from the last two k, as a trace may vanish."""
    import flint

    n, low, high = A.nrows(), flint.arb(0), flint.arb.pos_inf()
    for j in range(1, squarings + 1):
        A = A * A
        size = sum((abs(x) ** 2 for x in A.entries()), flint.arb(0)).sqrt().upper()
        high = (size.log() / 2**j).exp().upper() if size > 0 else flint.arb(0)
        trace = abs(A.trace()).lower() / n
        if j >= squarings - 1 and trace > 0:
            low = low.max((trace.log() / 2**j).exp().lower())
    return low, high


def _balls(factors: list[Array]) -> Any:
    import flint

    rows = np.stack(np.broadcast_arrays(*factors), -1)
    return flint.acb_mat([[_ball(x) for x in row] for row in rows])


def _ball(factors: Any) -> Any:
    import flint

    real, imaginary = reduce(_times, map(_gauss, factors))
    return flint.acb(flint.arb(real), flint.arb(imaginary))


# ------------------------------------------------------------------- small parts
def _between(low: Any, high: Any, square: bool, how: str) -> Radius:
    """From bounds of r, or of r^2, in balls."""
    import flint

    sign = 1 if low > 1 else -1 if high < 1 else None
    low = flint.arb(0) if low < 0 else low
    if square:
        low, high = low.sqrt(), high.sqrt()
    return _outward(low, high, (1 - low).union(1 - high), sign, how)


def _outward(low: Any, high: Any, rest: Any, sign: Any, how: str, bounded: bool = True) -> Radius:
    margin = _float(rest.lower(), -1), _float(rest.upper(), 1)
    return Radius(_float(low.lower(), -1), _float(high.upper(), 1), margin, sign, how, bounded)


def _float(x: Any, side: int) -> float:
    """The nearest float at or below (side -1), at or above (+1) an exact ball."""
    import flint

    f = float(x)
    while not (flint.arb(f) <= x if side < 0 else flint.arb(f) >= x):
        f = math.nextafter(f, side * math.inf)
    return f


def _narrow(x: Radius, width: float = NARROW) -> bool:
    """Whether r and 1 - r are known to this relative accuracy: then no more bits are asked for."""
    least, most = x.margin
    fine = x.upper - x.lower <= width * x.upper
    return fine and most - least <= width * max(abs(least), abs(most))


def _gauss(x: Any) -> Gauss:
    import flint

    real, imaginary = (flint.fmpq(*float(y).as_integer_ratio()) for y in (x.real, x.imag))
    return real, imaginary


def _times(x: Gauss, y: Gauss) -> Gauss:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _sign(x: Any) -> int:
    return int(x > 0) - int(x < 0)
