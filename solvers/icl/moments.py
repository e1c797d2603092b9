"""Exact risks of gradient steps at finite length, from the second moments of Wishart matrices.

The predictor is x_q'G g with g = (1/L) sum_l y_l x_l, or with x_l less their mean.  With
E[g | beta] = a Lam beta and M = E[g g'],

    R(G) = noise + tr(Lam (Psi - a G Lam Psi - a Psi Lam G' + G M G')),    G* = a Psi Lam M^-1

    plain     a = 1,        M = (1 + 1/L) Lam Psi Lam + (tr(Lam Psi) + noise)/L Lam
    centred   a = (L-1)/L,  M = a (Lam Psi Lam + (tr(Lam Psi) + noise)/L Lam)

from E[S A S] = (1 + 1/n) Lam A Lam + tr(Lam A)/n Lam for n S Wishart of n degrees of freedom.
Sources: von Oswald et al. 2022 (2212.07677), Zhang et al. 2023 (2306.09927), Ahn et al. 2023
(2306.00297), Wu et al. 2023 (2310.08391); the centred one is derived here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dsf.solvers.icl.prompts import Array, Prompts


class Moments(NamedTuple):
    """a and M of a mean of y x, both over `factor`, which is a where the x are centred, else 1.

    At length 1 the centred x vanish, and so does `factor`; the best G is a limit all the same.
    """

    factor: float
    a: float
    M: Array


def moments(prompts: Prompts, centred: bool) -> Moments:
    """The moments at the length of the prompts.

    >>> moments(Prompts(1, 2, 0.0), centred=True)
    Moments(factor=0.5, a=1.0, M=array([[1.5]]))
    """
    L, Lam = prompts.length, prompts.Lam
    signal = Lam @ prompts.Psi @ Lam
    rest = (prompts.signal + prompts.noise_var) / L * Lam
    if centred:
        return Moments((L - 1) / L, 1.0, signal + rest)
    return Moments(1.0, 1.0, (1 + 1 / L) * signal + rest)


def step_risk(prompts: Prompts, G: Array, centred: bool = False) -> float:
    """R(G) of the matrix step G [d d].

    >>> round(step_risk(Prompts(5, 40, 0.1), 0.897 * np.eye(5)), 7)
    0.241358
    """
    factor, a, M = moments(prompts, centred)
    Lam, Psi = prompts.Lam, prompts.Psi
    cross = a * G @ Lam @ Psi
    inner = Psi + factor * (G @ M @ G.T - cross - cross.T)
    return float(prompts.noise_var + np.sum(Lam * inner))


def best_step(prompts: Prompts, centred: bool = False) -> float:
    """The step eta for which G = eta I has the least risk; 0 where nothing can be predicted.

    >>> best_step(Prompts(5, 40, 0.1), centred=True) == 40 / (40 + 5 * 1.1)
    True
    """
    _, a, M = moments(prompts, centred)
    Lam = prompts.Lam
    against = float(np.sum(Lam * M))
    return float(a * np.sum((Lam @ Lam) * prompts.Psi) / against) if against else 0.0


def best_preconditioner(prompts: Prompts, centred: bool = False) -> Array:
    """G* = a Psi Lam M^-1; of least norm where the covariates span less than d directions.

    >>> best_preconditioner(Prompts(1, 4, 0.0), centred=True)
    array([[0.8]])
    """
    _, a, M = moments(prompts, centred)
    found: Array = a * prompts.Psi @ prompts.Lam @ np.linalg.pinv(M, hermitian=True)
    return found
