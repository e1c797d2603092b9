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

STEP, STEPS = 0.85, 12  # thresholds of truncations that are tried, over the error asked for


class Balanced:
    """The singular value decompositions T_k S_k = U s V' at the cuts k = 0 .. L of a system.

    values   s [L+1 n] of all Hankel blocks;   blocks   T_k S_k [L+1 n n], their compressions

    Source: Hankel blocks as products of observability and reachability maps, dewilde1998; square
    roots of Gramians by orthogonal transformations, hammarling1982.

    >>> import torch
    >>> from dsf.models.layers.frozen import frozen
    >>> [stage] = frozen(torch.nn.GRU(2, 3), torch.ones(5, 2))
    >>> Balanced(stage.forward).values.shape
    (6, 3)
    """

    def __init__(self, ltv: LTV) -> None:
        self.ltv, L, n = ltv, ltv.length, ltv.n
        self.A, self.B, self.C = (coefficients(x, L) for x in (ltv.A.dense(), ltv.B, ltv.C))
        S, T = [np.zeros((n, n))], [np.zeros((n, n))]
        for A, B in zip(self.A, self.B, strict=True):
            S.append(_triangle(np.concatenate([A @ S[-1], B], 1).T).T)
        for A, C in zip(self.A[::-1], self.C[::-1], strict=True):
            T.append(_triangle(np.concatenate([C, T[-1] @ A], 0)))
        see, reach = np.stack(T[::-1]), np.stack(S)
        self.blocks = see @ reach
        U, self.values, V = np.linalg.svd(self.blocks)
        self.left, self.right = see.swapaxes(1, 2) @ U, reach @ V.swapaxes(1, 2)

    def truncated(self, threshold: float) -> LTV:
        """Balanced truncation: at each cut the singular values above `threshold` stay.

            W_k = T_k' U s^(-1/2),    R_k = S_k V s^(-1/2),    W_k' R_k = 1
            A_t -> W_{t+1}' A_t R_t,    B_t -> W_{t+1}' B_t,    C_t -> C_t R_t

        It has the states of the cut that keeps most; the others are filled with zeros.
        Source: sandberg2004.
        """
        kept = self.values > threshold
        n = int(kept.sum(1).max())
        kept = kept[:, :n]
        scale = np.where(kept, np.where(kept, self.values[:, :n], 1.0) ** -0.5, 0.0)[:, None]
        W, R = self.left[..., :n] * scale, self.right[..., :n] * scale
        turned = W[1:].swapaxes(1, 2)
        A, B, C = turned @ self.A @ R[:-1], turned @ self.B, self.C @ R[:-1]
        return LTV(Dense(A), B, C, self.ltv.D, read="before", steps=self.ltv.length)

    def sufficient(self, error: float) -> int:
        """States of the first truncation, from few to many, with |M - M^|_2 < error; else n.

        The norm by `within`, in float64 and without a bound of its rounding.
        """
        for k in range(STEPS):
            small = self.truncated(error * STEP**k)
            if small.n < self.ltv.n and within(self.ltv, small, error):
                return small.n
        return self.ltv.n


def within(one: LTV, other: LTV, error: float) -> bool:
    """Whether |M - M^|_2 < error for two systems with the same D: the bounded real lemma.

        P_{t+1} = A P A' + B B' + A P C' (error^2 - C P C')^{-1} C P A',     error^2 > C P C'

    A, B, C of the difference.  True if all these matrices are positive definite.
    Source: time-varying bounded real lemma, dewilde1998.
    """
    L, n, m = one.length, one.n, other.n
    ours, theirs = ([coefficients(x, L) for x in (s.A.dense(), s.B, s.C)] for s in (one, other))
    P = np.zeros((n + m, n + m))
    for t in range(L):
        A = np.zeros((n + m, n + m))
        A[:n, :n], A[n:, n:] = ours[0][t], theirs[0][t]
        B = np.concatenate([ours[1][t], theirs[1][t]])
        C = np.concatenate([ours[2][t], -theirs[2][t]], 1) / error  # so that the bound is 1
        try:
            root = np.linalg.cholesky(np.eye(len(C)) - C @ P @ C.T)
        except np.linalg.LinAlgError:
            return False
        Y = np.linalg.solve(root, C @ P @ A.T)
        P = A @ P @ A.T + B @ B.T + Y.T @ Y
    return True


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
