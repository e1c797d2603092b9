"""Why Adam inflates the residual state of a sink token: two equations in two unknowns.

    loss(y, m) = exp(-y nu(m)),   nu(m) = (m + c) / sqrt(m^2 + 2 m c + 1)

y is the scale of the sink logit, m the norm of the residual state, nu the part of it that survives
normalisation (the toy of the public code of Guo et al. 2024, arXiv 2410.13835).  In the forced
version the gradient is given instead: m' = rate log(t) / (t m^3), with the closed form

    m(t) = (m0^4 + 2 rate log(t)^2)^{1/4}.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dsf.core.errors import UnknownNameError
from dsf.solvers.dynamics.optimisers import Adam, Momentum
from dsf.solvers.svm.problem import Array

RATES = {"sgd": 0.1, "adam": 3e-3, "adam without eps": 3e-3}
_RULES: dict[str, Callable[[], Callable[[float], float]]] = {
    "sgd": lambda: Momentum(0.0),
    "adam": Adam,
    "adam without eps": lambda: Adam(eps=0.0),
}


def descent(y: float, m: float, c: float) -> tuple[float, float]:
    """Minus the derivatives of the loss in y and m.

    >>> loss = lambda y, m: math.exp(-y * (m + .5) / math.sqrt(m * m + m + 1))
    >>> found = descent(1.0, 2.0, 0.5)[1]
    >>> abs(found + (loss(1, 2 + 1e-6) - loss(1, 2 - 1e-6)) / 2e-6) < 1e-9
    True
    """
    root = math.sqrt(m * m + 2 * m * c + 1)
    nu = (m + c) / root
    scale = math.exp(-y * nu)
    return nu * scale, y * scale * (1 - c * c) / root**3


def train(optimiser: str, steps: int, start: float = 0.5, c: float = 0.5) -> Array:
    """(y, m) after every step of "sgd" (rate 0.1) or "adam" (rate 0.003), [steps+1 2].

    "adam without eps" leaves out the 1e-8 in Adam's denominator, which stops the growth once the
    gradient, about e^{-y}, is smaller.

    >>> train("sgd", 1000)[-1].round(2)
    array([4.83, 1.82])
    """
    return _steps(optimiser, RATES, (start, start), lambda t, x: descent(x[0], x[1], c), steps)


def forced(optimiser: str, steps: int, start: float = 10.0, rate: float = 0.3) -> Array:
    """m after every step when its descent direction is log(t)/(t m^3), [steps+1].

    With Adam m grows faster and faster until the gradient is below its eps, 1e-8 (near step 15000
    with the defaults), and then levels off.

    >>> round(float(forced("sgd", 10000)[-1]), 4)
    10.0127
    """

    def given(t: int, x: list[float]) -> tuple[float]:
        return (math.log(t) / (t * x[0] ** 3),)

    rates = {"sgd": rate, "adam": rate}  # the first step is 0, so Adam needs its eps
    return _steps(optimiser, rates, (start,), given, steps)[:, 0]


def forced_flow(t: Array, start: float = 10.0, rate: float = 0.3) -> Array:
    """The closed form of the forced version under gradient flow from t = 1.

    >>> round(float(forced_flow(np.array(1e4))), 4)
    10.0127
    """
    return (start**4 + 2 * rate * np.log(t) ** 2) ** 0.25


def _steps(
    optimiser: str,
    rates: dict[str, float],
    start: tuple[float, ...],
    direction: Callable[[int, list[float]], tuple[float, ...]],
    steps: int,
) -> Array:
    if optimiser not in rates:
        raise UnknownNameError(f"optimiser {optimiser!r} is not one of {', '.join(rates)}")
    rate, now = rates[optimiser], list(start)
    path = [tuple(now)]
    rules = [_RULES[optimiser]() for _ in now]
    for t in range(1, steps + 1):
        for i, d in enumerate(direction(t, now)):
            now[i] += rate * rules[i](d)
        path.append(tuple(now))
    return np.array(path)
