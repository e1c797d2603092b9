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
    return (
        f"{len(w['plus'])} constraints (problem {digest(w)}, {int(np.sum(w['rival']))} rivals "
        "score at least as high as the chosen token): the selection "
        + ("is locally optimal, no rival is active" if answer else "is not locally optimal")
    )


def local_optimality(c: Certificate) -> None:
    """No rival row can be active at the optimum; or without some of them the optimum is shorter."""
    import flint

    w = base.common(c, Strength.ENCLOSED)
    rows = base.Rows.read(w)
    rival = np.asarray(w["rival"])
    base.require(rival.shape == (rows.size,) and rival.dtype == np.bool_, "rival must be bool [N]")
    base.require(w.get("norm") == "frobenius", "local optimality is about the Frobenius norm")
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
    kept = np.asarray(w["kept"], dtype=np.int64)
    base.require(len(set(kept.tolist())) == len(kept), "a row occurs twice among the kept ones")
    base.require(bool(np.all((kept >= 0) & (kept < rows.size))), "no such row")
    dropped = np.setdiff1d(np.arange(rows.size), kept)
    base.require(len(dropped) > 0 and bool(np.all(rival[dropped])), "a row that is no rival is out")
    if len(kept) == 0:
        return  # W = 0 meets no constraint at all, and is shorter
    part = base.Rows(
        rows.keys, rows.queries, *(getattr(rows, name)[kept] for name in base.ARRAYS[2:])
    )
    W = base.array(w, "W_without", rows.shape)
    proved, _ = base.primal(part, W, "frobenius", None)
    base.require(bool(1 / proved < least), "without these rivals the optimum is not shorter")
