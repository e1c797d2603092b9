"""Claims about a point of softmax regression: a minimiser to so many digits, or stationary.

    L(x) = |softmax(A x) - b|^2 / 2 + |diag(w) A x|^2 / 2

With k = max_i max(|b_i|, |1 - b_i|), at most 1 for probabilities, the Hessian is at least
(min w_i^2 - k) sigma_min(A)^2 everywhere.  Where that is a positive l, the loss has one minimiser
x*, and |x - x*| <= |grad L(x)| / l.  The finder bounds rounding errors of float64; here everything
is evaluated anew in Arb balls of BITS bits, from the exact data.  A stored bound must follow, and
must not be looser than a float64 computation explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import digest, floats, number, positive, require, size, witness
from dsf.core.certificate import Scope, Strength
from dsf.core.printing import at_least, at_most
from dsf.solvers.regression.check.balls import (
    BITS,
    LOST,
    LOST_PER_TERM,
    MORE,
    Here,
    at,
    constant,
    gram,
    matrix,
    smallest_eigenvalue,
    within_reach,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class RegressionClaim(Claim):
    """A claim about x [d] for the data A [n d], b [n], w [n]."""

    scope, strength = Scope.OPERATOR, Strength.ENCLOSED
    reference = "deng2023; the constants are derived"
    A: np.ndarray = witness(floats(None, None))
    b: np.ndarray = witness(floats(None))
    w: np.ndarray = witness(floats(None))
    x: np.ndarray = witness(floats(None))
    gradient: float = witness(size)

    def point(self) -> str:
        """The sizes, a digest of all data, and the bound of the gradient."""
        n, d = self.A.shape
        code = digest((name, getattr(self, name)) for name in ("A", "b", "w", "x"))
        norm = f"|grad L(x)| <= {at_most(self.gradient, 6)}"
        return f"softmax regression with A [{n} {d}] (problem {code}): {norm}"

    def here(self) -> Here:
        """Gradient and Hessian at x; CertificateError unless the stored gradient follows."""
        n, d = self.A.shape
        require(n > 0 and d > 0, "A has no row or no column")
        require(within_reach(self.A), f"A with {n} rows and {d} columns is too large for a check")
        for name, wanted in (("b", n), ("w", n), ("x", d)):
            found = len(getattr(self, name))
            require(found == wanted, f"{name} has the length {found}, not {wanted}")
        here = at(self.A, self.b, self.w, self.x)
        follows(self.gradient, here.gradient, here.slack, "the bound of the gradient")
        return here


@dataclass(frozen=True, eq=False, kw_only=True)
class SoftmaxMinimiser(RegressionClaim, kind="softmax-minimiser"):
    """The loss is strongly convex with the modulus l, and |x - x*| <= |grad L(x)| / l."""

    upper: float = witness(size)
    modulus: float = witness(positive)

    @property
    def statement(self) -> str:
        return (
            f"{self.point()}, Hess L >= {at_least(self.modulus, 6)} everywhere, and the only "
            f"minimiser is at most {at_most(self.upper, 6)} away from x"
        )

    def check(self) -> None:
        import flint

        with flint.ctx.workprec(BITS):
            self.here()
            least = min(abs(float(y)) for y in self.w)
            excess = flint.arb(least) ** 2 - constant(self.b)
            require(bool(excess > 0), "w_i^2 is not above the constant that convexity needs")
            lowest, _ = smallest_eigenvalue(gram(matrix(self.A), [flint.arb(1)] * len(self.A)))
            require(bool(lowest > 0), "the rank of A may be below its number of columns")
            proved, told = (excess * lowest).lower(), flint.arb(self.modulus)
            require(bool(told <= proved), f"only the modulus {float(proved):.6g} follows")
            lost = (sum(self.A.shape) + MORE) * LOST_PER_TERM
            room = lost * (excess * float(np.sum(self.A**2)) + (1 + excess) * lowest)
            near = told >= proved * (1 - LOST) - room
            require(bool(near), f"the modulus is lower than {float(proved):.6g} for no reason")
            ratio = flint.arb(self.gradient) / told
            follows(self.upper, ratio, 0.0, "the bound of the distance")


@dataclass(frozen=True, eq=False, kw_only=True)
class SoftmaxStationary(RegressionClaim, kind="softmax-stationary"):
    """The gradient at x is small; no more is claimed than where the Hessian there begins."""

    lower: float = witness(number)
    upper: float = witness(number)

    @property
    def statement(self) -> str:
        interval = f"[{at_least(self.lower, 10)}, {at_most(self.upper, 10)}]"
        return f"{self.point()}, and the smallest eigenvalue of Hess L(x) lies in {interval}"

    def check(self) -> None:
        import flint

        require(self.lower <= self.upper, "the lower bound is above the upper one")
        with flint.ctx.workprec(BITS):
            here = self.here()
            low, high = smallest_eigenvalue(here.hessian)
            follows(self.upper, high, here.spread, "the upper bound")
            follows(-self.lower, -low, here.spread, "the lower bound, negated,")


def follows(stored: float, proved: Any, spread: float, what: str) -> None:
    """stored >= proved, and above it by no more than LOST of it and `spread`."""
    import flint

    x, least = flint.arb(stored), proved.upper()
    told = f"{what} is {stored:.17g}; the witnesses give {float(least):.17g}"
    require(bool(x >= least), told)
    require(bool(x - least <= abs(least) * LOST + spread), f"{told}, and it is looser than that")
