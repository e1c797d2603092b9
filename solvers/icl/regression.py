"""Risks of least squares, ridge and Bayes: in closed form, by quadrature, or by Monte Carlo.

Given the examples X the risk has a closed form; what remains is its mean over X.

    ridge   noise + tr(Lam R (penalty^2 Psi + noise X'X) R),    R = (X'X + penalty)^-1
    Bayes   noise + tr(Lam C),    C = F (I + F'X'X F / noise)^-1 F',   Psi = F F'

Least squares: noise (1 + d/(L-d-1)) for L > d+1, any covariance of full rank.  Of least norm, for
d > L+1 and Lam = lam I: noise + lam tr(Psi) (1 - L/d) + noise L/(d-L-1).  Between, the mean of
|X^+|^2 is infinite unless there is no noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dsf.core.errors import DomainError
from dsf.solvers.icl.prompts import Array, Prompts, factor

BATCH = 2000  # draws of X that are held at once
RANK = 1e-12  # relative: smaller eigenvalues of a covariance count as zero


class Value(NamedTuple):
    """A number, how it was found, and its error: of quadrature, or one standard error."""

    value: float
    kind: str
    error: float = 0.0


def least_squares_risk(prompts: Prompts, samples: int, seed: Any) -> Value:
    """The risk of x_q'X^+ y.

    >>> least_squares_risk(Prompts(5, 6, 0.1), 1, 0).value
    inf
    """
    values = np.linalg.eigvalsh(prompts.Lam)
    kept = values[values > RANK * max(values[-1], 0.0)]
    d, L, noise = len(kept), prompts.length, prompts.noise_var
    if noise == 0 and d <= L:
        return Value(0.0, "exact")
    if L > d + 1:
        return Value(noise * (1 + d / (L - d - 1)), "exact")
    if noise > 0 and abs(L - d) <= 1:
        return Value(float("inf"), "exact")
    if kept[-1] - kept[0] <= RANK * kept[-1] and d == prompts.d:
        missed = prompts.signal * (1 - L / d)
        return Value(noise + missed + (noise * L / (d - L - 1) if noise else 0.0), "exact")

    def given(X: Array) -> Array:
        inverse = np.linalg.pinv(X)
        left = np.eye(prompts.d) - inverse @ X
        spread = left @ prompts.Psi @ np.swapaxes(left, -1, -2)
        return _trace(prompts.Lam, spread + noise * inverse @ np.swapaxes(inverse, -1, -2))

    return _mean_over_examples(prompts, given, samples, seed)


def ridge_risk(prompts: Prompts, penalty: float, samples: int, seed: Any) -> Value:
    """The risk of x_q'(X'X + penalty)^-1 X'y; penalty 0 is least squares.

    >>> found = ridge_risk(Prompts(1, 5, 0.1), 0.1, 1, 0)
    >>> round(found.value, 10), found.kind
    (0.1310441739, 'quadrature')
    """
    if penalty < 0:
        raise DomainError(f"icl_risk: penalty must not be negative; got {penalty}")
    if penalty == 0:
        return least_squares_risk(prompts, samples, seed)
    lam = float(prompts.Lam[0, 0])
    if prompts.d == 1 and lam > 0:
        q, noise = penalty / lam, prompts.noise_var
        (one, e), (two, f) = (_inverse_moment(q, prompts.length, k) for k in (0, 1))
        value = noise * (1 + one - q * two) + q**2 * prompts.signal * two
        return Value(value, "quadrature", noise * (e + q * f) + q**2 * prompts.signal * f)

    def given(X: Array) -> Array:
        gram = np.swapaxes(X, -1, -2) @ X
        R = np.linalg.inv(gram + penalty * np.eye(prompts.d))
        spread = penalty**2 * prompts.Psi + prompts.noise_var * gram
        return _trace(prompts.Lam, R @ spread @ R)

    return _mean_over_examples(prompts, given, samples, seed)


def bayes_risk(prompts: Prompts, samples: int, seed: Any) -> Value:
    """The risk of the posterior mean, the least that any predictor has.

    >>> found = bayes_risk(Prompts(1, 40, 0.1), 1, 0)
    >>> round(found.value, 10), found.kind
    (0.1026242904, 'quadrature')
    """
    if prompts.signal == 0:
        return Value(prompts.noise_var, "exact")
    if prompts.d == 1 and prompts.noise_var > 0:
        q = prompts.noise_var / prompts.signal
        mean, error = _inverse_moment(q, prompts.length, 0)
        return Value(prompts.noise_var * (1 + mean), "quadrature", prompts.noise_var * error)
    F = factor(prompts.Psi)

    def given(X: Array) -> Array:
        B = X @ F
        gram = np.swapaxes(B, -1, -2) @ B
        if prompts.noise_var > 0:
            left = np.linalg.inv(np.eye(prompts.d) + gram / prompts.noise_var)
        else:
            left = np.eye(prompts.d) - np.linalg.pinv(gram, RANK, hermitian=True) @ gram
        return _trace(prompts.Lam, F @ left @ F.T)

    return _mean_over_examples(prompts, given, samples, seed)


def _trace(A: Array, B: Array) -> Array:
    found: Array = np.sum(A * B, axis=(-2, -1))
    return found


def _inverse_moment(q: float, L: int, k: int) -> tuple[float, float]:
    """E (chi^2_L + q)^-(k+1) for k = 0, 1, and the error of the quadrature.

    = int_0^inf t^k e^(-q t) (1 + 2t)^(-L/2) dt,    with 1 + 2t = e^s below
    """
    from scipy.integrate import quad

    def f(s: float) -> float:
        t = np.expm1(s) / 2
        return float(t**k * np.exp(s * (1 - L / 2) - q * t) / 2)

    end = np.log1p(2 * 800 / q)  # beyond it e^(-q t) underflows
    middle = min(1.0, end / 2)
    parts = [quad(f, a, b, epsabs=0, epsrel=1e-12, limit=400)
             for a, b in ((0, middle), (middle, end))]  # fmt: skip
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def _mean_over_examples(
    prompts: Prompts, given: Callable[[Array], Array], samples: int, seed: Any
) -> Value:
    """noise + the mean of given(X [B L d]) [B], and its standard error."""
    if not isinstance(samples, (int, np.integer)) or samples < 2:
        raise DomainError(
            "icl_risk: a mean over draws and its error need an integer of at least 2 samples; got "
            f"{samples!r}"
        )
    rng, parts = np.random.default_rng(seed), []
    root = None if prompts.covariance is None else factor(prompts.covariance).T
    for begin in range(0, samples, BATCH):
        shape = (min(BATCH, samples - begin), prompts.length, prompts.d)
        X = rng.standard_normal(shape)
        parts.append(given(X if root is None else X @ root))
    found = np.concatenate(parts)
    error = float(found.std(ddof=1) / len(found) ** 0.5)
    return Value(prompts.noise_var + float(found.mean()), "monte_carlo", error)
