"""Checker for local optimality of a selection of tokens.

L <= |W_a| <= U and W_a is the projection of 0 on a convex set, so every W in it obeys
|W - W_a|^2 <= |W|^2 - |W_a|^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.claims.witnesses import floats, integers, number
from dsf.core.certificate import Certificate, Strength
from dsf.core.printing import at_most
from dsf.solvers.svm.check import balls as base
from dsf.solvers.svm.check.margin import problem


def sentence(w: Mapping[str, Any], answer: bool) -> str:
    """The claim, whether the selection is locally optimal."""
    verdict = "is locally optimal: no rival is active"
    if not answer:
        out = len(w["plus"]) - len(w["kept"])
        verdict = (
            f"is not locally optimal: without {out} rivals the least norm is at most "
            f"{at_most(w['norm_without'], 10)}, so one of them is active"
        )
    return (
        f"{problem(w, 'scores')}, {int(np.sum(rivals(w)))} of them by rivals that score at least "
        f"as high as the chosen token: the selection {verdict}"
    )


def rivals(w: Mapping[str, Any]) -> np.ndarray:
    """Rows [N] whose token scores at least as high as the chosen one; scores [M], one per key."""
    return np.asarray(w["scores"][w["minus"]] >= w["scores"][w["plus"]])


def local_optimality(c: Certificate) -> None:
    """No rival row can be active at the optimum; or without some of them the optimum is shorter."""
    import flint

    w, rows = base.common(c, Strength.ENCLOSED, "norm", "W", "lam", "scores")
    w["scores"] = floats(w, "scores", len(rows.keys))
    _is_a_selection(rows)
    rival = rivals(w)
    base.require(w["norm"] == "frobenius", "local optimality is about the Frobenius norm")
    lower, upper = base.bounds(c)
    with flint.ctx.workprec(base.BITS):
        W = floats(w, "W", *rows.shape)
        low, spread = base.primal(rows, W, "frobenius", None)
        base.reproduce(lower, low, spread, -1, "lower bound")
        high, spread = base.dual(rows, floats(w, "lam", rows.size), "frobenius", None)
        base.reproduce(upper, high, spread, +1, "upper bound")
        if "W_without" in w:
            answer = False
            _shorter_without(rows, w, rival, 1 / high)
        else:
            answer = True
            _inactive(rows, W, rival, 1 / high)
    base.require(c.claim == sentence(w, answer), "the claim says something else")


def _is_a_selection(rows: base.Rows) -> None:
    """(x_{i,a_i} - x_{it})' W z_i >= 1 for every sample i, its token a_i and all others t."""
    n, T = len(rows.queries), len(rows.keys) // len(rows.queries)
    base.require(len(rows.keys) == n * T, "every sample has the same number of tokens")
    base.require(rows.size == n * (T - 1), "a selection has one row per token that is not chosen")
    chosen = rows.plus.reshape(n, T - 1)[:, 0] - T * np.arange(n)
    sample, token = np.nonzero(np.arange(T) != chosen[:, None])
    base.require(
        len(sample) == rows.size
        and np.array_equal(rows.query, sample)
        and np.array_equal(rows.plus, sample * T + chosen[sample])
        and np.array_equal(rows.minus, sample * T + token),
        "the rows do not compare one chosen token per sample with all others",
    )
    plain = np.all(rows.bound == 1.0) and not np.any(rows.equality)
    base.require(bool(plain), "the rows of a selection are inequalities with the bound 1")


def _inactive(rows: base.Rows, W: np.ndarray, rival: np.ndarray, least: Any) -> None:
    """<A_j, W_a> >= <A_j, W> - |A_j| |W - W_a| > 1 for every rival j, with W made feasible."""
    m, _ = base.margins(rows, W)
    scale = m[0].lower()
    for x in m[1:]:  # exact numbers: floats may tie where these differ
        if x.lower() < scale:
            scale = x.lower()
    length = base.frobenius(base.matrix(W)) / scale
    off = (length * length - least * least).upper()
    base.require(bool(scale > 0) and bool(off >= 0), "W is not feasible")
    size = base.lengths(rows)
    for j in np.flatnonzero(rival):
        safe = m[j] / scale - size[j] * off.sqrt() > 1
        base.require(bool(safe), f"the rival of row {j} may be active")


def _shorter_without(rows: base.Rows, w: Mapping[str, Any], rival: np.ndarray, least: Any) -> None:
    kept, stored = integers(w, "kept", None), number(w, "norm_without")
    base.require(len(set(kept.tolist())) == len(kept), "a row occurs twice among the kept ones")
    base.require(bool(np.all((kept >= 0) & (kept < rows.size))), "no such row")
    dropped = np.setdiff1d(np.arange(rows.size), kept)
    base.require(
        len(dropped) > 0 and bool(np.all(rival[dropped])), "a row that is no rival was left out"
    )
    W = floats(w, "W_without", *rows.shape)
    if len(kept) == 0:  # W = 0 meets no constraint at all, and is shorter
        base.require(stored == 0.0 and not W.any(), "without any row W = 0")
        return
    proved, _ = base.primal(rows.part(kept), W, "frobenius", None)
    base.reproduce(stored, 1 / proved, 1e-8 * stored, +1, "the norm without these rivals")
    base.require(bool(stored < least), "without these rivals the optimum is not shorter")
