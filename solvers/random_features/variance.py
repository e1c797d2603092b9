"""The mean squared errors of random features of e^{x'y}, in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.intake import Array, count, reals
from dsf.solvers.random_features.directions import below_eighth, known_kind

RANGE = 700.0  # of s: e^s stays in float64
SMALL, TERMS = 1.0, 40  # |s| up to which differences are summed as series, and their length


def pair_moment(s: Any, d: int) -> Array:
    """E[e^{w1'z} e^{w2'z}] for two rows of one orthogonal block, s = |z|^2; E[cos w1'z cos w2'z]
    at s = -|z|^2.

        C(s) = sum_{j,k} (s/2)^{j+k} / (j! k!) (d/2)_j (d/2)_k / (d/2)_{j+k} = 1F1(d; d/2; s/2)

    by Vandermonde's identity for rising factorials; independent rows give e^s.  At s < 0 it is
    computed as e^{s/2} 1F1(-d/2; d/2; -s/2) (Kummer), a polynomial times e^{s/2} for even d.

    >>> pair_moment([1.0, -1.0], 8).round(10)
    array([2.60372835, 0.34627305])
    """
    from scipy.special import hyp1f1

    s = np.asarray(s, dtype=np.float64)
    negative = np.exp(np.minimum(s, 0) / 2) * hyp1f1(-d / 2, d / 2, -np.minimum(s, 0) / 2)
    return np.where(s < 0, negative, hyp1f1(d, d / 2, np.maximum(s, 0) / 2))


def pair_gain(s: Any, d: int) -> Array:
    """e^s - C(s): what an orthogonal pair gains over an independent one.

        sum_{n >= 2} (s/2)^n / n! (2^n - (d)_n / (d/2)_n),   s^2/(2(d+2)) + O(s^3)

    summed like this for |s| <= 1, where the difference would cancel.

    >>> float(pair_gain(1e-6, 8) / 1e-12) * 20
    1.0000...
    """
    s = np.asarray(s, dtype=np.float64)
    small = np.where(np.abs(s) <= SMALL, s, 0.0)
    total, power, ratio = np.zeros_like(s), np.ones_like(s), 1.0
    for n in range(1, TERMS):
        power = power * small / 2 / n
        ratio *= (d + n - 1) / (d / 2 + n - 1)
        total = total + power * (2.0**n - ratio)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(np.abs(s) <= SMALL, total, np.exp(s) - pair_moment(s, d))


def optimal_favor_parameter(x: Any, y: Any) -> Array:
    """The A of least variance for favor++ at x, y [... d] -> [...] (at most 0, and 0 at x = -y).

        A = (1 - 2 rho - sqrt((2 rho + 1)^2 + 8 rho)) / 16,   rho = |x+y|^2 / d

    Likhosherstov et al. 2022, arXiv 2205.15317.  Raises as `softmax_kernel_mse`.

    >>> float(optimal_favor_parameter([1.0, 0.0], [0.0, 1.0])) * 16     # rho = 1: -1 - sqrt(17)
    -5.1231...
    """
    x, y = _pair("optimal_favor_parameter", x, y)
    rho = np.sum((x + y) ** 2, axis=-1) / x.shape[-1]
    root = np.sqrt((2 * rho + 1) ** 2 + 8 * rho)
    # the same number written without cancellation near rho = 0
    return np.where(rho < 1, -rho / (1 - 2 * rho + root), (1 - 2 * rho - root) / 16)


def softmax_kernel_mse(
    x: Any, y: Any, m: int, kind: str = "favor", *, orthogonal: bool = False,
    A: float | None = None,
) -> Array:  # fmt: skip
    """E (phi(x)'phi(y) - e^{x'y})^2 for m random directions, exactly; x, y [... d] -> [...].

    With z = x + y, D = x - y, SM = e^{x'y} and m independent directions:

        trig        e^{|z|^2} SM^-2 (1 - e^{-|D|^2})^2 / (2m)
        favor       e^{|z|^2} SM^2 (1 - e^{-|z|^2}) / m
        hyperbolic  (1 - e^{-|z|^2})/2 times that of favor
        favor++     {e^{-|x|^2-|y|^2} (1-4A)^d (1-8A)^{-d/2} e^{2|z|^2 (1-4A)/(1-8A)} - SM^2} / m

    A = None is the optimal one at each pair.  Orthogonal directions subtract, for b ordered pairs
    of rows that share a block of d, (b/m^2) e^{-|x|^2-|y|^2} `pair_gain`(|z|^2, d), trig (b/m^2)
    e^{|x|^2+|y|^2} pair_gain(-|D|^2, d): positive kinds always gain, trig not for all |D|.
    Independent: Choromanski et al. 2021 (lemma 2), Likhosherstov et al. 2022; orthogonal: derived.
    float64; inf where the value is beyond its range.  favor++ loses digits where MSE << SM^2.

    Raises UnknownNameError, ShapeError, DTypeError, NonFiniteError, and DomainError for m < 1, A >=
    1/8, and orthogonal directions with |z|^2 (trig: |D|^2) above 700.

    >>> x, y = np.array([0.5, 0.0]), np.array([0.0, 0.5])
    >>> [round(float(softmax_kernel_mse(x, y, 8, k)), 4) for k in ("favor", "hyperbolic", "trig")]
    [0.0811, 0.016, 0.016]
    """
    who = "softmax_kernel_mse"
    known_kind(who, kind)
    m = count(who, "m", m)
    x, y = _pair(who, x, y)
    d = x.shape[-1]
    size, dot = np.sum(x * x, -1) + np.sum(y * y, -1), np.sum(x * y, -1)
    s = np.sum((x + y) ** 2, -1)
    D = np.sum((x - y) ** 2, -1)
    if orthogonal and np.any((s if kind != "trig" else D) > RANGE):
        raise DomainError(
            f"{who}: orthogonal directions need s = |x+y|^2 (trig: |x-y|^2) of at most {RANGE:g}, "
            f"where e^s leaves float64; got {np.max(s if kind != 'trig' else D):.4g}. Scale down."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "trig":
            one = np.where(D > 0, np.exp(size) * np.expm1(-D) ** 2 / 2, 0.0)
            gain = np.where(D > 0, np.exp(size) * pair_gain(-D, d), 0.0)
        else:
            variance = -np.exp(2 * dot + s) * np.expm1(-s)
            if kind == "hyperbolic":
                variance = variance * -np.expm1(-s) / 2
            if kind == "favor++":
                a = optimal_favor_parameter(x, y) if A is None else np.float64(below_eighth(who, A))
                exponent = d * np.log1p(-4 * a) - d / 2 * np.log1p(-8 * a) - size
                exponent = exponent + 2 * s * (1 - 4 * a) / (1 - 8 * a)
                variance = np.exp(2 * dot) * np.expm1(exponent - 2 * dot)
            one, gain = variance, np.exp(-size) * pair_gain(s, d)
        if not orthogonal:
            return one / m
        blocks, rest = divmod(m, d)
        pairs = blocks * d * (d - 1) + rest * (rest - 1)
        return np.where(np.isfinite(one), one / m - gain * (pairs / m**2), one)


def _pair(who: str, x: Any, y: Any) -> tuple[Array, Array]:
    x, y = reals(who, "x", x), reals(who, "y", y)
    if x.shape[-1] != y.shape[-1] or x.shape[-1] == 0:
        raise ShapeError(
            f"{who}: x {list(x.shape)} and y {list(y.shape)} must both be [... d] with d >= 1"
        )
    return x, y
