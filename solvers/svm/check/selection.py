"""Local optimality of a selection of tokens.

L <= |W_a| <= U and W_a is the projection of 0 on a convex set, so every W in it obeys
|W - W_a|^2 <= |W|^2 - |W_a|^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.reading import floats, integers, number, one_of, require, size, witness
from dsf.core.printing import at_most
from dsf.solvers.svm.check import balls as base
from dsf.solvers.svm.check.margin import ProblemClaim, fit, ordered

SHORTER = 1e-8  # relative: how much looser than its witness the norm without rivals may be told


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalOptimality(ProblemClaim, kind="local-optimality"):
    """No rival row can be active at the optimum; or without some of them the optimum is shorter.

    scores [M], one per key; W_without meets the rows `kept` and is of norm at most norm_without.
    """

    reference = "tarzanagh2023, locally optimal tokens"
    lower: float = witness(number)
    upper: float = witness(number)
    norm: str = witness(one_of("frobenius"))
    W: np.ndarray = witness(floats(None, None))
    lam: np.ndarray = witness(floats(None))
    scores: np.ndarray = witness(floats(None))
    W_without: np.ndarray | None = witness(floats(None, None), optional=True)
    kept: np.ndarray | None = witness(integers(None), optional=True)
    norm_without: float | None = witness(size, optional=True)

    @property
    def statement(self) -> str:
        verdict = "is locally optimal: no rival is active"
        if self.kept is not None and self.norm_without is not None:
            verdict = (
                f"is not locally optimal: without {len(self.plus) - len(self.kept)} rivals the "
                f"least norm is at most {at_most(self.norm_without, 10)}, so one of them is active"
            )
        return (
            f"{self.problem('scores')}, {int(np.sum(self.rivals()))} of them by rivals that score "
            f"at least as high as the chosen token: the selection {verdict}"
        )

    def rivals(self) -> np.ndarray:
        """Rows [N] whose token scores at least as high as the chosen one."""
        fit(self.scores, len(self.rows().keys))
        return np.asarray(self.scores[self.minus] >= self.scores[self.plus])

    def check(self) -> None:
        import flint

        rows, W = self.rows(), self.W
        fit(W, *rows.shape)
        fit(self.lam, rows.size)
        ordered(self.lower, self.upper)
        _is_a_selection(rows)
        given = [x is not None for x in (self.W_without, self.kept, self.norm_without)]
        require(len(set(given)) == 1, "W_without, kept and norm_without belong together")
        with flint.ctx.workprec(base.BITS):
            low, spread = base.primal(rows, W, "frobenius", None)
            base.reproduce(self.lower, low, spread, -1, "lower bound")
            high, spread = base.dual(rows, self.lam, "frobenius", None)
            base.reproduce(self.upper, high, spread, +1, "upper bound")
            if given[0]:
                self._shorter_without(rows, 1 / high)
            else:
                _inactive(rows, W, self.rivals(), 1 / high)

    def _shorter_without(self, rows: base.Rows, least: Any) -> None:
        assert self.W_without is not None and self.kept is not None  # as `check` has seen
        kept, W, stored = self.kept, self.W_without, self.norm_without or 0.0
        fit(W, *rows.shape)
        require(len(set(kept.tolist())) == len(kept), "a row occurs twice among the kept ones")
        require(bool(np.all((kept >= 0) & (kept < rows.size))), "no such row")
        dropped = np.setdiff1d(np.arange(rows.size), kept)
        only_rivals = len(dropped) > 0 and bool(np.all(self.rivals()[dropped]))
        require(only_rivals, "a row that is left out is no rival")
        if len(kept) == 0:  # W = 0 meets no constraint at all, and is shorter
            require(stored == 0.0 and not W.any(), "without any row W must be 0")
            return
        proved, _ = base.primal(rows.part(kept), W, "frobenius", None)
        base.reproduce(stored, 1 / proved, SHORTER * stored, +1, "the norm without these rivals")
        require(bool(stored < least), "without these rivals the optimum is not shorter")


def _is_a_selection(rows: base.Rows) -> None:
    """(x_{i,a_i} - x_{it})' W z_i >= 1 for every sample i, its token a_i and all others t."""
    n, T = len(rows.queries), len(rows.keys) // len(rows.queries)
    require(len(rows.keys) == n * T, "every sample must have the same number of tokens")
    require(rows.size == n * (T - 1), "a selection needs one row per token that is not chosen")
    chosen = rows.plus.reshape(n, T - 1)[:, 0] - T * np.arange(n)
    sample, token = np.nonzero(np.arange(T) != chosen[:, None])
    require(
        len(sample) == rows.size
        and np.array_equal(rows.query, sample)
        and np.array_equal(rows.plus, sample * T + chosen[sample])
        and np.array_equal(rows.minus, sample * T + token),
        "the rows do not compare one chosen token per sample with all others",
    )
    plain = np.all(rows.bound == 1.0) and not np.any(rows.equality)
    require(bool(plain), "the rows of a selection must be inequalities with the bound 1")


def _inactive(rows: base.Rows, W: np.ndarray, rival: np.ndarray, least: Any) -> None:
    """<A_j, W_a> >= <A_j, W> - |A_j| |W - W_a| > 1 for every rival j, with W made feasible."""
    m, _ = base.margins(rows, W)
    scale = m[0].lower()
    for x in m[1:]:  # exact numbers: floats may tie where these differ
        if x.lower() < scale:
            scale = x.lower()
    length = base.frobenius(base.matrix(W)) / scale
    off = (length * length - least * least).upper()
    require(bool(scale > 0) and bool(off >= 0), "W is not feasible")
    size = base.lengths(rows)
    for j in np.flatnonzero(rival):
        safe = m[j] / scale - size[j] * off.sqrt() > 1
        require(bool(safe), f"the rival of row {j} may be active")
