"""Proof of infeasibility: a Gordan vector in exact rationals.

    u >= 0 (free on equalities), u != 0 where b > 0, sum_j u_j A_j = 0   =>   no W has all
    <A_j, W> >= b_j, because sum_j u_j <A_j, W> would be both positive and 0.

A float u with a tiny residual proves a tiny margin only.  Here the rows of its support are taken as
the rationals that floats are, and the null space is solved exactly; the free coordinates keep their
float values.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from dsf.solvers.svm.problem import Array, MarginProblem

LARGEST = 256  # rows of the support: exact elimination is cubic with growing integers (10 s there)


def gordan_vector(problem: MarginProblem, u: Array) -> tuple[Array, list[int]] | None:
    """(rows [s], integers [s]) with sum_j integer_j A_j = 0 exactly, started from a float u [N].

    None if the null space of the rows of the support of u holds no such vector near u.
    """
    import flint

    support = np.flatnonzero((u > 0.0) | problem.equality)
    if not 0 < len(support) <= LARGEST or not np.all(np.isfinite(u)):
        return None
    columns = integer_rows(problem, support)
    R, den, rank = flint.fmpz_mat(columns).transpose().rref()
    s = len(support)
    if rank == s:
        return None
    pivots = [next(j for j in range(s) if R[i, j] != 0) for i in range(rank)]
    free = sorted(set(range(s)) - set(pivots))
    exact: list[Any] = [flint.fmpq(0)] * s
    for j in free:
        exact[j] = flint.fmpq(*float(u[support[j]]).as_integer_ratio())
    for i, pivot in enumerate(pivots):
        exact[pivot] = -sum((R[i, j] * exact[j] for j in free), flint.fmpq(0)) / den
    whole = _cleared(exact)
    free_sign = problem.equality[support]
    if not all(x >= 0 or f for x, f in zip(whole, free_sign, strict=True)):
        return None
    if not any(x > 0 and problem.bound[j] > 0.0 for x, j in zip(whole, support, strict=True)):
        return None
    kept = [i for i, x in enumerate(whole) if x != 0]
    return support[kept], [whole[i] for i in kept]


def integer_rows(problem: MarginProblem, support: Array) -> list[list[int]]:
    """The rows A_j times a common power of two that makes all their entries integers."""
    keys, queries = _integers(problem.keys), _integers(problem.queries)
    out = []
    for j in support:
        left = keys[problem.plus[j]]
        if problem.minus[j] >= 0:
            left = [a - b for a, b in zip(left, keys[problem.minus[j]], strict=True)]
        out.append([a * b for a in left for b in queries[problem.query[j]]])
    return out


def _integers(A: Array) -> list[list[int]]:
    ratios = [[float(x).as_integer_ratio() for x in row] for row in A]
    common = max((den for row in ratios for _, den in row), default=1)  # all are powers of two
    return [[num * (common // den) for num, den in row] for row in ratios]


def _cleared(values: list[Any]) -> list[int]:
    """Rationals times their common denominator, divided by their common factor."""
    common = 1
    for x in values:
        common = common * int(x.q) // gcd(common, int(x.q))
    whole = [int(x.p) * (common // int(x.q)) for x in values]
    factor = gcd(*whole) or 1
    return [x // factor for x in whole]
