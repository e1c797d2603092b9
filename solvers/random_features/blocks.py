"""Ridge regression with more features than fit in memory: they are made again, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dsf.core.errors import ShapeError
from dsf.solvers.intake import Array, count, number, reals
from dsf.solvers.random_features.ridge import (
    RidgeSolution,
    ill_conditioned,
    judged,
    ridge_regression,
)


def ridge_regression_in_blocks(
    block: Callable[[int], Array], sizes: Sequence[int], y: Any, penalty: float
) -> RidgeSolution:
    """`ridge_regression` for features that a function gives in blocks: block(b) is [n sizes[b]].

        theta_b = Phi_b' a,   (sum_b Phi_b Phi_b' + penalty) a = y

    One Gram matrix [n n] in float64, factored in place, and one block at a time are held in memory;
    each block is made four times and has to be the same numbers each time.  With no more features
    than samples it is `ridge_regression`.  Raises ShapeError, DTypeError, NonFiniteError,
    DomainError, IllConditionedError.

    >>> Phi, y = np.random.default_rng(0).standard_normal((4, 6)), np.ones(4)
    >>> s = ridge_regression_in_blocks(lambda b: Phi[:, 3 * b : 3 * b + 3], [3, 3], y, 0.1)
    >>> exact = np.linalg.solve(Phi.T @ Phi + 0.1 * np.eye(6), Phi.T @ y)
    >>> bool(np.linalg.norm(s.theta - exact) <= s.error_bound + 1e-13)
    True
    """
    from scipy.linalg.blas import dsyrk
    from scipy.linalg.lapack import dpotrf, dpotrs

    who = "ridge_regression_in_blocks"
    y, penalty = reals(who, "y", y, 1), number(who, "penalty", penalty, above=True)
    sizes = [count(who, "sizes", s) for s in sizes]
    n = len(y)
    if not n or not sizes:
        return RidgeSolution(np.zeros(sum(sizes)), penalty, 0.0, 0.0)

    def made(b: int) -> Array:
        Phi = reals(who, f"block({b})", block(b), 2)
        if Phi.shape != (n, sizes[b]):
            raise ShapeError(
                f"{who}: block({b}) must be [n sizes[{b}]] = [{n} {sizes[b]}]; got "
                f"{list(Phi.shape)}"
            )
        return Phi

    if sum(sizes) <= n:  # all of them take no more than the Gram matrix
        return ridge_regression(np.hstack([made(b) for b in range(len(sizes))]), y, penalty)
    K = np.zeros((n, n), order="F")
    for b in range(len(sizes)):
        # Phi' is in the order of columns, so that nothing is copied
        K = dsyrk(1.0, made(b).T, beta=1.0, c=K, trans=1, lower=1, overwrite_c=1)
    K[np.diag_indices(n)] += penalty
    K, info = dpotrf(K, lower=1, clean=0, overwrite_a=1)
    if info:
        raise ill_conditioned(who, penalty)
    a, _ = dpotrs(K, y, lower=1)
    del K
    theta = np.concatenate([made(b).T @ a for b in range(len(sizes))])
    return judged(made, sizes, y, theta, penalty)
