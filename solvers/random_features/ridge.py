"""Ridge regression with a bound on the distance to the exact solution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, IllConditionedError, ShapeError
from dsf.solvers.intake import Array, number, reals

UNIT = 2.0**-53  # rounding of one operation in float64
ROOM = 1.01  # the bounds on rounding are themselves rounded; they are far below 1 % off


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """theta [D], with |theta - theta*| <= error_bound for the exact minimiser theta*.

    residual     |Phi'(y - Phi theta) - penalty theta|, as computed
    error_bound  (residual + what rounding may hide in it) / penalty
    """

    theta: Array
    penalty: float
    residual: float
    error_bound: float


def ridge_regression(Phi: Any, y: Any, penalty: float) -> RidgeSolution:
    """The minimiser of |Phi theta - y|^2 + penalty |theta|^2, Phi [n D], y [n], penalty > 0.

    From the smaller of the two Gram matrices; one step of refinement.  The Hessian is at least
    `penalty`, so |theta - theta*| <= |residual| / penalty; the residual's own rounding is bounded
    a priori (without underflow) and added, so that the bound holds for Phi and y as given.
    Rank-deficient Phi and D > n are fine; n = 0 gives theta = 0.

    Raises ShapeError, DTypeError, NonFiniteError, DomainError (penalty <= 0), and
    IllConditionedError where the penalty is below the rounding of the Gram matrix.

    >>> s = ridge_regression([[1.0], [1.0]], [1.0, 3.0], 2.0)
    >>> s.theta, bool(abs(s.theta[0] - 1) <= s.error_bound < 1e-12)
    (array([1.]), True)
    """
    Phi, y, penalty = _checked("ridge_regression", Phi, y, penalty)
    n, D = Phi.shape
    if not n or not D:
        return RidgeSolution(np.zeros(D), penalty, 0.0, 0.0)
    dual = n < D
    solve = _factor(Phi @ Phi.T if dual else Phi.T @ Phi, penalty)
    theta = Phi.T @ solve(y) if dual else solve(Phi.T @ y)
    r = residual(Phi, y, theta, penalty)
    # (Phi'Phi + penalty)^-1 r by the identity that the dual form rests on
    step = (r - Phi.T @ solve(Phi @ r)) / penalty if dual else solve(r)
    better = theta + step
    if np.linalg.norm(residual(Phi, y, better, penalty)) < np.linalg.norm(r):
        theta = better
    return judged(lambda _: Phi, [D], y, theta, penalty)


def residual(Phi: Array, y: Array, theta: Array, penalty: float) -> Array:
    """Phi'(y - Phi theta) - penalty theta: half the negative gradient.

    >>> residual(np.eye(2), np.ones(2), np.zeros(2), 1.0)
    array([1., 1.])
    """
    return Phi.T @ (y - Phi @ theta) - penalty * theta


def ridge_path(Phi: Any, y: Any, penalties: Sequence[float]) -> Array:
    """theta [penalties D] or, for y [n targets], [penalties D targets], from one decomposition.

    For choosing a penalty; without bounds, which `ridge_regression` gives.  Raises as it does.

    >>> ridge_path([[1.0], [1.0]], [1.0, 3.0], [2.0, 6.0]).ravel().round(12)
    array([1. , 0.5])
    """
    who = "ridge_path"
    Phi, targets = reals(who, "Phi", Phi, 2), reals(who, "y", y)
    lam = np.array([number(who, "penalty", p, above=True) for p in penalties])
    if len(targets) != len(Phi) or targets.ndim > 2:
        raise ShapeError(f"{who}: y {list(targets.shape)} does not fit Phi {list(Phi.shape)}")
    columns = targets.reshape(len(Phi), -1)
    dual = Phi.shape[0] < Phi.shape[1]
    e, U = np.linalg.eigh(Phi @ Phi.T if dual else Phi.T @ Phi)
    right = U.T @ (columns if dual else Phi.T @ columns)
    shrunk = right / (e[:, None] + lam[:, None, None])
    theta = Phi.T @ (U @ shrunk) if dual else U @ shrunk
    return theta.reshape(len(lam), Phi.shape[1], *targets.shape[1:])


def gamma(k: int) -> float:
    """k u / (1 - k u), the rounding of an inner product of length k (any order of summation).

    >>> gamma(2) > 2.0**-52
    True
    """
    return k * UNIT / (1 - k * UNIT)


def judged(
    block: Callable[[int], Array], sizes: Sequence[int], y: Array, theta: Array, penalty: float
) -> RidgeSolution:
    """The residual of theta and its bound, from the features `block(b)` [n sizes[b]], each of
    which is made twice."""
    ends = np.cumsum([0, *sizes])
    slices = [slice(a, b) for a, b in pairwise(ends)]
    shown, hidden = np.zeros_like(y), np.zeros_like(y)
    for b, part in enumerate(slices):
        Phi = block(b)
        shown += Phi @ theta[part]
        hidden += np.abs(Phi) @ np.abs(theta[part])
    error = y - shown
    noise = gamma(len(theta) + len(sizes)) * hidden + UNIT * np.abs(error)
    noise += gamma(len(y) + 1) * np.abs(error)
    squares = lost = 0.0
    for b, part in enumerate(slices):
        Phi = block(b)
        r = Phi.T @ error - penalty * theta[part]
        squares += float(r @ r)
        away = np.abs(Phi).T @ noise
        lost += float(away @ away)
    norm = float(np.sqrt(squares))
    rounding = ROOM * (np.sqrt(lost) + 3 * UNIT * (penalty * np.linalg.norm(theta) + norm))
    return RidgeSolution(theta, penalty, norm, float((norm + rounding) / penalty))


def _factor(K: Array, penalty: float) -> Callable[[Array], Array]:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    K[np.diag_indices(len(K))] += penalty
    try:
        factor = cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError as e:
        raise ill_conditioned("ridge_regression", penalty) from e
    return lambda b: cho_solve(factor, b, check_finite=False)


def ill_conditioned(who: str, penalty: float) -> IllConditionedError:
    """The error of a Gram matrix that is not positive definite in float64."""
    return IllConditionedError(
        f"{who}: the Gram matrix plus {penalty:.3g} is not positive definite in float64. Likely "
        "cause: a penalty below its rounding, about 1e-16 times its largest eigenvalue. Raise the "
        "penalty or scale the features down."
    )


def _checked(who: str, Phi: Any, y: Any, penalty: float) -> tuple[Array, Array, float]:
    Phi, y = reals(who, "Phi", Phi, 2), reals(who, "y", y, 1)
    if len(y) != len(Phi):
        raise ShapeError(f"{who}: Phi {list(Phi.shape)} has {len(Phi)} rows, y {len(y)} entries")
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.sum(Phi * Phi))
    if not finite:
        raise DomainError(f"{who}: products of the features overflow; scale them down")
    return Phi, y, number(who, "penalty", penalty, above=True)
