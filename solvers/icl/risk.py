"""`icl_risk`: what a method costs on linear regression in context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.solvers.icl import heads as softmax_heads
from dsf.solvers.icl.moments import best_preconditioner, best_step, step_risk
from dsf.solvers.icl.optimal import PRECONDITIONED, STEPS
from dsf.solvers.icl.prompts import Array, Prompts, number, numbers
from dsf.solvers.icl.regression import Value, bayes_risk, least_squares_risk, ridge_risk

# method -> the options that it has
OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(STEPS, ("step",)),
    **dict.fromkeys(PRECONDITIONED, ("G",)),
    "ols": (),
    "ridge": ("penalty",),
    "bayes": (),
    "multi_head": ("omega", "mu"),
}


@dataclass(frozen=True)
class ICLRisk:
    """A mean squared error on the noisy target, at least `noise_var`.

    kind    exact, quadrature, monte_carlo or approximate
    error   of a quadrature its estimate, of Monte Carlo one standard error; 0 where exact, None
            where it is not known (approximate)
    """

    value: float
    kind: str
    error: float | None = 0.0


def icl_risk(
    method: str,
    d: int,
    length: int,
    noise_var: float,
    *,
    step: float | None = None,
    G: Any = None,
    omega: Any = None,
    mu: Any = None,
    penalty: float | None = None,
    covariance: Any = None,
    prior: Any = None,
    test_length: int | None = None,
    samples: int = 10_000,
    seed: Any = 0,
) -> ICLRisk:
    """The risk E (yhat - y_q)^2 of a method that sees `length` examples of linear regression.

        gd, debiased_gd             one gradient step from 0; its covariates centred by their mean
        preconditioned_gd, preconditioned_debiased_gd   the same with a matrix for a step
        ols, ridge, bayes           least squares (of least norm), (X'X + penalty)^-1 X'y, posterior
        multi_head                  softmax heads, by the approximate loss

    x ~ N(0, covariance), beta ~ N(0, prior), by default N(0, I) and N(0, I/d); y and the target
    y_q have noise of variance `noise_var`.  step, G [d d], mu [H] are those of least risk at
    `length` where they are None; `test_length`, where given, is the length they are then used at.
    Gradient steps and least squares are exact (infinite at |length - d| <= 1 with noise), ridge and
    bayes a quadrature for d = 1 and Monte Carlo over `samples` draws of X else, as is least squares
    of least norm with correlated covariates; `seed` is a seed or a generator of numpy.

    Raises UnknownNameError for another method, ShapeError for sizes, DTypeError for what is no
    number, NonFiniteError for NaN and infinity, DomainError for options that the method does not
    have and values out of range.
    Sources: arXiv 2503.12734 (heads), 2310.08391 (steps); Wishart moments.

    >>> from dsf.solvers import icl_risk
    >>> icl_risk("gd", 5, 40, 0.1)
    ICLRisk(value=0.23978..., kind='exact', error=0.0)
    >>> icl_risk("multi_head", 5, 40, 0.1, omega=[0.13, -0.13]).kind
    'approximate'
    """
    given = {"step": step, "G": G, "omega": omega, "mu": mu, "penalty": penalty}
    given = {name: x for name, x in given.items() if x is not None}
    if method not in OPTIONS:
        raise UnknownNameError(f"icl_risk: no method {method!r}; known: {', '.join(OPTIONS)}")
    for name in given.keys() - set(OPTIONS[method]):
        others = ", ".join(k for k, v in OPTIONS.items() if name in v)
        raise DomainError(f"icl_risk: {name} belongs to {others}, not to {method}")
    for name in given.keys() & {"step", "penalty"}:
        number(f"icl_risk: {name}", given[name])
    trained = Prompts(d, length, noise_var, covariance, prior)
    used = trained
    if test_length is not None:
        used = Prompts(d, test_length, noise_var, covariance, prior)
    if method in STEPS:
        eta = best_step(trained, STEPS[method]) if step is None else float(step)
        return ICLRisk(step_risk(used, eta * np.eye(d), STEPS[method]), "exact")
    if method in PRECONDITIONED:
        matrix = _matrix(G, d)
        if matrix is None:
            matrix = best_preconditioner(trained, PRECONDITIONED[method])
        return ICLRisk(step_risk(used, matrix, PRECONDITIONED[method]), "exact")
    if method == "multi_head":
        return ICLRisk(_heads_loss(trained, used, omega, mu), "approximate", None)
    return ICLRisk(*_regression(method, used, penalty, samples, seed))


def _matrix(G: Any, d: int) -> Array | None:
    if G is None:
        return None
    matrix = numbers("icl_risk: G", G)
    if matrix.shape != (d, d):
        raise ShapeError(f"icl_risk: G must be [{d} {d}]; got {list(matrix.shape)}")
    return matrix


def _heads_loss(trained: Prompts, used: Prompts, omega: Any, mu: Any) -> float:
    if omega is None:
        raise DomainError(
            "icl_risk: multi_head needs omega. With two heads or more no omega is best: "
            "icl_optimal('multi_head', ...) gives the infimum."
        )
    if mu is None:
        mu = softmax_heads.best_values(trained, omega)
    return softmax_heads.expanded(used, omega, mu)


def _regression(
    method: str, prompts: Prompts, penalty: float | None, samples: int, seed: Any
) -> Value:
    if method == "ols":
        return least_squares_risk(prompts, samples, seed)
    if method == "bayes":
        return bayes_risk(prompts, samples, seed)
    if penalty is None:
        raise DomainError(
            "icl_risk: ridge needs its penalty; noise_var d is that of Bayes where covariance and "
            "prior are left out."
        )
    return ridge_risk(prompts, penalty, samples, seed)
