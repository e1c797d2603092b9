"""Two other ways to the max-margin direction: the regularisation path, and mirror descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dsf.core.errors import DomainError
from dsf.solvers.dynamics.descent import scaled_gradient
from dsf.solvers.svm.instances import log_softmax, slope, unit
from dsf.solvers.svm.problem import Array

SMALL = 1e-12  # below it log(e^delta - 1) is log(delta) to this accuracy
OPTIMAL = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-12}  # L-BFGS, to the rounding of the loss


def excess(W: Array, X: Array, z: Array, scores: Array) -> tuple[float, Array]:
    """log(L(W) - L_inf) and its gradient [d e], L_inf the loss of attention on optimal tokens only.

        L - L_inf = (1/n) sum_i log(1 + (e^{delta_i} - 1) sigmoid(-gamma_opt)),
        delta_i = sum_t s_t (gamma_opt - gamma_t)

    so nothing cancels however small the difference is.  The logistic loss; X [n T d], z [n e].

    >>> from dsf.solvers.svm.instances import loss, named
    >>> i = named("A")
    >>> W = np.eye(2)
    >>> floor = np.mean(np.logaddexp(0, -i.scores.max(1)))
    >>> gap = loss(W, i.X, i.z, i.scores) - floor
    >>> bool(np.isclose(excess(W, i.X, i.z, i.scores)[0], np.log(gap)))
    True
    """
    a = np.einsum("itd,de,ie->it", X, W, z)
    best = scores.max(1, keepdims=True)
    behind = best - scores
    with np.errstate(divide="ignore"):
        log_delta = np.logaddexp.reduce(log_softmax(a) + np.log(behind), axis=1)
    delta = np.exp(log_delta)
    keep = -slope(best[:, 0])  # sigmoid(-gamma_opt)
    # log of log1p(expm1(delta) keep), from log delta where delta underflows
    small = log_delta + np.log(keep)
    large = np.log(np.log1p(np.expm1(np.maximum(delta, SMALL)) * keep))
    rises = np.where(delta > SMALL, large, small)
    value = float(np.logaddexp.reduce(rises) - np.log(len(rises)))
    G, shift = scaled_gradient(W[None], X[None], z[None], scores[None])
    return value, G[0] * np.exp(shift[0] - value)


def regularisation_path(
    X: Array, z: Array, scores: Array, radii: Array, starts: Array
) -> tuple[Array, Array]:
    """argmin of the loss over |W|_F = R for each R: (W [R d e], log excess loss [R]).

    W(R)/R tends to the max-margin direction (tarzanagh2023, regularisation path).  The problem is
    not convex at small R: the best of all `starts` [k d e] and of the previous solution is taken.

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> W, _ = regularisation_path(i.X, i.z, i.scores, np.array([3.0]), np.eye(2)[None])
    >>> bool(np.isclose(np.linalg.norm(W[0]), 3))
    True
    """
    shape = (X.shape[-1], z.shape[-1])

    def value(flat: Array) -> tuple[float, Array]:
        found, G = excess(flat.reshape(shape), X, z, scores)
        return found, G.ravel()

    points, values = _along(value, np.asarray(radii, dtype=np.float64), [*starts])
    return points.reshape(-1, *shape), values


def factor_path(
    X: Array, z: Array, scores: Array, radii: Array, starts: Sequence[tuple[Array, Array]]
) -> tuple[Array, Array, Array]:
    """argmin of the loss of W = K Q' over |K|^2 + |Q|^2 = 2R: (K [R d m], Q [R e m], log excess).

    K Q'/R tends to the solutions of least nuclear norm (tarzanagh2023, regularisation path of
    (K, Q)).  `starts` are pairs (K [d m], Q [e m]); the best result is taken.

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> start = [(np.eye(2), np.eye(2))]
    >>> K, Q, _ = factor_path(i.X, i.z, i.scores, np.array([5.0]), start)
    >>> bool(np.isclose(np.sum(K**2) + np.sum(Q**2), 10))
    True
    """
    (d, m), e = starts[0][0].shape, z.shape[-1]

    def split(flat: Array) -> tuple[Array, Array]:
        return flat[..., : d * m].reshape(-1, d, m), flat[..., d * m :].reshape(-1, e, m)

    def value(flat: Array) -> tuple[float, Array]:
        K, Q = (F[0] for F in split(flat))
        found, G = excess(K @ Q.T, X, z, scores)
        return found, np.concatenate([(G @ Q).ravel(), (G.T @ K).ravel()])

    guesses = [np.concatenate([K.ravel(), Q.ravel()]) for K, Q in starts]
    points, values = _along(value, np.sqrt(2.0 * np.asarray(radii)), guesses)
    return *split(points), values


def _along(
    value: Callable[[Array], tuple[float, Array]], radii: Array, starts: list[Array]
) -> tuple[Array, Array]:
    """Minimisers of `value` on spheres, the best over all starts and the previous one: [R N]."""
    from scipy.optimize import minimize

    def on_sphere(flat: Array, R: float) -> tuple[float, Array]:
        size = np.linalg.norm(flat)
        unit = flat / size
        found, G = value(R * unit)
        ascent = R * G
        return found, (ascent - unit * (unit @ ascent)) / size

    found: list[Array] = []
    values: list[float] = []
    for R in radii:
        runs = [
            minimize(
                on_sphere, (g / np.linalg.norm(g)).ravel(), args=(float(R),), jac=True,
                method="L-BFGS-B", options=OPTIMAL,
            )
            for g in [*starts, *found[-1:]]
        ]  # fmt: skip
        best = min(runs, key=lambda r: r.fun)
        found.append(R * best.x / np.linalg.norm(best.x))
        values.append(best.fun)
    return np.array(found), np.array(values)


def mirror_descent(
    W: Array, X: Array, z: Array, scores: Array, p: float, eta: float = 0.1, steps: int = 1000
) -> Array:
    """Mirror descent with potential sum |W_ij|^p / p for S runs, on the normalised gradient.

        |W'|^{p-1} sgn W' = |W|^{p-1} sgn W - eta G/|G|

    Its direction tends to the entrywise l_p max-margin solution (mirror descent paper, arXiv
    2410.14581); p = 2 is `descend`.  W [S d e], X [S n T d], z [S n e], scores [S n T].
    Raises DomainError unless p > 1.

    >>> from dsf.solvers.dynamics.descent import descend_plainly
    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> data = np.zeros((1, 2, 2)), i.X[None], i.z[None], i.scores[None]
    >>> a = mirror_descent(*data, p=2.0, steps=50)
    >>> bool(np.allclose(a, descend_plainly(*data, steps=50), atol=1e-12))
    True
    """
    if not p > 1:
        raise DomainError(f"mirror_descent: the potential needs p > 1; got {p}")
    dual = np.abs(W) ** (p - 1) * np.sign(W)
    for _ in range(steps):
        G, _ = scaled_gradient(_primal(dual, p), X, z, scores)
        dual = dual - eta * unit(G, axes=(1, 2))
    return _primal(dual, p)


def _primal(dual: Array, p: float) -> Array:
    return np.abs(dual) ** (1 / (p - 1)) * np.sign(dual)
