"""Minimal time-varying realizations of an operator, balanced, in both reading conventions."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dsf.core.errors import DomainError
from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.states.compress import compress
from dsf.states.inputs import as_blocks, tolerance

RTOL = 1e-10  # singular values up to this times |M| are rounding: the realization is exact


def minimal_dims(
    M: np.ndarray,
    read: Literal["after", "before"] = "before",
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> np.ndarray:
    """The smallest state size after every token of a causal operator M [L L] or [L r L m]: [L].

        before   n_t = rank M[t+1:, :t+1]
        after    n_t = rank M[t:, :t] + rank M[t+1:, :t+1] - rank M[t+1:, :t]      (D_t is free)

    read="before": y_t reads the state before token t; "after": after it.  Both are attained at all
    steps at once (`minimal_realization`).  A singular value counts if it exceeds rtol ||M||_2
    (default 1e-10), or atol.
    Entries above the diagonal are ignored.
    Raises ShapeError, DTypeError, NonFiniteError, DomainError.
    Source: van der Veen and Dewilde (before); completion of the free diagonal block (after).

    >>> import numpy as np
    >>> delay = np.eye(5, k=-1)
    >>> minimal_dims(delay), minimal_dims(delay, read="after")
    (array([1, 1, 1, 1, 0]), array([1, 2, 2, 2, 1]))
    """
    blocks = as_blocks(M, "minimal_dims", heads=False)
    threshold = _threshold("minimal_dims", blocks, rtol, atol)
    L = blocks.shape[0]

    def rank(i: int, j: int) -> int:
        X = blocks[i:, :, :j, :].reshape((L - i) * blocks.shape[1], j * blocks.shape[3])
        return int(np.count_nonzero(_singular_values(X) > threshold))

    causal = [rank(k, k) for k in range(L + 1)]
    if _reading(read) == "before":
        return np.array(causal[1:], dtype=int)
    both = [rank(k + 1, k) for k in range(L)]
    return np.array([causal[k] + causal[k + 1] - both[k] for k in range(L)], dtype=int)


def minimal_realization(
    M: np.ndarray,
    read: Literal["after", "before"] = "before",
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> LTV:
    """A balanced minimal realization of a causal M [L L] or [L r L m], zero-padded to max_k n_k.

    With H_k = M[k:, :k] = U_k S_k V_k' (singular values up to rtol ||M||_2, by default 1e-10, or
    up to atol are dropped),
    O_k = U_k S_k^(1/2) and R_k = S_k^(1/2) V_k', and reading before the update,

        A_k = O_{k+1}^+ O_k[1:],   B_k = last column of R_{k+1},   C_k = O_k[0],   D_k = M_kk.

    Both Gramians, P_{k+1} = A_k P_k A_k' + B_k B_k' and Q_k = A_k' Q_{k+1} A_k + C_k'C_k, are S_k.
    read="after" factors N_k = [M[k:, :k] | (M_kk - D_k; M[k+1:, k])] in the same way, with the D_k
    that makes its rank smallest.  Float64; exact up to rounding, which the scaling by S^(-1/2)
    magnifies when the tolerance is tiny.  Cost O(L^2 n^2), or one SVD per step for read="after".
    Raises ShapeError, DTypeError, NonFiniteError, DomainError.
    Source: van der Veen and Dewilde; see `realize` for bounds that hold.

    >>> import numpy as np
    >>> M = np.tril(np.ones((6, 6)))
    >>> minimal_realization(M).n
    1
    >>> float(np.abs(minimal_realization(M).kernel() - M).max()) < 1e-14
    True
    """
    blocks = as_blocks(M, "minimal_realization", heads=False)
    threshold = _threshold("minimal_realization", blocks, rtol, atol)
    parts = _before(blocks, threshold) if _reading(read) == "before" else _after(blocks, threshold)
    A, B, C, D = parts
    return LTV(Dense(A), B, C, D, read=read, steps=blocks.shape[0])


def _before(blocks: np.ndarray, threshold: float) -> tuple[np.ndarray, ...]:
    c = compress(blocks, threshold, gram=False)  # untruncated: O_k = U_k S_k, R_k = V_k'
    root = np.sqrt(c.s)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    A = root[1:, :, None] * c.A * inverse[:-1, None, :]
    return A, root[1:, :, None] * c.B, c.C * inverse[:-1, None, :], c.D


def _after(blocks: np.ndarray, threshold: float) -> tuple[np.ndarray, ...]:
    L, r, _, m = blocks.shape
    factors = []
    D = np.zeros((L, r, m))
    for k in range(L):
        past = blocks[k:, :, :k, :].reshape((L - k) * r, k * m)
        column = blocks[k:, :, k, :].reshape((L - k) * r, m)
        later, earlier = past[r:], past[:r]
        if later.size:  # the completion [[a, x], [C, d]] of least rank has x = a C^+ d
            x = earlier @ _pinv(later, threshold) @ column[r:]
        else:
            x = np.zeros((r, m))
        D[k] = column[:r] - x
        N = np.hstack([past, np.vstack([x, column[r:]])])
        left, s, Vt = np.linalg.svd(N, full_matrices=False)
        n = int(np.count_nonzero(s > threshold))
        factors.append((left[:, :n] * np.sqrt(s[:n]), np.sqrt(s[:n])[:, None] * Vt[:n], s[:n]))
    n = max((f[2].size for f in factors), default=0)
    A, B, C = np.zeros((L, n, n)), np.zeros((L, n, m)), np.zeros((L, r, n))
    for k, (O, R, s) in enumerate(factors):
        B[k, : s.size] = R[:, k * m :]
        C[k, :, : s.size] = O[:r]
        if k:  # O_k = U S^(1/2), so O_k^+ = S^(-1) O_k'
            before = factors[k - 1][0]
            A[k, : s.size, : before.shape[1]] = (O.T @ before[r:]) / s[:, None]
    return A, B, C, D


def _pinv(X: np.ndarray, threshold: float) -> np.ndarray:
    left, s, Vt = np.linalg.svd(X, full_matrices=False)
    n = int(np.count_nonzero(s > threshold))
    return (Vt[:n].T / s[:n]) @ left[:, :n].T


def _singular_values(X: np.ndarray) -> np.ndarray:
    return np.linalg.svd(X, compute_uv=False) if X.size else np.zeros(0)


def _threshold(who: str, blocks: np.ndarray, rtol: float | None, atol: float | None) -> float:
    tol = tolerance(who, rtol, atol, default=RTOL)
    L, r, _, m = blocks.shape
    values = _singular_values(blocks.reshape(L * r, L * m)) if tol.relative else np.ones(1)
    return tol.value * float(values.max(initial=0.0))


def _reading(read: str) -> str:
    if read not in ("after", "before"):
        raise DomainError(f"read must be 'after' or 'before'; got {read!r}")
    return read
