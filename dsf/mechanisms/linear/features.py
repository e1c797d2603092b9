"""Feature maps phi of linear attention: the weight of a pair of tokens is phi(q)' phi(k)."""

from __future__ import annotations

from math import factorial

from dsf.core import ops
from dsf.core.errors import UnknownNameError
from dsf.core.ops import Array

# maps with positive features, whose normaliser cannot vanish
POSITIVE = ("elu+1", "exp", "favor")
NAMES = ("identity", "elu+1", "exp", "taylor", "favor")


def feature_map(name: str, x: Array, order: int = 2, omega: Array | None = None) -> Array:
    """phi(x) for x [... n]: [... n'], with n' the number of features.

    identity   x
    elu+1      elu(x) + 1                                    Katharopoulos et al. 2020
    exp        e^x, elementwise
    taylor     (1, x, x(x)x / sqrt(2!), ...) to `order`      phi(q)'phi(k) = sum_r (q'k)^r / r!
    favor      e^{omega x - |x|^2 / 2} / sqrt(m)             Choromanski et al. 2021, omega [m n]

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
    if name == "favor" and omega is not None:
        features = ops.const(omega.shape[-2], x)
        return ops.exp(x @ ops.mT(omega) - ops.asum(x * x) / 2) / ops.sqrt(features)
    raise UnknownNameError(f"no feature map {name!r}; known: {', '.join(NAMES)}")
