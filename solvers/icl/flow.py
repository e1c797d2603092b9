"""Gradient flow of the heads (omega, mu) on half the approximate loss.

    omega' = mu - (mu'omega) mu - d c (E o mu mu') omega,   mu' = omega - (omega omega' + c E) mu

Stage I     t of the order of log(1/start): linear, omega' = mu, mu' = omega - c 1 1'mu; signs of
            omega and mu become equal and so do their sizes, at the rate e^-t
Stage II    mu'omega rises to 1/(1 + c d), sum mu falls to 0, all |omega_h| become one
Stage III   mu'omega stays, omega shrinks as t^(-1/6) (`heads.slow_law`) while mu grows: no limit
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError
from dsf.solvers.dynamics.flows import integrate
from dsf.solvers.icl.heads import expanded, gradient, scale, scales, values
from dsf.solvers.icl.prompts import Array, Prompts, numbers

RTOL, ATOL = 1e-9, 1e-12


@dataclass(frozen=True, eq=False)
class HeadFlow:
    """Times t [n], omega and mu [n H], the approximate loss [n]."""

    t: Array
    omega: Array
    mu: Array
    loss: Array


def flow(
    prompts: Prompts, omega: Any, mu: Any, times: Any, rtol: float = RTOL, atol: float = ATOL
) -> HeadFlow:
    """The flow from (omega, mu) at time 0, at increasing times.

    Raises DomainError unless times are increasing and not negative, and what `heads.scales` raises.

    >>> found = flow(Prompts(5, 40, 0.1), [0.02], [0.01], [1e3])
    >>> found.omega.round(6).tolist(), found.loss.round(8).tolist()
    ([[0.447214]], [0.3720728])
    """
    times = np.atleast_1d(numbers("flow: times", times))
    if not (times.ndim == 1 and times.size and times[0] >= 0 and np.all(np.diff(times) > 0)):
        raise DomainError("flow: times must be a list that increases from 0 or later")
    omega = scales(prompts, omega)
    mu, H = values(omega, mu), len(omega)

    def right(_: float, y: Array) -> Array:
        return -np.concatenate(gradient(prompts, y[:H], y[H:]))

    y = integrate(right, np.concatenate([omega, mu]), times, rtol, atol)
    losses = np.array([expanded(prompts, z[:H], z[H:]) for z in y])
    return HeadFlow(times, y[:, :H], y[:, H:], losses)


def linear_stage(prompts: Prompts, omega: Any, mu: Any, times: Any) -> tuple[Array, Array]:
    """omega and mu [n H] of the linear flow omega' = mu, mu' = omega - c 1 1'mu (stage I).

    >>> omega, mu = linear_stage(Prompts(5, 40, 0.1), [1.0, -1.0], [0.0, 0.0], [1.0])
    >>> omega.round(4).tolist(), mu.round(4).tolist()          # cosh 1 and sinh 1
    ([[1.5431, -1.5431]], [[1.1752, -1.1752]])
    """
    from scipy.linalg import expm

    omega = np.asarray(omega, np.float64)
    H = len(omega)
    A = np.zeros((2 * H, 2 * H))
    A[:H, H:] = A[H:, :H] = np.eye(H)
    A[H:, H:] = -scale(prompts)
    y0 = np.concatenate([omega, values(omega, mu)])
    y = np.array([expm(A * t) @ y0 for t in np.atleast_1d(times)])
    return y[:, :H], y[:, H:]
