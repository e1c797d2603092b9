"""Checker for local optimality of a selection of tokens.

L <= |W_a| <= U and W_a is the projection of 0 on a convex set, so every W in it obeys
|W - W_a|^2 <= |W|^2 - |W_a|^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.certificate import Certificate, Strength
from dsf.check import _balls as base
from dsf.check.margin import digest


def sentence(w: Mapping[str, Any], answer: bool) -> str:
    """The claim, whether the selection is locally optimal."""
    verdict = "is locally optimal: no rival is active"
    if not answer:
        out = len(w["plus"]) - len(w["kept"])
        verdict = (
            f"is not locally optimal: without {out} rivals the least norm is at most "
            f"{float(w['norm_without']):.10g}, so one of them is active"
        )
    return (
        f"{len(w['plus'])} constraints (problem {digest(w)}, {int(np.sum(rivals(w)))} rivals that "
        f"score at least as high as the chosen token): the selection {verdict}"
    )


def rivals(w: Mapping[str, Any]) -> np.ndarray:
    """Rows [N] whose token scores at least as high as the chosen one; scores [M], one per key."""
    return np.asarray(w["scores"][w["minus"]] >= w["scores"][w["plus"]])


def local_optimality(c: Certificate) -> None:
    """No rival row can be active at the optimum; or without some of them the optimum is shorter."""
    import flint

    w = base.common(c, Strength.ENCLOSED, "norm", "W", "lam", "scores")
    rows = base.Rows.read(w)
    base.array(w, "scores", (len(rows.keys),))
    base.require(bool(np.all(rows.minus >= 0)), "a row without a losing token")
    rival = rivals(w)
    base.require(w["norm"] == "frobenius", "local optimality is about the Frobenius norm")
    base.require(c.lower is not None and c.upper is not None, "the margin has two bounds")
    with flint.ctx.workprec(base.BITS):
        W = base.array(w, "W", rows.shape)
        low, spread = base.primal(rows, W, "frobenius", None)
        base.reproduce(float(c.lower or 0.0), low, spread, -1, "lower bound")
        high, spread = base.dual(rows, base.array(w, "lam", (rows.size,)), "frobenius", None)
        base.reproduce(float(c.upper or 0.0), high, spread, +1, "upper bound")
        if "W_without" in w:
            answer = False
            _shorter_without(rows, w, rival, 1 / high)
        else:
            answer = True
            _inactive(rows, W, rival, 1 / high)
    base.require(c.claim == sentence(w, answer), "the claim says something else")


def _inactive(rows: base.Rows, W: np.ndarray, rival: np.ndarray, least: Any) -> None:
    """<A_j, W_a> >= <A_j, W> - |A_j| |W - W_a| > b_j for every rival j, with W made feasible."""
    m, _ = base.margins(rows, W)
    ratios = [m[j] / float(rows.bound[j]) for j in range(rows.size)]
    scale = min((x.lower() for x in ratios), key=float)
    length = base.frobenius(base.matrix(W)) / scale
    off = (length * length - least * least).upper()
    off = off.sqrt() if off > 0 else off * 0
    sizes = np.linalg.norm(rows.left(), axis=1)
    sizes = sizes * np.linalg.norm(rows.queries[rows.query], axis=1) * (1 + 2.0**-40)
    for j in np.flatnonzero(rival):
        safe = m[j] / scale - float(sizes[j]) * off > float(rows.bound[j])
        base.require(bool(safe), f"the rival of row {j} may be active")


def _shorter_without(rows: base.Rows, w: Mapping[str, Any], rival: np.ndarray, least: Any) -> None:
    for name in ("kept", "norm_without"):
        base.require(name in w, f"the witness {name!r} is missing")
    kept = np.asarray(w["kept"], dtype=np.int64)
    base.require(len(set(kept.tolist())) == len(kept), "a row occurs twice among the kept ones")
    base.require(bool(np.all((kept >= 0) & (kept < rows.size))), "no such row")
    dropped = np.setdiff1d(np.arange(rows.size), kept)
    base.require(len(dropped) > 0 and bool(np.all(rival[dropped])), "a row that is no rival is out")
    stored = float(w["norm_without"])
    W = base.array(w, "W_without", rows.shape)
    if len(kept) == 0:  # W = 0 meets no constraint at all, and is shorter
        base.require(stored == 0.0 and not W.any(), "without any row W = 0")
        return
    part = base.Rows(
        rows.keys, rows.queries, *(getattr(rows, name)[kept] for name in base.ARRAYS[2:])
    )
    proved, _ = base.primal(part, W, "frobenius", None)
    base.reproduce(stored, 1 / proved, 1e-8 * stored, +1, "the norm without these rivals")
    base.require(bool(stored < least), "without these rivals the optimum is not shorter")
