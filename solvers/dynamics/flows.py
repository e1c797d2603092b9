"""Differential equations of training, integrated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dsf.solvers.svm.problem import Array


def integrate(
    right: Callable[[float, Array], Array],
    start: Array,
    t: Array,
    rtol: float,
    atol: float,
    begin: float = 0.0,
) -> Array:
    """y [times N] of y' = right(t, y) from `start` at the time `begin`, by LSODA.

    >>> integrate(lambda _, y: -y, np.ones(1), [0.0, np.log(2)], 1e-9, 1e-12).round(6)
    array([[1. ],
           [0.5]])
    """
    from scipy.integrate import solve_ivp

    t = np.asarray(t, dtype=np.float64)
    run = solve_ivp(right, (begin, float(t[-1])), start, "LSODA", t, rtol=rtol, atol=atol)
    return np.asarray(run.y.T)
