"""Lower bounds on the number of states: singular values of Hankel blocks, with proved rounding.

A causal operator is M [L r L m]; its Hankel block at cut k is H_k = M[k:, :, :k, :] as a matrix.
A linear recurrence with n states has rank H_k <= n at every cut, so by Eckart and Young its
distance from M is at least max_k sigma_{n+1}(H_k), whatever its gates are (van der Veen, Dewilde).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from dsf.states.blas import one_thread
from dsf.states.kept import Kept
from dsf.states.rounding import ROOM, TINY, U, fro, gamma

SMALL = 300  # below this size a full SVD is as fast as a sketch


@dataclass(frozen=True, eq=False)
class Cut:
    """Test subspaces U [p c], V [q c] at cut k, and sigma [c] with sigma[j] <= sigma_{j+1}(H_k)."""

    k: int
    U: np.ndarray
    V: np.ndarray
    sigma: np.ndarray

    def count(self, error: float) -> int:
        """How many singular values of H_k are proved to exceed `error`."""
        return int(np.count_nonzero(self.sigma > error * (1.0 + ROOM)))

    def leading(self, n: int) -> Cut:
        """The same cut with the first n directions only."""
        return Cut(self.k, self.U[:, :n], self.V[:, :n], self.sigma[:n])


def block(M: np.ndarray, k: int) -> np.ndarray:
    """H_k of M [L r L m] as a matrix [(L-k) r, k m]."""
    L, r, _, m = M.shape
    return M[k:, :, :k, :].reshape((L - k) * r, k * m)


def proved_singular_values(H: np.ndarray, P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Lower bounds b_1 >= b_2 >= ... with b_j <= sigma_j(H), from any P [p c] and Q [q c].

    With G = P'HQ and P_j, Q_j the first j columns, sigma_j(P_j'HQ_j) is at most
    ||P||_2 ||Q||_2 sigma_j(H), and G is nearly diagonal when P, Q approximate singular vectors.
    So by Weyl

        sigma_j(H) >= (min_{i<=j} |G^_ii| - ||offdiag G^||_F - delta) / (||P||_2 ||Q||_2),

    where Y = fl(H Q), G^ = fl(P'Y), and (`dsf.states.rounding`)

        delta = gamma_p ||P||_F ||Y||_F + ||P||_2 gamma_q ||H||_F ||Q||_F  >=  ||G^ - P'HQ||_F,
        ||P||_2^2 = ||P'P||_2 <= 1 + ||fl(P'P) - I||_F + (gamma_p + 2u) ||P||_F^2.

    No property of the routine that found P and Q is used: they may come from an SVD, from an
    eigenproblem of the Gram matrix or from a random sketch.  Bounds below zero are returned as 0.
    """
    p, q = H.shape
    c = P.shape[1]
    if c == 0:
        return np.zeros(0)
    Y = H @ Q
    G = P.T @ Y
    p2, q2 = _norm_near_one(P), _norm_near_one(Q)
    delta = gamma(p) * fro(P) * fro(Y) + p2 * gamma(q) * fro(H) * fro(Q) + TINY
    diagonal = np.abs(np.diagonal(G))
    off = fro(G - np.diag(np.diagonal(G)))
    smallest = np.minimum.accumulate(diagonal) * (1.0 - 8.0 * U)
    slack = (off + 3.0 * delta) * (1.0 + 16.0 * U)  # 3: room for a checker with its own delta
    return np.maximum((smallest - slack) / (p2 * q2) * (1.0 - 16.0 * U), 0.0)


def _norm_near_one(P: np.ndarray) -> float:
    """An upper bound of ||P||_2 for a matrix with nearly orthonormal columns."""
    p, c = P.shape
    size = fro(P)
    square = 1.0 + fro(P.T @ P - np.eye(c)) + (gamma(p) + 2.0 * U) * size * size
    return float(np.sqrt(square) * (1.0 + 16.0 * U))


def leading_vectors(
    H: np.ndarray,
    above: float = 0.0,
    count: int | None = None,
    kept: Kept | None = None,
    k: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Approximate singular vectors P [p c], Q [q c]: `count` of them, or all above `above`.

    A full SVD for small blocks; otherwise a randomised range finder (Halko, Martinsson and Tropp
    2011) with two power steps, doubled until it reaches far enough.  `kept` holds the factors of
    blocks of one operator by their cut k.
    """
    kept = Kept() if kept is None else kept
    width = 48 if count is None else count + 24
    with one_thread():
        while min(H.shape) > SMALL and 3 * width < min(H.shape):
            left, s, Vt = kept.once((k, width), partial(_sketch, H, width))
            if count is not None or s[-1] < above:
                break
            width *= 2
        else:
            left, s, Vt = kept.once((k, "full"), partial(np.linalg.svd, H, full_matrices=False))
    c = int(np.count_nonzero(s > above)) if count is None else min(count, s.size)
    return left[:, :c], Vt[:c].T


def _sketch(H: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An approximate SVD: that of Q'H, Q a basis of (H H')^2 H times `width` random vectors."""
    Q = np.linalg.qr(H @ np.random.default_rng(0).standard_normal((H.shape[1], width)))[0]
    for _ in range(2):
        Q = np.linalg.qr(H @ np.linalg.qr(H.T @ Q)[0])[0]
    left, s, Vt = np.linalg.svd(Q.T @ H, full_matrices=False)
    return Q @ left, s, Vt


def cut(
    M: np.ndarray, k: int, above: float = 0.0, count: int | None = None, kept: Kept | None = None
) -> Cut:
    """The cut k, with `count` directions, or with all whose singular value is above `above`."""
    H = block(M, k)
    P, Q = leading_vectors(H, above, count, kept, k)
    return Cut(k, P, Q, proved_singular_values(H, P, Q))


NO_CUT = Cut(0, np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))


def best_count(M: np.ndarray, error: float, cuts: Iterable[int], kept: Kept | None = None) -> Cut:
    """Of the given cuts, the one that proves the most states necessary; then the larger margin.

    `kept` holds factors of blocks of M from one call to the next.
    """
    best = NO_CUT
    for k in cuts:
        found = cut(M, k, above=error, kept=kept)
        best = max(best, found.leading(found.count(error)), key=strength)
    return best


def best_gaps(M: np.ndarray, most: int, cuts: Iterable[int]) -> list[Cut | None]:
    """For c = 0 .. most the cut, of those given, with the largest proved sigma_c; None if 0."""
    found = [cut(M, k, count=most) for k in cuts]

    def best(c: int) -> Cut | None:
        kept = [x.leading(c) for x in found if x.sigma.size >= c and x.sigma[c - 1] > 0.0]
        return max(kept, key=strength, default=None)

    return [NO_CUT, *(best(c) for c in range(1, most + 1))]


def strength(c: Cut) -> tuple[int, float]:
    """How much a cut proves: the number of its directions, then the last singular value."""
    return c.sigma.size, float(c.sigma[-1]) if c.sigma.size else 0.0


def spread_cuts(L: int, count: int = 7) -> list[int]:
    """`count` evenly spaced cuts among 1..L-1, the middle one included; all of them for small L."""
    if L <= 128:
        return list(range(1, L))
    return sorted({round(L * (j + 1) / (count + 1)) for j in range(count)})
