"""Runge-Kutta steps on arrays of numpy, all systems at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from dsf.kernels.flow.system import function


def forward(y: Any, p: Any, t: Any, steps: int, system: tuple[Any, ...]) -> tuple[Any, Any]:
    """The classical method of order 4 with h = (t_{i+1} - t_i) / steps.

        a = f(y), b = f(y + h/2 a), c = f(y + h/2 b), e = f(y + h c)
        y <- y + h/6 (a + 2 (b + c) + e)

    y [d N], p [q N], t [T]; `system` as in `system.checked`; returns y [T d N] and the last one.
    """
    run = function(*system, "numpy")

    def f(y: Any) -> Any:
        return np.array([np.broadcast_to(x, y.shape[1:]) for x in run(*y, *p)])

    rows = [y]
    with np.errstate(all="ignore"):
        for start, stop in pairwise(t):
            h = (stop - start) / steps
            for _ in range(steps):
                a = f(y)
                b = f(y + h / 2 * a)
                c = f(y + h / 2 * b)
                e = f(y + h * c)
                y = y + h / 6 * (a + 2 * (b + c) + e)
            rows.append(y)
    return np.array(rows), y
