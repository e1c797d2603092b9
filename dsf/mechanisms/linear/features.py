"""Feature maps phi of linear attention: the weight of a pair of tokens is phi(q)' phi(k)."""

from __future__ import annotations

from math import factorial

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.ops import Array

# maps with positive features, whose normaliser cannot vanish
POSITIVE = ("elu+1", "exp", "favor")
NAMES = ("identity", "elu+1", "exp", "taylor", "favor")
RANDOM = ("favor", "hyperbolic", "favor++", "trig")  # kernels whose mean is e^{q'k}
LOGARITHMIC = ("favor", "hyperbolic", "favor++")  # of these, the ones with positive features


def log_features(name: str, x: Array, omega: Array, A: float = 0.0) -> Array:
    """log phi(x) + log(n')/2 for the positive random features of `feature_map`: [... n'].

    Kept as logarithms because a constant may be subtracted before the exponential: softmax
    attention divides by the sum of its weights, so that it cancels.
    """
    linear = x @ ops.mT(omega)
    half = ops.asum(x * x) / 2
    if name == "hyperbolic":
        return ops.cat([linear, -linear]) - half
    if name == "favor++":
        squared = ops.asum(omega * omega, keepdims=False)
        constant = x.shape[-1] / 4 * ops.log(ops.const(1, x) - 4 * A)
        return constant + A * squared + ops.sqrt(ops.const(1, x) - 4 * A) * linear - half
    return linear - half


def feature_map(
    name: str, x: Array, order: int = 2, omega: Array | None = None, A: float = 0.0
) -> Array:
    """phi(x) for x [... n]: [... n'], with n' the number of features.

    identity   x
    elu+1      elu(x) + 1                                    Katharopoulos et al. 2020
    exp        e^x, elementwise
    taylor     (1, x, x(x)x / sqrt(2!), ...) to `order`      phi(q)'phi(k) = sum_r (q'k)^r / r!

    and random ones for the m rows of omega [m n]; over standard Gaussian rows the mean of
    phi(q)'phi(k) is e^{q'k}:

    favor      e^{omega x - |x|^2/2} / sqrt(m)                          Choromanski et al. 2021
    hyperbolic (e^{omega x}, e^{-omega x}) e^{-|x|^2/2} / sqrt(2m)      Choromanski et al. 2021
    favor++    (1-4A)^{n/4} e^{A|omega|^2 + sqrt(1-4A) omega x - |x|^2/2} / sqrt(m),  A < 1/8
                                                                        Likhosherstov et al. 2022
    trig       (cos omega x, sin omega x) e^{|x|^2/2} / sqrt(m)         Rahimi and Recht 2007

    >>> import numpy as np
    >>> q, k = np.array([0.3, -0.1]), np.array([0.2, 0.5])
    >>> s = q @ k
    >>> bool(np.isclose(feature_map("taylor", q) @ feature_map("taylor", k), 1 + s + s**2 / 2))
    True
    """
    if name == "identity":
        return x
    if name == "elu+1":
        return ops.elu1(x)
    if name == "exp":
        return ops.exp(x)
    if name == "taylor":
        power = ops.ones((*x.shape[:-1], 1), x)
        terms = [power]
        for r in range(1, order + 1):
            power = (ops.col(power) * ops.row(x)).reshape(*x.shape[:-1], x.shape[-1] ** r)
            terms.append(power / ops.sqrt(ops.const(factorial(r), x)))
        return ops.cat(terms, -1)
    if name in LOGARITHMIC and omega is not None:
        logs = log_features(name, x, omega, A)
        return ops.exp(logs) / ops.sqrt(ops.const(logs.shape[-1], x))
    if name == "trig" and omega is not None:
        angles, size = x @ ops.mT(omega), ops.exp(ops.asum(x * x) / 2)
        m = ops.const(omega.shape[-2], x)
        return ops.cat([ops.cos(angles), ops.sin(angles)]) * size / ops.sqrt(m)
    raise UnknownNameError(
        f"no feature map {name!r}; known: {', '.join(dict.fromkeys((*NAMES, *RANDOM)))}; those "
        "that are random need their directions omega [m n]"
    )
