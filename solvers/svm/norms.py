"""The norms of the margin problems, their duals, and upper bounds that hold exactly.

    frobenius   |W|_F          dual: itself
    nuclear     sum sigma_i    dual: sigma_1
    entrywise   (sum |W_ij|^p)^(1/p), 1 < p < inf          dual: 1/p + 1/q = 1

Rounding model and `gamma`: `dsf.states.rounding`.  pow is taken to be off by at most 8 units in the
last place; the checker evaluates it in balls instead.
"""

from __future__ import annotations

import math

import numpy as np

from dsf.core.errors import DomainError
from dsf.states.rounding import TINY, UP, gamma, times_power
from dsf.states.rounding import fro as scaled_fro

Array = np.ndarray
LARGE = 1e200  # a sum of squares between 1/LARGE and LARGE lost nothing that counts


def checked(norm: str, p: float | None) -> float | None:
    """The exponent that belongs to `norm` (None unless entrywise), or DomainError."""
    if not isinstance(norm, str) or norm not in ("frobenius", "nuclear", "entrywise"):
        raise DomainError(
            f'norm must be "frobenius", "nuclear" or "entrywise" (with p=); got {norm!r}'
        )
    if norm != "entrywise":
        if p is not None:
            raise DomainError(f'p = {p} belongs to norm="entrywise"; got norm={norm!r}')
        return None
    real = isinstance(p, (int, float, np.integer, np.floating))
    if p is None or not real or not 1.0 < p < np.inf:
        raise DomainError(
            f'norm="entrywise" needs an exponent 1 < p < inf, the potential (1/p) sum |W_ij|^p of '
            f"mirror descent; got p = {p!r}"
        )
    return float(p)


def fro_upper(A: Array) -> float:
    """An upper bound of the Frobenius norm; without scaling where the squares stay in range."""
    x = A.ravel()
    with np.errstate(over="ignore"):
        s = float(x @ x)
    if 1.0 / LARGE < s < LARGE:  # what underflows is far below the rounding of s
        return math.sqrt(s) * (1.0 + gamma(x.size + 8))
    return scaled_fro(A)


def value(W: Array, norm: str, p: float | None = None) -> float:
    """The norm of W in float arithmetic."""
    if norm == "frobenius":
        return float(np.linalg.norm(W))
    if norm == "nuclear":
        return float(np.linalg.svd(W, compute_uv=False).sum())
    return _lp(np.abs(W), float(p or 2.0))


def upper(W: Array, norm: str, p: float | None = None) -> float:
    """An upper bound of the norm of the float matrix W."""
    if norm == "frobenius":
        return fro_upper(W)
    if norm == "nuclear":
        return nuclear_upper(W)
    return _lp(np.abs(W), float(p or 2.0)) * (1.0 + gamma(W.size + 32)) + TINY


def dual_upper(G: Array, error: Array, norm: str, p: float | None = None) -> float:
    """An upper bound of the dual norm of every matrix within `error` of G, entry by entry."""
    if norm == "frobenius":
        return fro_upper(np.abs(G) + error) * UP + TINY
    if norm == "nuclear":
        return (singular_upper(G)[0] + fro_upper(error)) * UP + TINY
    q = float(p or 2.0) / (float(p or 2.0) - 1.0)
    # q has one rounding: (a/top)^q changes by a factor within 1 +- q u |log(a/top)|, and where
    # that logarithm is below -800 the entry is below the rounding of the sum
    return _lp(np.abs(G) + error, q) * (1.0 + gamma(G.size + 2000)) + TINY


def _lp(A: Array, p: float) -> float:
    top = float(A.max(initial=0.0))
    if not math.isfinite(top):
        return math.inf
    return top * float(np.sum((A / top) ** p) ** (1.0 / p)) if top > 0.0 else 0.0


def singular_upper(G: Array) -> Array:
    """Upper bounds of the singular values of G, in decreasing order.

    With the float factors, G = U S V' + E and ||U||_2^2 <= 1 + ||U'U - I||_F, so by Weyl
    sigma_i(G) <= ||U||_2 ||V||_2 S_i + ||E||_F.
    """
    S, stretch, rest, k = _factored(G)
    bounds = (S * stretch + rest) * UP
    return np.array([times_power(float(x), k) for x in bounds])


def nuclear_upper(W: Array) -> float:
    """An upper bound of the sum of the singular values: ||U|| ||V|| sum S_i + sqrt(r) ||E||_F."""
    S, stretch, rest, k = _factored(W)
    r = max(len(S), 1)
    total = float((S.sum() * stretch + np.sqrt(r) * rest) * (1.0 + gamma(r + 16)))
    return times_power(total, k)


def _factored(G: Array) -> tuple[Array, float, float, int]:
    """(S, ||U|| ||V||, ||E||_F, k) for the float SVD U S V' of 2^-k G, whose entries are below 1.

    Scaling is exact but where entries underflow, far below the largest: TINY covers them.
    """
    k = math.frexp(float(np.abs(G).max(initial=0.0)))[1]
    G = np.ldexp(G, -k)
    U, S, Vt = np.linalg.svd(G, full_matrices=False)
    r = len(S)
    rounding = gamma(r + 2) * fro_upper((np.abs(U) * S) @ np.abs(Vt)) * (1.0 + gamma(r + 8))
    rest = fro_upper(G - (U * S) @ Vt) + 2.0 * rounding + TINY
    stretch = _length(U) * _length(Vt.T) * UP
    return S, stretch, rest, k


def _length(U: Array) -> float:
    """An upper bound of ||U||_2 for a U with nearly orthonormal columns."""
    m, r = U.shape
    defect = fro_upper(U.T @ U - np.eye(r)) + gamma(m + 2) * fro_upper(U) ** 2
    return float(np.sqrt(1.0 + defect) * UP)
