"""Softmax heads on linear regression in context: the approximate loss, and what it is least for.

    yhat = sum_h mu_h sum_l softmax(omega_h x_l'x_q)_l y_l,    c = (1 + noise)/L

    L~(omega, mu) = 1 + noise - 2 mu'omega + mu'(omega omega' + c E) mu,    E = exp(d omega omega')

entry by entry, for x ~ N(0, I) and beta ~ N(0, I/d).  It replaces sum_l p_l x_l by omega x_q, the
overlap of two heads' weights by its mean at large L, and |x_q|^2 by d: it needs d omega^2 well
below log L.  With E = sum_k (d^k/k!) omega^k omega^k' it is a sum of squares,

    L~ = noise + (1 - mu'omega)^2 + c sum_k d^k/k! (sum_h mu_h omega_h^k)^2,

of which every term but k = 1 can be made to vanish together: the least value of any number of heads
above one is noise + c d/(1 + c d), and none attains it.
Source: He et al. 2025, arXiv 2503.12734; the expansion and the least values are derived here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.icl.prompts import Array, Prompts, numbers

LARGEST = 700.0  # d omega^2 beyond which e^(d omega^2) leaves the floats


def scale(prompts: Prompts) -> float:
    """c = (1 + noise)/L.

    Raises DomainError for other covariances than the identity and other priors than I/d.

    >>> round(scale(Prompts(5, 40, 0.1)), 12)
    0.0275
    """
    if prompts.covariance is not None or prompts.prior is not None:
        raise DomainError(
            "multi_head: the approximate loss is known for covariates N(0, I) and coefficients "
            "N(0, I/d) only. Leave out covariance and prior, or measure the risk of the layer "
            "(dsf.solvers.icl.estimators)."
        )
    return (1 + prompts.noise_var) / prompts.length


def scales(prompts: Prompts, omega: Any) -> Array:
    """omega as an array [H]; refused where it is no list of finite numbers or too large."""
    found = numbers("multi_head: omega", omega)
    if found.ndim != 1 or not found.size:
        raise ShapeError(f"multi_head: omega must be [H] with H >= 1; got {list(found.shape)}")
    top = prompts.d * float(np.max(found**2))
    if top > LARGEST:
        raise DomainError(
            f"multi_head: d omega^2 = {top:.4g} is far outside the range of the approximation, "
            f"which needs d omega^2 well below log L = {np.log(prompts.length):.3g}. Use smaller "
            "omega, or measure the risk of the layer (dsf.solvers.icl.estimators)."
        )
    return found


def values(omega: Array, mu: Any) -> Array:
    """mu as an array [H] of finite numbers beside omega [H]."""
    found = numbers("multi_head: mu", mu)
    if found.shape != omega.shape:
        raise ShapeError(
            f"multi_head: omega and mu must have one number per head; got {list(omega.shape)} and "
            f"{list(found.shape)}"
        )
    return found


def overlap(prompts: Prompts, omega: Array) -> Array:
    """E = exp(d omega omega') [H H], entry by entry."""
    found: Array = np.exp(prompts.d * (omega[:, None] * omega))
    return found


def loss(prompts: Prompts, omega: Any, mu: Any) -> float:
    """L~(omega, mu) as the formula has it; `expanded` is the same without its cancellation.

    >>> round(loss(Prompts(5, 40, 0.1), [0.13, -0.13], [3.45, -3.45]), 7)
    0.2213744
    """
    c, omega = scale(prompts), scales(prompts, omega)
    mu = values(omega, mu)
    Q = np.outer(omega, omega) + c * overlap(prompts, omega)
    return float(1 + prompts.noise_var - 2 * mu @ omega + mu @ Q @ mu)


def powers(prompts: Prompts, omega: Array) -> Array:
    """sqrt(d^k/k!) omega_h^k [H K], with as many k as the floats can tell from zero."""
    top = prompts.d * float(np.max(omega**2))
    count = int(np.e * top + 40)  # top^k/k! < e^-40 there
    k = np.arange(1, count)
    steps = omega[:, None] * np.sqrt(prompts.d / k)
    return np.concatenate([np.ones((len(omega), 1)), np.cumprod(steps, axis=1)], axis=1)


def expanded(prompts: Prompts, omega: Any, mu: Any) -> float:
    """L~(omega, mu) as a sum of squares.

    >>> p = Prompts(5, 40, 0.1)
    >>> abs(expanded(p, [0.3, -0.1], [1.0, 2.0]) / loss(p, [0.3, -0.1], [1.0, 2.0]) - 1) < 1e-14
    True
    """
    c, omega = scale(prompts), scales(prompts, omega)
    mu = values(omega, mu)
    return float(
        prompts.noise_var + (1 - mu @ omega) ** 2 + c * np.sum((mu @ powers(prompts, omega)) ** 2)
    )


def gradient(prompts: Prompts, omega: Array, mu: Array) -> tuple[Array, Array]:
    """The derivatives of L~/2 by omega and by mu.

    >>> [x.round(12).tolist() for x in gradient(Prompts(1, 2, 0.0), np.zeros(1), np.ones(1))]
    [[-1.0], [0.5]]
    """
    c, E, miss = scale(prompts), overlap(prompts, omega), mu @ omega - 1
    by_mu = miss * omega + c * (E @ mu)
    by_omega = miss * mu + prompts.d * c * mu * (E @ (mu * omega))
    return by_omega, by_mu


def best_values(prompts: Prompts, omega: Any) -> Array:
    """mu*(omega) = (omega omega' + c E)^-1 omega, of least norm where heads coincide.

    As least squares on the sum of squares, which keeps twice the digits of the formula.

    >>> best_values(Prompts(5, 40, 0.1), [0.13, -0.13]).round(7)
    array([ 3.3807477, -3.3807477])
    """
    c, omega = scale(prompts), scales(prompts, omega)
    rows = np.concatenate([omega[None], np.sqrt(c) * powers(prompts, omega).T])
    target = np.zeros(len(rows))
    target[0] = 1.0
    found: Array = np.linalg.lstsq(rows, target, rcond=None)[0]
    return found


def infimum(prompts: Prompts, heads: int) -> float:
    """The greatest lower bound of L~ over all omega and mu of this many heads.

    >>> p = Prompts(5, 40, 0.1)
    >>> [round(infimum(p, heads), 7) for heads in (1, 2, 7)]
    [0.3720728, 0.2208791, 0.2208791]
    """
    cd = scale(prompts) * prompts.d * (np.e if heads == 1 else 1.0)
    return float(prompts.noise_var + cd / (1 + cd))


def slow_law(prompts: Prompts, t: Any, positive: int = 1, negative: int = 1) -> Array:
    """omega(t) = (8 n+ n- c d^3 t / H)^(-1/6) for n+ positive, n- negative heads, H = n+ + n-.

    The asymptotic law of gradient flow on L~/2 as t grows; all |omega_h| have this one value.

    >>> slow_law(Prompts(5, 40, 0.1), [1e4]).round(5)
    array([0.13919])
    """
    if positive < 1 or negative < 1:
        raise DomainError(
            f"slow_law: at least one head of each sign; got {positive} positive, {negative} "
            "negative. One head alone converges to omega = 1/sqrt(d)."
        )
    rate = 8 * positive * negative / (positive + negative) * scale(prompts) * prompts.d**3
    return np.asarray((rate * np.asarray(t, np.float64)) ** (-1 / 6))
