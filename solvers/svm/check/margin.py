"""Claims about margin problems: bounds of the best margin, infeasibility, rank, least norm.

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

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import (
    digest,
    flags,
    floats,
    integers,
    many,
    number,
    one_of,
    require,
    size,
    table,
    text,
    whole,
    witness,
)
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, at_most, exactly
from dsf.solvers.svm.check.balls import (
    ARRAYS,
    BITS,
    LOST,
    NORMS,
    ZERO,
    Rows,
    combination,
    distance,
    dual,
    frobenius,
    margins,
    matrix,
    primal,
    reproduce,
    singular_bounds,
    upper_norm,
)

NAMES = {"frobenius": "Frobenius", "nuclear": "nuclear", "entrywise": "entrywise"}
# how far residuals may be from those of the witnesses: absolute, for they cancel, and relative
RESIDUAL, RESIDUAL_RELATIVE = 1e-9, 1e-6
# what float64 may lose of the least norm, beside LOST: of the moduli, and by underflow
LOST_OF_SUMS, UNDERFLOW = 2.0**-40, 2.0**-900
_HEXADECIMAL = re.compile(r"-?0x[0-9a-f]+")


@dataclass(frozen=True, eq=False, kw_only=True)
class ProblemClaim(Claim):
    """A claim about the rows of a margin problem."""

    scope, strength = Scope.OPERATOR, Strength.ENCLOSED
    keys: np.ndarray = witness(floats(None, None))
    queries: np.ndarray = witness(floats(None, None))
    plus: np.ndarray = witness(integers(None))
    minus: np.ndarray = witness(integers(None))
    query: np.ndarray = witness(integers(None))
    bound: np.ndarray = witness(floats(None))
    equality: np.ndarray = witness(flags(None))

    def rows(self) -> Rows:
        """The data of the problem, checked for consistency."""
        return Rows.consistent(*(getattr(self, name) for name in ARRAYS))

    def problem(self, *more: str) -> str:
        """The number of rows, and a digest of all data including the arrays `more`."""
        code = digest((name, getattr(self, name)) for name in (*ARRAYS, *more))
        return f"{len(self.plus)} constraints (problem {code})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Margin(ProblemClaim, kind="margin"):
    """Both bounds of the best margin follow from W and lam."""

    lower: float = witness(number)
    upper: float = witness(number)
    norm: str = witness(one_of(*NORMS))
    p: float | None = witness(number, optional=True)
    W: np.ndarray | None = witness(floats(None, None), optional=True)
    lam: np.ndarray = witness(floats(None))
    residuals: Mapping[str, float] = witness(table(number))

    @property
    def statement(self) -> str:
        norm = NAMES[self.norm]
        norm = f"{norm} norm" if self.p is None else f"{norm} {exactly(self.p)}-norm"
        undecided = "" if self.lower > 0.0 else "; whether it is 0 (infeasible) is undecided"
        interval = _interval(self.lower, self.upper)
        return f"{norm}, {self.problem()}: the best margin g* lies in {interval}{undecided}"

    def check(self) -> None:
        import flint

        rows = self.rows()
        ordered(self.lower, self.upper)
        fits = self.p is None if self.norm != "entrywise" else (self.p or 0.0) > 1.0
        require(fits, "the entrywise norm, and no other, needs an exponent in (1, inf)")
        fit(self.lam, rows.size)
        with flint.ctx.workprec(BITS):
            if self.W is not None:
                fit(self.W, *rows.shape)
                low, spread = primal(rows, self.W, self.norm, self.p)
                reproduce(self.lower, low, spread, -1, "lower bound")
                self._check_residuals(rows, self.W)
            else:
                require(self.lower == 0.0, "without a primal witness the lower bound must be 0")
                require(not self.residuals, "without a primal witness nothing has residuals")
            high, spread = dual(rows, self.lam, self.norm, self.p)
            reproduce(self.upper, high, spread, +1, "upper bound")

    def _check_residuals(self, rows: Rows, W: np.ndarray) -> None:
        """How the gap splits: weight on rows that W exceeds, and the angle of W and G."""
        import flint

        if not self.residuals:
            return
        m, _ = margins(rows, W)
        inner = sum((flint.arb(x) * e for x, e in zip(self.lam.tolist(), m, strict=True)), ZERO())
        _, weight, _ = combination(rows, self.lam)
        asked = np.flatnonzero(rows.bound > 0.0)
        least = min(float(m[j] / flint.arb(float(rows.bound[j]))) for j in asked)
        length = upper_norm(W, self.norm, self.p)
        found = {
            "complementarity": max(0.0, float(1 - least * weight / inner)),
            "stationarity": max(0.0, float(1 - inner / (weight * flint.arb(self.upper) * length))),
        }
        require(self.residuals.keys() == found.keys(), f"the residuals must be {', '.join(found)}")
        for name, value in found.items():
            near = abs(self.residuals[name] - value) <= RESIDUAL + RESIDUAL_RELATIVE * value
            require(near, f"residual {name} is {value:.6g}, not {self.residuals[name]:.6g}")


@dataclass(frozen=True, eq=False, kw_only=True)
class MarginZero(ProblemClaim, kind="margin-zero"):
    """No W meets the constraints: a Gordan vector of integers, multiplied out exactly."""

    strength = Strength.EXACT
    lower, upper = 0.0, 0.0
    support: np.ndarray = witness(integers(None))
    gordan: tuple[str, ...] = witness(many(text))

    @property
    def statement(self) -> str:
        return f"{self.problem()}: no W satisfies them, g* = 0 in every norm"

    def check(self) -> None:
        rows, support = self.rows(), self.support
        written = all(_HEXADECIMAL.fullmatch(x) for x in self.gordan)
        require(written, "the Gordan vector must hold hexadecimal integers")
        weights = [int(x, 16) for x in self.gordan]
        fits = len(weights) == len(support) > 0
        require(fits, "one integer per row of the support is needed")
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


@dataclass(frozen=True, eq=False, kw_only=True)
class NuclearRank(ProblemClaim, kind="nuclear-rank"):
    """Every optimal W has sum_{i > k} sigma_i(W) <= (U - L)/(1 - sigma_{k+1}(G)), sigma_1(G) = 1.

    L = b'lam/sigma_1(G) <= <G, W> <= sum_{i<=k} sigma_i(W) + sigma_{k+1}(G) sum_{i>k} sigma_i(W),
    by von Neumann's trace inequality, and |W|_* <= U.
    """

    upper: float = witness(size)
    norm: str = witness(one_of("nuclear"))
    W: np.ndarray = witness(floats(None, None))
    lam: np.ndarray = witness(floats(None))
    k: int = witness(whole)

    @property
    def statement(self) -> str:
        return (
            f"nuclear norm, {self.problem()}: in every W of least norm the singular values after "
            f"the first {self.k} add up to at most {at_most(self.upper, 3)}"
        )

    def check(self) -> None:
        import flint

        rows, k, tail = self.rows(), self.k, flint.arb(self.upper)
        require(0 < k <= min(rows.shape), "k is out of range")
        fit(self.W, *rows.shape)
        fit(self.lam, rows.size)
        with flint.ctx.workprec(BITS):
            margin_low, _ = primal(rows, self.W, "nuclear", None)
            G, weight, _ = combination(rows, self.lam)
            sigma = singular_bounds(G)
            if k == min(rows.shape):
                proved = flint.arb(0)
            else:
                ratio = sigma[k] / sigma[0]
                require(bool(ratio < 1), f"sigma_{k + 1} is not separated from sigma_1")
                slack = (1 / margin_low - weight / sigma[0]).upper()  # U >= L: it is at least 0
                proved = slack / (1 - ratio)
            require(bool(proved.upper() <= tail), f"only {float(proved):.3g} follows")
            looser = proved.upper() * 2 + LOST / margin_low
            require(bool(tail <= looser), "the tail is looser than its witnesses prove")


@dataclass(frozen=True, eq=False, kw_only=True)
class LeastNorm(ProblemClaim, kind="least-norm"):
    """min |W|_F under <A_j, W> = target_j: multipliers from below, W from above."""

    lower: float = witness(number)
    upper: float = witness(number)
    target: np.ndarray = witness(floats(None))
    W: np.ndarray = witness(floats(None, None))
    lam: np.ndarray = witness(floats(None))

    @property
    def statement(self) -> str:
        interval = _interval(self.lower, self.upper)
        return f"{self.problem('target')}: the least Frobenius norm lies in {interval}"

    def check(self) -> None:
        import flint

        rows, target, W, lam = self.rows(), self.target, self.W, self.lam
        ordered(self.lower, self.upper)
        fit(target, rows.size)
        fit(W, *rows.shape)
        fit(lam, rows.size)
        require(bool(np.all(rows.equality)), "all rows must be equalities")
        with flint.ctx.workprec(BITS):
            m, size = margins(rows, W)
            miss = [abs(x - flint.arb(t)) for x, t in zip(m, target, strict=True)]
            off = distance(rows, miss)
            high = frobenius(matrix(W)) + off
            G, _, sizes = combination(rows, lam)
            products = (flint.arb(t) * flint.arb(x) for t, x in zip(target, lam, strict=True))
            value, norm = sum(products, ZERO()), frobenius(G)
            low = value / norm if norm > 0 else flint.arb(0)
            moduli = float(np.max(size, initial=0.0)) + sizes
            spread = UNDERFLOW + LOST * float(high) + LOST_OF_SUMS * moduli
            reproduce(self.upper, high, spread, +1, "upper bound")
            reproduce(self.lower, low, spread, -1, "lower bound")


def ordered(lower: float, upper: float) -> None:
    """The bounds are in order."""
    require(lower <= upper, "the lower bound is above the upper one")


def fit(x: np.ndarray, *shape: int) -> None:
    """A witness has the shape that the problem asks for."""
    require(x.shape == shape, f"a witness has the shape {list(x.shape)}, not {list(shape)}")


def _interval(lower: float, upper: float) -> str:
    return f"[{at_least(lower, 10)}, {at_most(upper, 10)}]"
