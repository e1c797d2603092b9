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

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.certificate import Certificate, Strength
from dsf.check._balls import (
    ARRAYS,
    BITS,
    ZERO,
    Rows,
    array,
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
from dsf.errors import CertificateError

NAMES = {"frobenius": "Frobenius", "nuclear": "nuclear", "entrywise": "entrywise"}


# ------------------------------------------------------------------ sentences
def digest(w: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that identify the data of a problem."""
    code = hashlib.sha256()
    for name in (*ARRAYS, *(("scores",) if "scores" in w else ())):
        array = np.ascontiguousarray(w[name])
        code.update(f"{name}{array.dtype.str}{array.shape}".encode())
        code.update(array.tobytes())
    return code.hexdigest()[:12]


def margin_sentence(w: Mapping[str, Any], lower: float, upper: float) -> str:
    """The claim of two-sided bounds of the best margin."""
    return f"{_norm(w)}, {_problem(w)}: the best margin g* lies in [{lower:.10g}, {upper:.10g}]" + (
        "" if lower > 0.0 else "; whether it is 0 (infeasible) is undecided"
    )


def zero_sentence(w: Mapping[str, Any]) -> str:
    """The claim that no W meets the constraints."""
    return f"{_problem(w)}: no W satisfies them, g* = 0 in every norm"


def rank_sentence(w: Mapping[str, Any], k: int, tail: float) -> str:
    """The claim about the rank of the solutions."""
    return (
        f"nuclear norm, {_problem(w)}: in every W of least norm the singular values after the "
        f"first {k} add up to at most {tail:.3g}"
    )


def least_norm_sentence(w: Mapping[str, Any], lower: float, upper: float) -> str:
    """The claim of two-sided bounds of the least norm under equalities."""
    return f"{_problem(w)}: the least Frobenius norm lies in [{lower:.10g}, {upper:.10g}]"


def _norm(w: Mapping[str, Any]) -> str:
    norm, p = norm_of(w)
    return f"{NAMES[norm]} norm" if p is None else f"{NAMES[norm]} {p:.6g}-norm"


def _problem(w: Mapping[str, Any]) -> str:
    return f"{len(w['plus'])} constraints (problem {digest(w)})"


# ------------------------------------------------------------------- checkers
def margin(c: Certificate) -> None:
    """Both bounds of the best margin follow from W and lam."""
    import flint

    w = common(c, Strength.ENCLOSED, "norm", "lam")
    rows = Rows.read(w)
    with flint.ctx.workprec(BITS):
        if c.lower is None or c.upper is None:
            raise CertificateError("a margin has two bounds")
        if "W" in w:
            low, spread = primal(rows, array(w, "W", rows.shape), *norm_of(w))
            reproduce(float(c.lower), low, spread, -1, "lower bound")
        else:
            require(c.lower == 0.0, "without a primal witness the lower bound is 0")
        high, spread = dual(rows, array(w, "lam", (rows.size,)), *norm_of(w))
        reproduce(float(c.upper), high, spread, +1, "upper bound")
    require(c.claim == margin_sentence(w, c.lower, c.upper), "the claim says something else")


def zero(c: Certificate) -> None:
    """A Gordan vector of integers, multiplied out exactly."""
    w = common(c, Strength.EXACT, "rows", "gordan")
    rows = Rows.read(w)
    support = np.asarray(w["rows"], dtype=np.int64)
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
    require(c.lower == 0.0 and c.upper == 0.0, "infeasible means g* = 0")
    require(c.claim == zero_sentence(w), "the claim says something else")


def nuclear_rank(c: Certificate) -> None:
    """Every optimal W has sum_{i > k} sigma_i(W) <= (U - L)/(1 - sigma_{k+1}(G)), sigma_1(G) = 1.

    L = b'lam/sigma_1(G) <= <G, W> <= sum_{i<=k} sigma_i(W) + sigma_{k+1}(G) sum_{i>k} sigma_i(W),
    by von Neumann's trace inequality, and |W|_* <= U.
    """
    import flint

    w = common(c, Strength.ENCLOSED, "norm", "W", "lam", "k")
    rows = Rows.read(w)
    require(w["norm"] == "nuclear", "the bound on the rank is about the nuclear norm")
    k, tail = int(w["k"]), float(c.upper if c.upper is not None else np.inf)
    require(0 < k <= min(rows.shape) and c.lower is None, "k is out of range")
    with flint.ctx.workprec(BITS):
        margin_low, _ = primal(rows, array(w, "W", rows.shape), "nuclear", None)
        G, weight, _ = combination(rows, array(w, "lam", (rows.size,)))
        bounds = singular_bounds(G)
        if k == min(rows.shape):
            proved = flint.arb(0)
        else:
            ratio = bounds[k] / bounds[0]
            require(bool(ratio < 1), f"sigma_{k + 1} is not separated from sigma_1")
            slack = 1 / margin_low - weight / bounds[0]
            proved = (slack if slack > 0 else flint.arb(0)) / (1 - ratio)
        require(bool(proved.upper() <= flint.arb(tail)), f"only {float(proved):.3g} follows")
        looser = proved.upper() * 2 + 1e-9 / margin_low
        require(bool(flint.arb(tail) <= looser), "the tail is looser than its witnesses prove")
    require(c.claim == rank_sentence(w, k, tail), "the claim says something else")


def least_norm(c: Certificate) -> None:
    """min |W|_F under <A_j, W> = target_j: multipliers from below, W from above."""
    import flint

    w = common(c, Strength.ENCLOSED, "target", "W", "lam")
    rows = Rows.read(w)
    target = array(w, "target", (rows.size,))
    require(bool(np.all(rows.equality)), "all rows must be equalities")
    require(c.lower is not None and c.upper is not None, "a least norm has two bounds")
    with flint.ctx.workprec(BITS):
        W = array(w, "W", rows.shape)
        m, size = margins(rows, W)
        miss = [abs(x - flint.arb(t)) for x, t in zip(m, target, strict=True)]
        off = distance(rows, miss)
        high = frobenius(matrix(W)) + off
        G, _, sizes = combination(rows, array(w, "lam", (rows.size,)))
        lam = array(w, "lam", (rows.size,))
        value = sum((flint.arb(t) * flint.arb(x) for t, x in zip(target, lam, strict=True)), ZERO())
        norm = frobenius(G)
        low = value / norm if norm > 0 else flint.arb(0)
        spread = (
            2.0**-900 + 1e-9 * float(high) + 2.0**-40 * (float(np.max(size, initial=0.0)) + sizes)
        )
        reproduce(float(c.upper or 0.0), high, spread, +1, "upper bound")
        reproduce(float(c.lower or 0.0), low, spread, -1, "lower bound")
    require(
        c.claim == least_norm_sentence(w, float(c.lower or 0.0), float(c.upper or 0.0)),
        "the claim says something else",
    )
