"""Proved bounds of singular values and norms, with numpy alone.

Rounding model: u = 2^-53; a sum of k products, in any order, is off by at most g(k) times the sum
of the moduli of the products, g(k) = k u / (1 - k u); ||fl(XY) - XY||_F <= g(k) ||X||_F ||Y||_F.
Each bound is made larger (a lower bound: smaller) by the factor 1 + SLACK, SLACK = 2^-40, which
covers the rounding of the few operations that form it; 2^-1000 is added for underflow.

No case is known in which SLACK, the rounding of the Gram matrices of U and V or that of Cholesky
decides: `size` exceeds the norms by about as much, and sums in blocks, as libraries form them, are
off by far less than g.  They stand for the proof, which allows sums in any order.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from dsf.claims.reading import require

U = 2.0**-53
SLACK = 2.0**-40
TINY = 2.0**-1000
SMALLEST_FLOAT = 2.0**-1074
ORTHONORMAL = 1e-9  # singular vectors in floats are so to about 1e-13; changed ones are not
CONTRACTION = 1 + 2.0**-30  # the bound of |A_t| that is tried; rounding may exceed 1 a little
# the d of `at_most`: more than its 4 u, the rounding of the quotient, and the least d for which
# the entries of R do not underflow
ABOVE_4U, ROUNDED_DOWN, LEAST_D = 2.0**-50, 1 - 2.0**-49, 2.0**-900


def g(k: int) -> float:
    return k * U / (1.0 - k * U)


def size(X: np.ndarray) -> float:
    """An upper bound of the Frobenius norm."""
    biggest = float(np.abs(X).max(initial=0.0))
    if biggest == 0.0:
        return 0.0
    if not np.isfinite(biggest):
        return float("inf")
    k = np.frexp(biggest)[1]
    scaled = np.ldexp(X, 1 - k)  # entries below 2, the largest at least 1
    bound = float(np.linalg.norm(scaled)) * (1.0 + g(X.size + 8) + SLACK)
    with np.errstate(over="ignore"):
        bound = float(np.ldexp(bound, k - 1))
    return bound if bound > TINY else bound + SMALLEST_FLOAT  # ldexp rounds tiny results


def smallest(H: np.ndarray, U: np.ndarray, V: np.ndarray) -> tuple[float, float]:
    """A lower bound of sigma_c(H), c = number of columns of U and V, and min |d|.

    For every x, ||U'HVx|| <= ||U||_2 ||HVx||, so sigma_c(U'HV) <= ||U||_2 ||V||_2 sigma_c(H).
    With X = fl(U'H) and fl(XV) = diag(d) + rest, T = U'HV satisfies

        sigma_c(T) >= min |d| - ||rest||_F - g(p) ||U||_F ||H||_F ||V||_2 - g(q) ||X||_F ||V||_F.

    (inf, 0) for c = 0, where nothing is claimed.
    """
    count = U.shape[1]
    if count == 0:
        return float("inf"), 0.0
    fit = U.shape == (H.shape[0], count) and V.shape == (H.shape[1], count)
    require(fit, f"directions {U.shape}, {V.shape} do not fit a Hankel block {H.shape}")
    for X in (U, V):
        off = float(np.abs(X.T @ X - np.eye(count)).max())
        fits = off < ORTHONORMAL
        require(fits, f"the directions are not orthonormal (by {off:.1e}): were they changed?")
    left = U.T @ H
    T = left @ V
    d = np.abs(np.diag(T))
    rest = size(T - np.diag(np.diag(T)))
    two_u, two_v = (
        np.sqrt(1 + size(X.T @ X - np.eye(count)) + g(X.shape[0] + 2) * size(X) ** 2)
        for X in (U, V)
    )
    lost = g(len(U)) * size(U) * size(H) * two_v + g(len(V)) * size(left) * size(V) + TINY
    value = float((d.min() * (1 - SLACK) - (rest + lost) * (1 + SLACK)) / (two_u * two_v))
    require(value > 0.0, f"no positive lower bound follows from {count} directions")
    return value * (1 - SLACK), float(d.min())


def kernel(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Column block t of the strictly causal kernel is Z_{t+1} B_t, with Z_t = [C_t; Z_{t+1} A_t].

    With z >= ||Z^_{t+1}||_F: an error e of Z_{t+1} becomes at most ||A_t||_2 e + g(n) ||A_t||_F z
    in Z_t, and column block t is off by at most ||B_t||_F (e + g(n) z).
    """
    L, n, m = B.shape
    r = C.shape[1]
    require(A.shape == (L, n, n) and C.shape == (L, r, n), "A, B, C do not fit together")
    K, Z = np.zeros((L * r, L * m)), np.zeros((0, n))
    f = [size(A_t) for A_t in A]
    gains = contractive(A, f)
    e, off = 0.0, np.zeros(L)
    with threadpool_limits(limits=1, user_api="blas"):  # thousands of small products
        for t in range(L - 1, -1, -1):
            z, b = size(Z), size(B[t])
            K[(t + 1) * r :, t * m : (t + 1) * m] = Z @ B[t]
            off[t] = b * e + g(n) * b * z + (TINY if b and z else 0.0)
            e = gains[t] * e + g(n) * f[t] * z + (TINY if f[t] and z else 0.0)
            Z = np.vstack([C[t], Z @ A[t]])
    return K, size(off) * (1 + SLACK) * (1 + g(16 * L))


def contractive(A: np.ndarray, f: list[float]) -> list[float]:
    """Upper bounds of ||A_t||_2: CONTRACTION where Cholesky shows it, else f_t.

    First `at_most` for all A_t at once, with s = max f; if that fails, one by one.
    """
    n, one, s = A.shape[-1], CONTRACTION, max(f, default=0.0)
    d = _diagonal(one, n, n, s)
    try:
        together = d > 0.0 and np.all(
            np.isfinite(np.linalg.cholesky(d * np.eye(n) - A @ np.swapaxes(A, 1, 2)))
        )
    except np.linalg.LinAlgError:
        together = False
    return [
        min(x, one) if together or at_most(A_t, one) else x for x, A_t in zip(f, A, strict=True)
    ]


def at_most(E: np.ndarray, bound: float) -> bool:
    """True only if ||E||_2 <= bound: Cholesky of S = fl(d I - E E') shows it.

    Let s >= ||E||_F.  The float Gram matrix is off by at most g(q) s^2, the diagonal of S by 2 u d
    more.  If Cholesky ends, R'R = S + W with |W_ij| <= h ||R_i|| ||R_j|| for the columns of R,
    h = g(p + 8), and ||R_i||^2 <= S_ii/(1 - h); so ||W||_F <= h/(1 - h) tr S <= 2 h p d, that is
    S >= -2 h p d.  Therefore ||E||_2^2 <= d + 2 h p d + 4 u d + g(q) s^2.
    """
    if E.shape[0] > E.shape[1]:
        E = E.T
    p, q = E.shape
    s = size(E)
    if not bound >= 0.0:
        return False
    if s <= bound:
        return True
    d = _diagonal(bound, p, q, s)
    if d == 0.0:
        return False
    S = -(E @ E.T)
    S[np.diag_indices(p)] += d
    try:
        return bool(np.all(np.isfinite(np.diag(np.linalg.cholesky(S)))))
    except np.linalg.LinAlgError:
        return False


def _diagonal(bound: float, p: int, q: int, s: float) -> float:
    """The d of `at_most`, or 0.0 where nothing can be shown."""
    h = g(p + 8)
    square = bound * bound - g(q) * s * s * (1 + SLACK) - TINY
    d = square / (1 + 2 * h * p + ABOVE_4U) * ROUNDED_DOWN
    return d if d > LEAST_D and h * p < 0.25 else 0.0
