"""Checkers for margin problems: bounds of the best margin, infeasibility, rank, least norm.

    rows    A_j = (key[plus_j] - key[minus_j]) query[query_j]',   minus = -1: the zero vector
    margin  g* = max { min_{b_j > 0} <A_j, W>/b_j : |W| <= 1, <A_j, W> >= 0 where b_j = 0,
                       <A_j, W> = 0 where equality_j }

For any W that meets the rows with b_j = 0, and any lam (>= 0 but on equalities),

    min_j <A_j, W> / (b_j |W|)  <=  g*  <=  |sum_j lam_j A_j|' / b'lam,

so the two witnesses prove the interval whoever found them.  The finders bound rounding errors of
float64; here everything is evaluated anew in Arb balls of BITS bits, from the exact data.  A stored
bound must follow, and must not be looser than a float64 computation explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.claims.witnesses import digest, finite, floats, integers, whole
from dsf.core.certificate import Certificate, Strength
from dsf.core.errors import CertificateError
from dsf.core.printing import at_least, at_most, exactly
from dsf.solvers.svm.check.balls import (
    ARRAYS,
    BITS,
    ZERO,
    bounds,
    combination,
    common,
    distance,
    dual,
    frobenius,
    margins,
    matrix,
    norm_of,
    primal,
    reproduce,
    require,
    singular_bounds,
)

NAMES = {"frobenius": "Frobenius", "nuclear": "nuclear", "entrywise": "entrywise"}


# ------------------------------------------------------------------ sentences
def margin_sentence(w: Mapping[str, Any], lower: float, upper: float) -> str:
    """The claim of two-sided bounds of the best margin."""
    return f"{_norm(w)}, {problem(w)}: the best margin g* lies in {_interval(lower, upper)}" + (
        "" if lower > 0.0 else "; whether it is 0 (infeasible) is undecided"
    )


def zero_sentence(w: Mapping[str, Any]) -> str:
    """The claim that no W meets the constraints."""
    return f"{problem(w)}: no W satisfies them, g* = 0 in every norm"


def rank_sentence(w: Mapping[str, Any], k: int, tail: float) -> str:
    """The claim about the rank of the solutions."""
    return (
        f"nuclear norm, {problem(w)}: in every W of least norm the singular values after the "
        f"first {k} add up to at most {at_most(tail, 3)}"
    )


def least_norm_sentence(w: Mapping[str, Any], lower: float, upper: float) -> str:
    """The claim of two-sided bounds of the least norm under equalities."""
    return f"{problem(w, 'target')}: the least Frobenius norm lies in {_interval(lower, upper)}"


def problem(w: Mapping[str, Any], *more: str) -> str:
    """The number of rows, and a digest of all data including the arrays `more`."""
    code = digest((name, w[name]) for name in (*ARRAYS, *more))
    return f"{len(w['plus'])} constraints (problem {code})"


def _norm(w: Mapping[str, Any]) -> str:
    norm, p = norm_of(w)
    return f"{NAMES[norm]} norm" if p is None else f"{NAMES[norm]} {exactly(p)}-norm"


def _interval(lower: float, upper: float) -> str:
    return f"[{at_least(lower, 10)}, {at_most(upper, 10)}]"


# ------------------------------------------------------------------- checkers
def margin(c: Certificate) -> None:
    """Both bounds of the best margin follow from W and lam."""
    import flint

    w, rows = common(c, Strength.ENCLOSED, "norm", "lam")
    lower, upper = bounds(c)
    with flint.ctx.workprec(BITS):
        if "W" in w:
            low, spread = primal(rows, floats(w, "W", *rows.shape), *norm_of(w))
            reproduce(lower, low, spread, -1, "lower bound")
        else:
            require(lower == 0.0, "without a primal witness the lower bound is 0")
        high, spread = dual(rows, floats(w, "lam", rows.size), *norm_of(w))
        reproduce(upper, high, spread, +1, "upper bound")
    require(c.claim == margin_sentence(w, lower, upper), "the claim says something else")


def zero(c: Certificate) -> None:
    """A Gordan vector of integers, multiplied out exactly."""
    w, rows = common(c, Strength.EXACT, "rows", "gordan")
    support = integers(w, "rows", None)
    require(type(w["gordan"]) is list, "the Gordan vector must be a list")
    try:
        weights = [int(str(x), 16) for x in w["gordan"]]
    except ValueError as e:
        raise CertificateError("margin: the Gordan vector must hold hexadecimal integers") from e
    require(len(weights) == len(support) > 0, "one integer per row of the support is needed")
    require(len(set(support.tolist())) == len(support), "a row occurs twice")
    require(0 <= support.min() and support.max() < rows.size, "no such row")
    total: dict[tuple[int, int], Any] = {}
    positive = False
    for j, weight in zip(support, weights, strict=True):
        require(weight >= 0 or bool(rows.equality[j]), f"row {j} has a negative weight")
        positive |= weight > 0 and rows.bound[j] > 0.0
        left, right = rows.exact(int(j))
        for a, x in enumerate(left):
            for b, y in enumerate(right):
                total[a, b] = total.get((a, b), 0) + weight * x * y
    require(positive, "no row with a positive right-hand side takes part")
    require(not any(total.values()), "the combination of the rows is not zero")
    require(bounds(c) == (0.0, 0.0), "infeasible means g* = 0")
    require(c.claim == zero_sentence(w), "the claim says something else")


def nuclear_rank(c: Certificate) -> None:
    """Every optimal W has sum_{i > k} sigma_i(W) <= (U - L)/(1 - sigma_{k+1}(G)), sigma_1(G) = 1.

    L = b'lam/sigma_1(G) <= <G, W> <= sum_{i<=k} sigma_i(W) + sigma_{k+1}(G) sum_{i>k} sigma_i(W),
    by von Neumann's trace inequality, and |W|_* <= U.
    """
    import flint

    w, rows = common(c, Strength.ENCLOSED, "norm", "W", "lam", "k")
    require(norm_of(w) == ("nuclear", None), "the bound on the rank is about the nuclear norm")
    k, tail = whole(w, "k"), finite(c.upper, "the tail")
    require(0 < k <= min(rows.shape) and c.lower is None, "k is out of range")
    with flint.ctx.workprec(BITS):
        margin_low, _ = primal(rows, floats(w, "W", *rows.shape), "nuclear", None)
        G, weight, _ = combination(rows, floats(w, "lam", rows.size))
        sigma = singular_bounds(G)
        if k == min(rows.shape):
            proved = flint.arb(0)
        else:
            ratio = sigma[k] / sigma[0]
            require(bool(ratio < 1), f"sigma_{k + 1} is not separated from sigma_1")
            slack = (1 / margin_low - weight / sigma[0]).upper()  # U >= L: it is at least 0
            proved = slack / (1 - ratio)
        require(bool(proved.upper() <= flint.arb(tail)), f"only {float(proved):.3g} follows")
        looser = proved.upper() * 2 + 1e-9 / margin_low
        require(bool(flint.arb(tail) <= looser), "the tail is looser than its witnesses prove")
    require(c.claim == rank_sentence(w, k, tail), "the claim says something else")


def least_norm(c: Certificate) -> None:
    """min |W|_F under <A_j, W> = target_j: multipliers from below, W from above."""
    import flint

    w, rows = common(c, Strength.ENCLOSED, "target", "W", "lam")
    w["target"] = target = floats(w, "target", rows.size)
    W, lam = floats(w, "W", *rows.shape), floats(w, "lam", rows.size)
    require(bool(np.all(rows.equality)), "all rows must be equalities")
    lower, upper = bounds(c)
    with flint.ctx.workprec(BITS):
        m, size = margins(rows, W)
        miss = [abs(x - flint.arb(t)) for x, t in zip(m, target, strict=True)]
        off = distance(rows, miss)
        high = frobenius(matrix(W)) + off
        G, _, sizes = combination(rows, lam)
        value = sum((flint.arb(t) * flint.arb(x) for t, x in zip(target, lam, strict=True)), ZERO())
        norm = frobenius(G)
        low = value / norm if norm > 0 else flint.arb(0)
        spread = (
            2.0**-900 + 1e-9 * float(high) + 2.0**-40 * (float(np.max(size, initial=0.0)) + sizes)
        )
        reproduce(upper, high, spread, +1, "upper bound")
        reproduce(lower, low, spread, -1, "lower bound")
    require(c.claim == least_norm_sentence(w, lower, upper), "the claim says something else")
