"""What of the past a frozen system still knows: its Hankel singular values, from A, B, C alone.

    H_k = M[k:, :k] = O_k R_k       R_k [n, k d] what the inputs before k made of s_{k-1},
                                    O_k [(L-k) r, n] what the outputs from k on see of it

With R_k = S_k V' and O_k = U T_k, where U and V have orthonormal columns, T_k S_k [n n] has the
singular values of H_k.  S and T come from one triangular factorisation a step, so that no kernel is
formed and no square of a singular value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.system import LTV
from dsf.core.transition import Dense


def blocks(ltv: LTV) -> np.ndarray:
    """T_k S_k [L+1 n n] for k = 0 .. L: all Hankel blocks of a system (read before), compressed.

    Source: Hankel blocks as products of observability and reachability maps, dewilde1998; square
    roots of Gramians by orthogonal transformations, hammarling1982.

    >>> import torch
    >>> from dsf.models.layers.frozen import frozen
    >>> [stage] = frozen(torch.nn.GRU(2, 3), torch.ones(5, 2))
    >>> blocks(stage.forward).shape
    (6, 3, 3)
    """
    L, n = ltv.length, ltv.n
    A, B, C = (coefficients(x, L) for x in (ltv.A.dense(), ltv.B, ltv.C))
    reach = [np.zeros((n, n))]
    for t in range(L):
        reach.append(_triangle(np.concatenate([A[t] @ reach[-1], B[t]], 1).T).T)
    see = [np.zeros((n, n))]
    for t in reversed(range(L)):
        see.append(_triangle(np.concatenate([C[t], see[-1] @ A[t]], 0)))
    return np.stack([T @ S for T, S in zip(reversed(see), reach, strict=True)])


def coefficients(x: Any, L: int) -> np.ndarray:
    """A coefficient of a system as [L ..], also where it is constant."""
    x = np.asarray(x, dtype=np.float64)
    return np.broadcast_to(x, (L, *x.shape[-2:]))


def _triangle(X: np.ndarray) -> np.ndarray:
    """The factor T [n n] of X = Q T, Q with orthonormal columns; X [m n]."""
    n = X.shape[1]
    T = np.linalg.qr(X, mode="r")
    return np.concatenate([T, np.zeros((n - len(T), n))])


def adjoint(ltv: LTV) -> LTV:
    """The system whose kernel is the transpose, with time turned round (read before)."""
    L = ltv.length
    A, B, C, D = (
        coefficients(x, L).swapaxes(1, 2)[::-1] for x in (ltv.A.dense(), ltv.B, ltv.C, ltv.D)
    )
    return LTV(Dense(A), C, B, D, read="before", steps=L)


def norm(ltv: LTV, steps: int = 40, seed: int = 0) -> float:
    """|M|_2 from below, by power iteration on M'M: no kernel is formed."""
    back, x = adjoint(ltv), np.random.default_rng(seed).standard_normal((ltv.length, ltv.m, 1))
    found = 0.0
    for _ in range(steps):
        size = float(np.linalg.norm(x))
        if not size:
            return 0.0
        y = np.asarray(ltv.scan(x / size)[0])
        found = float(np.linalg.norm(y))
        x = np.asarray(back.scan(y[::-1])[0])[::-1]
    return found


def growth(ltv: LTV) -> tuple[float, float, float]:
    """(largest spectral radius of an A_t, |A_L .. A_1|^(1/L), max_t |A_t .. A_1|), 2-norms.

    The second is the rate per token at which the run forgets its start (0: it has forgotten all),
    the third how large a change of the first state becomes on the way.
    """
    A = coefficients(ltv.A.dense(), ltv.length)
    radius = float(np.abs(np.linalg.eigvals(A)).max(initial=0.0))
    X, log = np.eye(ltv.n), 0.0
    logs: list[float] = []
    for a in A:
        X = a @ X
        size = float(np.linalg.norm(X, 2))
        if not size:
            return radius, 0.0, float(np.exp(max(logs, default=-np.inf)))
        X, log = X / size, log + np.log(size)  # scaled: a long product leaves the range of floats
        logs.append(log)
    return radius, float(np.exp(log / len(A))), float(np.exp(max(logs)))
