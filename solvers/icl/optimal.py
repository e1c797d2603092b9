"""The best step, preconditioner or heads of a layer on linear regression in context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.solvers.icl import heads as softmax_heads
from dsf.solvers.icl.moments import best_preconditioner, best_step, step_risk
from dsf.solvers.icl.prompts import Array, Prompts, number

STEPS = {"gd": False, "debiased_gd": True}  # method -> whether the covariates are centred
PRECONDITIONED = {"preconditioned_gd": False, "preconditioned_debiased_gd": True}


@dataclass(frozen=True, eq=False)
class ICLOptimum:
    """What `icl_optimal` found; what a method does not have is None.

    value       the least risk (`multi_head`: least approximate loss), or the infimum
    attained    whether something has this value; if not, omega and mu are None
    step        eta; of `multi_head` mu'omega, in the limit where no heads attain the value
    G           the preconditioner [d d]
    omega, mu   the heads [H]
    """

    value: float
    attained: bool = True
    step: float | None = None
    G: Array | None = None
    omega: Array | None = None
    mu: Array | None = None


def icl_optimal(
    method: str,
    d: int,
    length: int,
    noise_var: float,
    *,
    heads: int = 2,
    omega: Any = None,
    max_omega: float | None = None,
    covariance: Any = None,
    prior: Any = None,
) -> ICLOptimum:
    """The parameters of least risk: of gradient steps exactly, of heads for the approximate loss.

        gd, debiased_gd             the step eta
        preconditioned_gd, preconditioned_debiased_gd   the matrix G*
        multi_head                  omega and mu of `heads` heads; given `omega` [H], mu alone

    For one head omega* = 1/sqrt(d), mu* = sqrt(d)/(1 + e c d).  For more, L~ comes as close to
    noise + c d/(1 + c d) as one likes while omega -> 0 and mu'omega -> 1/(1 + c d), and never
    attains it: `attained` is False.  With `max_omega` all heads have |omega_h| = max_omega, half
    of them (rounded up) positive; heads of one sign share their mu equally.

    Raises UnknownNameError for another method, ShapeError for sizes, DomainError for values out of
    range and options that the method does not have.  Sources: arXiv 2503.12734 and 2310.08391.

    >>> from dsf.solvers import icl_optimal
    >>> icl_optimal("debiased_gd", 5, 40, 0.1).step == 1 / (1 + 5 * 1.1 / 40)
    True
    >>> found = icl_optimal("multi_head", 5, 40, 0.1)
    >>> round(found.value, 7), found.attained, round(found.step, 7)
    (0.2208791, False, 0.8791209)
    """
    prompts = Prompts(d, length, noise_var, covariance, prior)
    if method == "multi_head":
        return _heads(prompts, heads, omega, max_omega)
    if omega is not None or max_omega is not None:
        raise DomainError(f"icl_optimal: omega and max_omega belong to multi_head, not to {method}")
    if method in STEPS:
        step = best_step(prompts, STEPS[method])
        return ICLOptimum(step_risk(prompts, step * np.eye(d), STEPS[method]), step=step)
    if method in PRECONDITIONED:
        G = best_preconditioner(prompts, PRECONDITIONED[method])
        return ICLOptimum(step_risk(prompts, G, PRECONDITIONED[method]), G=G)
    known = ", ".join((*STEPS, *PRECONDITIONED, "multi_head"))
    raise UnknownNameError(f"icl_optimal: no method {method!r}; known: {known}")


def _heads(prompts: Prompts, heads: int, omega: Any, max_omega: float | None) -> ICLOptimum:
    if omega is not None and max_omega is not None:
        raise DomainError("icl_optimal: give omega or max_omega, not both")
    if not isinstance(heads, (int, np.integer)) or heads < 1:
        raise ShapeError(f"icl_optimal: heads must be an integer of at least 1; got {heads!r}")
    if max_omega is not None:
        if number("icl_optimal: max_omega", max_omega) <= 0:
            raise DomainError(f"icl_optimal: max_omega must be positive; got {max_omega}")
        omega = np.where(np.arange(heads) < (heads + 1) // 2, max_omega, -max_omega)
    elif omega is None and heads == 1:
        omega = [prompts.d**-0.5]
    if omega is None:
        limit = 1 / (1 + softmax_heads.scale(prompts) * prompts.d)
        return ICLOptimum(softmax_heads.infimum(prompts, heads), attained=False, step=limit)
    omega = softmax_heads.scales(prompts, omega)
    mu = softmax_heads.best_values(prompts, omega)
    value = softmax_heads.expanded(prompts, omega, mu)
    return ICLOptimum(value, step=float(mu @ omega), omega=omega, mu=mu)
