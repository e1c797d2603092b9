"""Softmax regression by Newton's method, with a certificate of what was found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dsf.core.certificate import Certificate
from dsf.core.errors import (
    DomainError,
    EmptyProblemError,
    IllConditionedError,
    NotConvergedError,
    ShapeError,
)
from dsf.core.printing import at_least, at_most
from dsf.solvers.intake import count, number, reals
from dsf.solvers.regression.check.balls import within_reach
from dsf.solvers.regression.check.optimum import SoftmaxMinimiser, SoftmaxStationary
from dsf.solvers.regression.formulas import (
    Array,
    Point,
    gram,
    hessian,
    hessian_times,
    point,
    reach,
)
from dsf.states.rounding import DOWN, UP

DENSE = 2000  # the largest d at which the Hessian is formed
UNIT = 2.0**-53
INNER = 500  # products with the Hessian per Newton step, above DENSE


@dataclass(frozen=True)
class RegressionBounds:
    """What is known of the answer.

    kind                 "minimiser": the loss is strongly convex on the whole space;
                         "stationary": the gradient is small, and no more is claimed
    gradient             at least |grad L(x)|: the rounding is bounded a priori, for an exp right
                         to four units and without underflow
    modulus              l with Hess L >= l everywhere, where proved; else 0
    distance             |x - x*| <= gradient / modulus; infinite where the modulus is 0
    smallest_eigenvalue  interval for the smallest eigenvalue of the Hessian at x; above d = 2000 f
                         counts as computed
    how                  where the interval comes from
    """

    kind: str
    gradient: float
    modulus: float
    distance: float
    smallest_eigenvalue: tuple[float, float]
    how: str

    def __str__(self) -> str:
        low, high = self.smallest_eigenvalue
        first = f"{self.kind}: |gradient| <= {at_most(self.gradient, 3)}"
        if self.kind == "minimiser":
            first += (
                f", |x - x*| <= {at_most(self.distance, 3)} "
                f"(Hessian >= {at_least(self.modulus, 3)} everywhere)"
            )
        interval = f"[{at_least(low, 6)}, {at_most(high, 6)}]"
        return f"{first}\nsmallest eigenvalue at x in {interval}: {self.how}"


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """x [d] for A [n d], b [n], weights [n]: the value of the loss there, the norm of its gradient,
    the steps taken, and what is known of x."""

    A: Array
    b: Array
    weights: Array
    x: Array
    value: float
    gradient_norm: float
    iterations: int
    bounds: RegressionBounds

    @cached_property
    def certificate(self) -> Certificate | None:
        """The bounds as a claim that is checked in ball arithmetic, with a copy of the data.

        None where a check would take too long: with more than 2^20 entries of A, or more than 2^26
        products in A'A.
        """
        if not within_reach(self.A):
            return None
        data = {"A": self.A, "b": self.b, "w": self.weights, "x": self.x}
        gradient = self.bounds.gradient
        if self.bounds.kind == "minimiser":
            modulus, upper = self.bounds.modulus, self.bounds.distance
            claim = SoftmaxMinimiser(**data, gradient=gradient, modulus=modulus, upper=upper)
            return claim.certificate()
        low, high = self.bounds.smallest_eigenvalue
        return SoftmaxStationary(**data, gradient=gradient, lower=low, upper=high).certificate()

    def check(self) -> bool:
        """Recompute the certificate; True, or CertificateError.  Raises DomainError if none."""
        if self.certificate is None:
            raise DomainError(
                f"softmax_regression: A {list(self.A.shape)} is too large for a check in ball "
                "arithmetic (at most 2^20 entries, and 2^26 products in A'A). `bounds` holds what "
                "float64 gives; for a certificate take fewer rows."
            )
        return self.certificate.check()


def softmax_regression(
    A: Any,
    b: Any,
    weights: Any = None,
    *,
    start: Any = None,
    tolerance: float = 1e-9,
    max_iterations: int = 200,
) -> SoftmaxRegression:
    """A stationary point of |softmax(A x) - b|^2 / 2 + |diag(w) A x|^2 / 2, by Newton's method.

    A [n d] of rank d, b [n] (meant as probabilities, any reals do), weights w a number or [n]
    (None: 0), start [d] (None: 0).  Steps are cut until the loss falls; where the Hessian is not
    positive definite its eigenvalues count by size.  Up to d = 2000 the Hessian is formed, above
    it conjugate gradients multiply by it; memory is A's, a copy of it, and some vectors of n.
    Stops at |gradient| <= tolerance, or where rounding hides the rest of the gradient.

    With w_i^2 >= k + l / sigma_min(A)^2, k = max_i max(|b_i|, |1 - b_i|) (at most 1 for
    probabilities), the loss is strongly convex and `bounds` holds |x - x*| <= |gradient| / l.
    Otherwise x is stationary, which may be no minimum; it then holds the smallest eigenvalue of
    the Hessian.  `certificate` is that as a claim, which `check()` recomputes with enclosures.

    Raises ShapeError, DTypeError, NonFiniteError, EmptyProblemError (n or d is 0), DomainError
    (products overflow; a bad tolerance), IllConditionedError (rank below d in float64: x is not
    unique; above d = 2000 only n < d is seen), NotConvergedError.  Source: Deng, Li, Song 2023
    (arXiv 2304.10411).

    >>> s = softmax_regression(np.eye(2), [0.75, 0.25], weights=1.5)
    >>> s.bounds.kind, s.x.round(6), s.check()
    ('minimiser', array([ 0.049892, -0.049892]), True)
    """
    A, b, w, x = _checked(A, b, weights, start)
    w2 = w * w
    who = "softmax_regression"
    tolerance = number(who, "tolerance", tolerance, above=True)
    max_iterations = count(who, "max_iterations", max_iterations, 0)
    size, spectrum = _spectrum(A)
    here = point(A, b, w2, x)
    for iterations in range(max_iterations + 1):
        norm = float(np.linalg.norm(here.gradient))
        hidden = 8 * UNIT * size * float(np.linalg.norm(here.slope))
        if norm <= max(tolerance, hidden):
            bounds = _bounds(A, b, w2, here, size, spectrum)
            return SoftmaxRegression(A, b, w, here.x, here.value, norm, iterations, bounds)
        step = (_dense_step if A.shape[1] <= DENSE else _matrix_free_step)(A, b, w2, here)
        found = _search(A, b, w2, here, step) if iterations < max_iterations else None
        if found is None:
            break
        here = found
    raise NotConvergedError(
        f"{who}: |gradient| = {norm:.3g} after {iterations} steps, above the tolerance "
        f"{tolerance:.3g}. Likely cause: too few steps, or a loss so flat or steep that rounding "
        "hides its descent. Raise max_iterations or the tolerance, or scale A to norm about 1."
    )


def approximate_newton_step(A: Array, b: Array, w2: Array, x: Array) -> Array:
    """x - (A' W^2 A)^-1 grad L(x): Newton's step with B left out; A [n d], w2 = w^2 > 0 [n].

    For b in [0, 1]^n one step multiplies the distance to the minimiser, measured as |W A .|, by
    at most 5 / (4 min w^2), from any x.  Raises LinAlgError (numpy) where A' W^2 A is singular.

    >>> approximate_newton_step(np.eye(2), np.full(2, 0.5), np.ones(2), np.ones(2))
    array([0., 0.])
    """
    return x - np.linalg.solve(gram(A, w2), point(A, b, w2, x).gradient)


def _checked(A: Any, b: Any, weights: Any, start: Any) -> tuple[Array, Array, Array, Array]:
    who = "softmax_regression"
    A, b = reals(who, "A", A, 2), reals(who, "b", b, 1)
    n, d = A.shape
    if not n or not d:
        raise EmptyProblemError(f"{who}: A has shape {[n, d]}; it needs a row and a column")
    w = reals(who, "weights", np.atleast_1d(0.0 if weights is None else weights), 1)
    x = np.zeros(d) if start is None else reals(who, "start", start, 1)
    if len(b) != n or len(w) not in (1, n) or len(x) != d:
        raise ShapeError(
            f"{who}: A {[n, d]} needs b [{n}], weights a number or [{n}], start [{d}]; got b "
            f"[{len(b)}], weights [{len(w)}], start [{len(x)}]"
        )
    if n < d:
        raise IllConditionedError(
            f"{who}: A has {n} rows and {d} columns, so its rank is below d and x is not unique. "
            "Drop columns, or solve for coordinates in the row space of A."
        )
    with np.errstate(over="ignore"):
        largest = float(np.sum(np.square(b))) * float(np.max(np.abs(x), initial=1.0))
        largest *= float(np.linalg.norm(A)) ** 2 * max(1.0, float(np.max(np.square(w))))
    if not np.isfinite(largest):
        raise DomainError(f"{who}: products of A, b, weights and start overflow; scale them down")
    return A, b, np.broadcast_to(w, (n,)).copy(), x


def _spectrum(A: Array) -> tuple[float, float]:
    """(|A|_F, a lower bound of sigma_min(A)^2 or 0 where d is too large to have one)."""
    size = float(np.linalg.norm(A))
    n, d = A.shape
    if d > DENSE:
        return size, 0.0
    e = np.linalg.eigvalsh(gram(A, np.ones(n)))
    # less the rounding of the Gram matrix and that of eigvalsh
    lowest = float(e[0]) - (n + 10 * d + 2) * UNIT * size**2
    if lowest > 0:
        return size, lowest
    # the singular values where that is cheap, else the squares that lost half of the digits
    s = np.linalg.svd(A, compute_uv=False) if n * d <= 10**7 else np.sqrt(np.maximum(e, 0))[::-1]
    lost = max(n, d) * 2 * UNIT if n * d <= 10**7 else np.sqrt(10 * d * UNIT)
    if s[-1] <= lost * s[0]:
        raise IllConditionedError(
            "softmax_regression: A has a rank below its number of columns in float64, so x is not "
            "unique. Likely cause: repeated, zero or dependent columns. Drop them."
        )
    return size, 0.0


def _dense_step(A: Array, b: Array, w2: Array, here: Point) -> Array:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    H = hessian(A, b, w2, here.f)
    try:
        return -cho_solve(cho_factor(H), here.gradient)
    except LinAlgError:
        e, U = np.linalg.eigh(H)
        sizes = np.maximum(np.abs(e), 1e-8 * np.max(np.abs(e)))
        if not sizes[-1]:
            return -here.gradient
        return -U @ ((U.T @ here.gradient) / sizes)


def _matrix_free_step(A: Array, b: Array, w2: Array, here: Point) -> Array:
    """Conjugate gradients on H step = -gradient; stops at a direction of negative curvature."""
    step, r = np.zeros_like(here.x), -here.gradient
    p, rr = r, float(r @ r)
    goal = rr * min(0.25, np.sqrt(rr))  # |r| <= |g| min(1/2, |g|^(1/2)): faster than linear
    for _ in range(INNER):
        Hp = hessian_times(A, b, w2, here.f, p)
        bend = float(p @ Hp)
        if bend <= 1e-14 * float(p @ p):
            return step if step.any() else p
        step = step + (rr / bend) * p
        r = r - (rr / bend) * Hp
        old, rr = rr, float(r @ r)
        if rr <= goal:
            break
        p = r + (rr / old) * p
    return step


def _search(A: Array, b: Array, w2: Array, here: Point, step: Array) -> Point | None:
    """The first of step, step/2, ... that lowers the loss enough, or the gradient where rounding
    hides the loss; None where there is none."""
    slope = float(here.gradient @ step)
    norm = np.linalg.norm(here.gradient)
    t = min(1.0, 1e100 / (1e-100 + float(np.linalg.norm(step))))  # keeps the logits finite
    for _ in range(60):
        with np.errstate(over="ignore", invalid="ignore"):
            new = point(A, b, w2, here.x + t * step)
        change = new.value - here.value
        level = abs(change) <= 16 * UNIT * (abs(here.value) + 1)
        falls = change <= 1e-4 * t * slope < 0
        if (falls and not level) or (level and np.linalg.norm(new.gradient) < norm):
            return new
        t /= 2
    return None


def _bounds(
    A: Array, b: Array, w2: Array, here: Point, size: float, lowest: float
) -> RegressionBounds:
    gradient = (float(np.linalg.norm(here.gradient)) + _rounding(A, b, w2, here, size)) * UP
    far, heavy = reach(b), float(np.max(w2))
    margin = float(np.min(w2)) - far
    margin -= 8 * UNIT * (float(np.min(w2)) + far)
    modulus = max(margin, 0.0) * lowest * DOWN
    kind = "minimiser" if modulus > 0 else "stationary"
    distance = gradient / modulus * UP if modulus > 0 else np.inf
    if A.shape[1] <= DENSE:
        H = hessian(A, b, w2, here.f)
        e = np.linalg.eigvalsh(H)
        scale = heavy + 8 * (1 + far)
        room = (len(A) + 10 * len(e) + 10) * UNIT * scale * size**2
        room += 40 * (1 + far) * _of_chances(A, here, size) * size**2
        between = float(e[0]) - room, float(e[0]) + room
        how = "eigvalsh of the Hessian, with room for the rounding of f and of its sums"
    else:
        from scipy.sparse.linalg import LinearOperator, eigsh

        H = LinearOperator(
            (len(here.x),) * 2,
            matvec=lambda v: hessian_times(A, b, w2, here.f, v.ravel()),
            dtype=np.float64,
        )
        v0 = np.random.default_rng(0).standard_normal(len(here.x))
        _, V = eigsh(H, k=1, which="SA", v0=v0, tol=1e-3)
        v = V[:, 0] / np.linalg.norm(V[:, 0])
        above = float(v @ hessian_times(A, b, w2, here.f, v))
        between = (margin * size**2 if margin < 0 else modulus), above
        how = "above: a Rayleigh quotient (Lanczos); below: A'(W^2 - k)A, k the proved bound of B"
    return RegressionBounds(kind, gradient, modulus, float(distance), between, how)


def _of_chances(A: Array, here: Point, size: float) -> float:
    """How far each f_k may be off, relatively: the sums of the logits, exp, and the sum of exp."""
    n, d = A.shape
    of_logits = 2 * (d + 2) * size * float(np.linalg.norm(here.x))
    return 2 * UNIT * (of_logits + n + 2 * float(np.ptp(A @ here.x)) + 10)


def _rounding(A: Array, b: Array, w2: Array, here: Point, size: float) -> float:
    """A bound of what rounding may hide in the gradient, to first order and with 1 % of room."""
    n, d = A.shape
    z, far, heavy = A @ here.x, reach(b), float(np.max(w2))
    logits = (far + 0.25 + heavy) * (d + 2) * size * float(np.linalg.norm(here.x))
    chances = 4 * (1 + far) * (n + 2 * float(np.ptp(z)) + 10) * float(np.linalg.norm(here.f))
    sums = (n + 10) * float(np.linalg.norm(here.slope)) + 3 * heavy * float(np.linalg.norm(z))
    return 1.01 * UNIT * size * (logits + chances + sums)
