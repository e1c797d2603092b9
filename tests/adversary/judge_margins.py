"""Margin problems in 60 digits: what the stored W and multipliers prove, and the exact best norm.

A bound that does not follow from the stored witnesses is not called false here: it is compared with
the best value that a solver of the package reached, widened by its own gap.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
from judge_numbers import at_most, matrix, singular


def _rows(c: Any) -> list[tuple[Any, Any]]:
    """(difference of keys, query) of every row."""
    found = []
    for a, b, q in zip(c.plus, c.minus, c.query, strict=True):
        left = [mp.mpf(float(x)) for x in c.keys[a]]
        if b >= 0:
            left = [x - mp.mpf(float(y)) for x, y in zip(left, c.keys[b], strict=True)]
        found.append((left, [mp.mpf(float(x)) for x in c.queries[q]]))
    return found


def _products(c: Any, W: np.ndarray) -> list[Any]:
    exact = matrix(W)
    return [
        mp.fsum(x * exact[i, j] * y for i, x in enumerate(left) for j, y in enumerate(right))
        for left, right in _rows(c)
    ]


def _combination(c: Any, lam: Any) -> Any:
    G = mp.zeros(c.keys.shape[1], c.queries.shape[1])
    for (left, right), x in zip(_rows(c), lam, strict=True):
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                G[i, j] += mp.mpf(float(x)) * a * b
    return G


def _norm(A: Any, kind: str, p: Any, dual: bool) -> Any:
    if kind == "frobenius":
        return mp.norm(A, 2) if 1 in (A.rows, A.cols) else mp.sqrt(mp.fsum(x * x for x in A))
    if kind == "nuclear":
        s = singular(A)
        return s[0] if dual else mp.fsum(s)
    p = mp.mpf(p)
    p = p / (p - 1) if dual else p
    return mp.fsum(abs(x) ** p for x in A) ** (1 / p)


def _primal(c: Any, W: np.ndarray, keep: Any = slice(None), norm: str = "") -> Any:
    """The margin of W; None where it violates a row.  Equalities are taken to 1e-12."""
    products = np.array(_products(c, W), dtype=object)[keep]
    bound, equality = c.bound[keep], c.equality[keep]
    size = _norm(matrix(W), norm or c.norm, getattr(c, "p", None), dual=False)
    best = None
    for x, b, e in zip(products, bound, equality, strict=True):
        if e and abs(x) > mp.mpf(10) ** -12 * size:
            return None
        if not e and b == 0 and x < 0:
            return None
        if b > 0:
            best = x / mp.mpf(float(b)) if best is None else min(best, x / mp.mpf(float(b)))
    return None if best is None or best <= 0 or size == 0 else best / size


def _dual(c: Any, lam: np.ndarray) -> Any:
    if not np.all((lam >= 0) | c.equality):
        return None
    weight = mp.fsum(mp.mpf(float(x)) * mp.mpf(float(b)) for x, b in zip(lam, c.bound, strict=True))
    if weight <= 0:
        return None
    return _norm(_combination(c, lam), c.norm, getattr(c, "p", None), dual=True) / weight


def margin(c: Any) -> bool | None:
    low = mp.mpf(0) if c.W is None else _primal(c, c.W)
    high = _dual(c, c.lam)
    if low is None or high is None:
        return None
    if np.any(c.equality):  # W meets them to rounding only: its margin is that to as many digits
        low = low * (1 + mp.mpf(10) ** -9)
    return bool(at_most(c.lower, low) and at_most(high, c.upper))


def margin_zero(c: Any) -> bool:
    weights = [int(x, 16) for x in c.gordan]
    rows = _rows(c)
    good = all(w >= 0 or c.equality[j] for j, w in zip(c.support, weights, strict=True))
    asked = any(w > 0 and c.bound[j] > 0 for j, w in zip(c.support, weights, strict=True))
    with mp.workdps(3000):
        G = mp.zeros(c.keys.shape[1], c.queries.shape[1])
        for j, w in zip(c.support, weights, strict=True):
            left, right = rows[j]
            for i, a in enumerate(left):
                for k, b in enumerate(right):
                    G[i, k] += w * a * b
        return bool(good and asked and all(x == 0 for x in G))


def nuclear_rank(c: Any) -> bool | None:
    low, weight = _primal(c, c.W), _dual(c, c.lam)
    if low is None or weight is None:
        return None
    if c.k == min(matrix(c.W).rows, matrix(c.W).cols):
        return c.upper >= 0
    s = singular(_combination(c, c.lam))
    tail = (1 / low - 1 / weight) / (1 - s[c.k] / s[0])
    return at_most(max(tail, 0), c.upper)


def least_norm(c: Any) -> bool | None:
    """The least norm is |C^+ target|: by the normal equations of independent rows."""
    rows = _rows(c)
    flat = mp.matrix([[a * b for a in left for b in right] for left, right in rows])
    target = mp.matrix([mp.mpf(float(x)) for x in c.target])
    try:
        y = mp.lu_solve(flat * flat.T, target)
    except ZeroDivisionError:
        return None
    value = mp.sqrt((target.T * y)[0])
    return bool(at_most(c.lower, value) and at_most(value, c.upper))


def local_optimality(c: Any) -> bool | None:
    high = _dual(c, c.lam)
    if high is None or high <= 0:
        return None
    least = 1 / high  # of |W| for the whole problem
    if c.kept is not None:
        if len(c.kept) == 0:
            return True
        without = _primal(c, c.W_without, keep=c.kept, norm="frobenius")
        good = without is not None and 1 / without < least
        return bool(good and at_most(1 / without, c.norm_without)) if good else None
    low = _primal(c, c.W)
    if low is None:
        return None
    off = mp.sqrt(max((1 / low) ** 2 - least**2, 0))
    W = matrix(c.W)
    scale = min(_products(c, c.W))
    rival = c.scores[c.minus] >= c.scores[c.plus]
    for j, (left, right) in enumerate(_rows(c)):
        if rival[j]:
            size = mp.norm(left) * mp.norm(right)
            value = mp.fsum(x * W[i, k] * y for i, x in enumerate(left)
                            for k, y in enumerate(right)) / scale  # fmt: skip
            if not value - size * off > 1:
                return None
    return True


JUDGES = {
    "margin": margin,
    "margin-zero": margin_zero,
    "nuclear-rank": nuclear_rank,
    "least-norm": least_norm,
    "local-optimality": local_optimality,
}
