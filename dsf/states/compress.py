"""Sequential truncation of a causal operator: one pass that yields a state-space form.

A causal operator is M [L r L m] with M[i, :, j, :] = 0 for j > i (flat: [L r, L m], block lower
triangular).  Its Hankel block at cut k is H_k = M[k:, :, :k, :], from past inputs to later outputs.
The pass keeps H_k ~ O_k R_k with R_k R_k' = I and O_k'O_k = diag(s_k)^2.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dsf.states.blas import one_thread

BLOCK = 48  # columns taken into one Gram matrix; the cost is flat between 32 and 64


@dataclass(frozen=True, eq=False)
class Compressed:
    """The coefficients of sequential truncation, zero-padded to n = max_k n_k states.

    A [L n n], B [L n m], C [L r n], D [L r m] with read="before"; s [L+1 n]: the singular values
    of the truncated Hankel block at every cut k = 0..L; tau [L+1]: the Frobenius norm of what was
    cut off there.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    s: np.ndarray
    tau: np.ndarray

    @property
    def n(self) -> int:
        """The number of states."""
        return self.A.shape[-1]

    def sliced(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The first n coordinates: balanced truncation, as R_k R_k' = I and O_k'O_k is diagonal."""
        return (
            np.ascontiguousarray(self.A[:, :n, :n]),
            np.ascontiguousarray(self.B[:, :n]),
            np.ascontiguousarray(self.C[:, :, :n]),
            self.D,
        )


class OutOfTime(Exception):
    """The deadline passed, or the state count passed its limit, before the pass ended."""


def compress(
    M: np.ndarray,
    tol: float,
    *,
    gram: bool = True,
    rank: int | None = None,
    limit: int | None = None,
    deadline: float = np.inf,
) -> Compressed:
    """Sequential truncation of M [L r L m]: at each cut drop the singular values <= tol.

    Step k: with O_k [rows, n] known, the next Hankel block has the same column space as

        Z = [O_k without its first r rows | column block k of M below the diagonal].

    With V its right singular vectors above `tol`, O_{k+1} = Z V, A_k = V[:n]', B_k = V[n:]', and
    C_k = first r rows of O_k.  ||M - M^||_F^2 = sum_k tau_k^2 exactly: the errors are orthogonal.

    gram=True takes V from the eigenvectors of Z'Z, which costs O(L^2 n) and sees nothing below
    about 1e-8 ||M||; gram=False takes an SVD of Z at every step, O(L^2 n^2).  `rank` caps all n_k.
    Raises `OutOfTime` when time.monotonic() passes `deadline` or a state count passes `limit`.
    """
    L, r, _, m = M.shape
    step = _gram_steps if gram else _svd_steps
    A, B, C, s, tau = [], [], [], [np.zeros(0)], [0.0]
    with one_thread():
        for k, (V, Ck, sk, cut) in enumerate(step(M, tol, rank)):
            n = Ck.shape[1]
            A.append(V[:n].T)
            B.append(V[n:].T)
            C.append(Ck)
            s.append(sk)
            tau.append(cut)
            if limit is not None and sk.size > limit:
                raise OutOfTime(f"{sk.size} states at cut {k + 1} of {L}")
            if time.monotonic() > deadline:
                raise OutOfTime(f"the time limit ended it at cut {k + 1} of {L}")
    n = max((x.size for x in s), default=0)
    D = np.ascontiguousarray(M[np.arange(L), :, np.arange(L), :])
    return Compressed(
        pad(A, (L, n, n)),
        pad(B, (L, n, m)),
        pad(C, (L, r, n)),
        D,
        pad(s, (L + 1, n)),
        np.array(tau),
    )


def pad(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The arrays stacked into zeros of `shape`, each in the corner of its slot."""
    out = np.zeros(shape)
    for k, x in enumerate(parts):
        out[k][tuple(slice(size) for size in x.shape)] = x
    return out


def _keep(s: np.ndarray, tol: float, rank: int | None) -> int:
    kept = int(np.count_nonzero(s > tol))
    return kept if rank is None else min(kept, rank)


def _svd_steps(M, tol, rank):
    """Yield (V, C_k, s_{k+1}, tau_{k+1}) for k = 0..L-1, V from the SVD of Z."""
    L, r, _, m = M.shape
    flat = M.reshape(L * r, L * m)
    O = np.zeros((L * r, 0))
    for k in range(L):
        Z = np.hstack([O[r:], flat[(k + 1) * r :, k * m : (k + 1) * m]])
        if Z.shape[0] < Z.shape[1]:  # the tail: fewer outputs left than states
            left, s, Vt = np.linalg.svd(Z, full_matrices=False)
        else:
            Q, T = np.linalg.qr(Z)
            left, s, Vt = np.linalg.svd(T)
            left = Q @ left
        n = _keep(s, tol, rank)
        yield Vt[:n].T, O[:r], s[:n], float(np.linalg.norm(s[n:]))
        O = left[:, :n] * s[:n]


def _gram_steps(M, tol, rank):
    """The same from eigenvectors of Z'Z.

    Z = P[k:] W, with P = [O | block of columns of M] fixed for BLOCK steps; P[k:]'P[k:] is formed
    by adding rows from the end, never by subtracting them.
    """
    L, r, _, m = M.shape
    flat = M.reshape(L * r, L * m)
    P, W = np.zeros((L * r, 0)), np.zeros((0, 0))
    for start in range(0, L, BLOCK):
        stop = min(start + BLOCK, L)
        P = np.hstack([P @ W, flat[start * r :, start * m : stop * m]])
        W = np.eye(W.shape[1])
        for j in range(stop - start):  # of M, only what lies strictly below the diagonal
            P[: (j + 1) * r, len(W) + j * m : len(W) + (j + 1) * m] = 0.0
        local = P[: (stop - start) * r].reshape(stop - start, r, -1)
        tail = P[(stop - start) * r :]
        grams = np.cumsum((np.swapaxes(local, 1, 2) @ local)[::-1], axis=0)[::-1]
        K = tail.T @ tail
        for k in range(start, stop):
            Ck = local[k - start, :, : W.shape[0]] @ W
            W = _extend(W, m)
            c = W.shape[0]
            G = K[:c, :c] if k + 1 == stop else K[:c, :c] + grams[k + 1 - start, :c, :c]
            lam, V = np.linalg.eigh(W.T @ G @ W)
            s = np.sqrt(np.maximum(lam[::-1], 0.0))
            n = min(_keep(s, tol, rank), (L - k - 1) * r)
            V = V[:, ::-1][:, :n]
            yield V, Ck, s[:n], float(np.linalg.norm(s[n:]))
            W = W @ V
        P = tail


def _extend(W: np.ndarray, m: int) -> np.ndarray:
    out = np.zeros((W.shape[0] + m, W.shape[1] + m))
    out[: W.shape[0], : W.shape[1]] = W
    out[W.shape[0] :, W.shape[1] :] = np.eye(m)
    return out


def kernel(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, chunk: int = 64
) -> np.ndarray:
    """M^ [L r, L m] of A [L n n], B [L n m], C [L r n], D [L r m] (read before), by chunks.

        M^[t, j] = C_t A_{t-1} ... A_{j+1} B_j  (j < t),     M^[t, t] = D_t

    The rows t of a chunk that starts at s are (C_t A_{t-1} ... A_s) X_s, where column j < s of X_s
    is A_{s-1} ... A_{j+1} B_j.
    """
    L, n, m = B.shape
    r = C.shape[1]
    K = np.zeros((L * r, L * m))
    X = np.zeros((n, 0))
    with one_thread():
        for s in range(0, L, chunk):
            e = min(s + chunk, L)
            left, Phi, inner = np.empty((e - s, r, n)), np.eye(n), np.zeros((n, 0))
            for t in range(s, e):
                left[t - s] = C[t] @ Phi
                K[t * r : (t + 1) * r, s * m : t * m] = C[t] @ inner
                K[t * r : (t + 1) * r, t * m : (t + 1) * m] = D[t]
                Phi = A[t] @ Phi
                inner = np.hstack([A[t] @ inner, B[t]])
            K[s * r : e * r, : s * m] = left.reshape((e - s) * r, n) @ X
            X = np.hstack([Phi @ X, inner])
    return K
