"""Step directions from gradients: momentum and Adam, for numbers and arrays alike."""

from __future__ import annotations

from typing import Any


class Momentum:
    """v = factor v + d: stochastic gradient steps with momentum; factor 0 is the plain gradient.

    >>> rule = Momentum(0.9)
    >>> rule(1.0), rule(1.0)
    (1.0, 1.9)
    """

    def __init__(self, factor: float = 0.9) -> None:
        self.factor = factor
        self.speed: Any = 0.0

    def __call__(self, d: Any) -> Any:
        self.speed = self.factor * self.speed + d
        return self.speed


class Adam:
    """Mean over root mean square of the directions, both corrected for their start at zero.

        m = b1 m + (1 - b1) d,   s = b2 s + (1 - b2) d^2,   step = m^ / (sqrt(s^) + eps)

    Kingma and Ba 2014 (arXiv 1412.6980), with b1 = 0.9, b2 = 0.999, eps = 1e-8.

    >>> rule = Adam()
    >>> round(rule(3.0), 6), round(rule(-3.0), 6)     # the first step has size one
    (1.0, -0.052632)
    """

    def __init__(self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> None:
        self.b1, self.b2, self.eps = b1, b2, eps
        self.steps = 0
        self.first: Any = 0.0
        self.second: Any = 0.0

    def __call__(self, d: Any) -> Any:
        self.steps += 1
        self.first = self.b1 * self.first + (1 - self.b1) * d
        self.second = self.b2 * self.second + (1 - self.b2) * d * d
        mean = self.first / (1 - self.b1**self.steps)
        square = self.second / (1 - self.b2**self.steps)
        return mean / (square**0.5 + self.eps)
