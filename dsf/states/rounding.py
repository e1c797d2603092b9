"""Bounds of norms that hold in exact arithmetic although they are computed in float64.

Model (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., sections 2.2, 3.1, 10.1):
fl(a op b) = (a op b)(1 + d), |d| <= u = 2^-53, and gamma_k = k u / (1 - k u).  A sum of k products
in any order, with or without fused multiply-add, is off by at most gamma_k sum |a_i b_i|; hence
for matrices

    |fl(X Y) - X Y| <= gamma_k |X| |Y|,      ||fl(X Y) - X Y||_F <= gamma_k ||X||_F ||Y||_F.

Not covered: products of the Strassen kind.  Underflow costs at most 2^-1074 per operation; every
function adds TINY = 2^-1000, more than 2^64 operations can lose.
"""

from __future__ import annotations

import math

import numpy as np

U = 2.0**-53  # the largest relative error of one operation
TINY = 2.0**-1000  # more than 2^64 operations can lose to underflow
UP, DOWN = 1.0 + 2.0**-50, 1.0 - 2.0**-50  # more than the roundings of one short expression
ROOM = 2.0**-36  # a checker has a rounding bound of its own: leave it room
NORMAL = 2.0**-1021  # above it scaling by a power of two is exact
LEAST_SHIFT = 2.0**-900  # below it products of entries of the Cholesky factor would underflow
ABOVE_ONE = 1.0 + 2.0**-30  # proved for transitions of norm 1; above what rounding makes of 1
SLACK = 1e-3  # a bound of a norm this far above the estimate is proved at the first trial
SPANNED = 1e-14  # a Lanczos residual below this times the largest value: the space is invariant
GROWS = 1e-6  # a Ritz value that grows by less, relatively, is taken as found


def gamma(k: float) -> float:
    """k u / (1 - k u), rounded up; `k` must stay far below 2^53."""
    return k * U / (1.0 - k * U) * (1.0 + 8.0 * U)


def fro(X: np.ndarray) -> float:
    """An upper bound of the Frobenius norm of the float array `X` (0.0 exactly where X = 0).

    With N entries scaled by a power of two, max |x| in [1/2, 1), s = fl(sum x^2) is at least
    (1 - gamma_N) sum x^2, so ||x||_F <= sqrt(s) (1 + gamma_{N+8}).  Entries that underflow change
    s >= 1/4 by less than N 2^-1074.  Infinite where the norm leaves the range of floats.
    """
    top = float(np.max(np.abs(X), initial=0.0))
    if top == 0.0:
        return 0.0
    if not math.isfinite(top):
        return math.inf
    k = math.frexp(top)[1]
    x = np.ldexp(np.ravel(X), -k)
    return times_power(float(np.sqrt(np.dot(x, x))) * (1.0 + gamma(x.size + 8)), k)


def times_power(x: float, k: int) -> float:
    """x 2^k for x >= 0, rounded up where that is not a normal float."""
    try:
        y = math.ldexp(x, k)
    except OverflowError:
        return math.inf
    return y if y > NORMAL or x == 0.0 else math.nextafter(y, math.inf)


def lower_gram(E: np.ndarray, block: int = 256) -> np.ndarray:
    """The upper triangle of E'E [n n] (what is below it has no meaning).

    For a lower triangular E the zeros are skipped, a third of the work; else the full product.
    """
    p, n = E.shape
    if p != n or np.any(np.triu(E, 1)):
        return E.T @ E
    G = np.zeros((n, n))
    for j in range(0, n, block):
        end = min(j + block, n)
        G[:end, j:end] = E[j:, :end].T @ E[j:, j:end]  # rows above j are zero in these columns
    return G


def norm_at_most(E: np.ndarray, t: float) -> bool:
    """True only if ||E||_2 <= t holds exactly for the float matrix E [p n].

    Rump's verified positive definiteness ("Verification of positive definiteness", BIT 2006), with
    the constants derived here.  Let G = fl(E'E) (one triangle, the other mirrored),
    A = fl(d I - G), and let Cholesky of A succeed with factor R.

    1. ||G - E'E||_2 <= gamma_p || |E|'|E| ||_2 <= gamma_p ||E||_F^2.
    2. A = d I - G + F, F diagonal, |F_ii| <= u |d - G_ii| <= 2 u d: 0 <= G_ii <= d, or A_ii < 0.
    3. R'R = A + W with |W| <= g |R'||R|, g = gamma_{n+4}: any order of the inner products, and a
       division may be a product with a rounded reciprocal, hence +4 and not +1.  The diagonal
       gives ||r_i||^2 <= A_ii / (1 - g), so ||W||_2 <= g || |R| ||_F^2 <= g/(1 - g) tr A, and
       tr A <= n d (1 + 2u).
    4. R'R >= 0, hence E'E <= (d + g/(1-g) n d (1+2u) + 2 u d + gamma_p ||E||_F^2) I.

    So d is taken as the largest float for which the right-hand side stays below t^2.
    """
    if E.shape[0] < E.shape[1]:
        E = E.T
    size = fro(E)
    if not np.isfinite(size) or not t >= 0.0:
        return False
    if size <= t:
        return True
    d = shifted(t, size, *E.shape)
    if not d > 0.0:
        return False
    A = np.negative(lower_gram(E))
    A[np.diag_indices(len(A))] += d
    return cholesky_runs(A)


def shifted(t: float, size: float, p: int, n: int) -> float:
    """The d of `norm_at_most` for E [p n] with ||E||_F <= size; 0.0 where no proof is possible."""
    g = gamma(n + 4)
    if g * n > 0.5:
        return 0.0
    spent = gamma(p) * size * size * (1.0 + 8.0 * U) + TINY
    d = (t * t * (1.0 - 8.0 * U) - spent) / (1.0 + n * g / (1.0 - g) * (1.0 + 8.0 * U) + 4.0 * U)
    return d * (1.0 - 16.0 * U) if d > LEAST_SHIFT else 0.0


def cholesky_runs(A: np.ndarray) -> bool:
    """Whether Cholesky of the symmetric matrix in the upper triangle of `A` runs to its end."""
    from scipy.linalg.lapack import dpotrf

    # A C-ordered upper triangle is a Fortran-ordered lower one: no copy.
    R, info = dpotrf(A.T, lower=1, clean=0, overwrite_a=1)
    return bool(info == 0 and np.all(np.isfinite(np.diagonal(R))))


def ritz(
    E: np.ndarray, steps: int = 40, above: float = np.inf, seed: int = 0
) -> tuple[float, np.ndarray]:
    """The largest Ritz value of E'E after Lanczos, square-rooted, and its unit vector.

    A lower *estimate* of ||E||_2 (never reported as a bound).  Stops early once it exceeds
    `above`, or when it no longer grows.
    """
    n = E.shape[1]
    if E.size == 0 or not np.any(E):
        return 0.0, np.eye(n, 1)[:, 0]
    power = int(np.frexp(np.abs(E).max())[1])  # the entries of T are squares
    E, above = np.ldexp(E, -power), float(np.ldexp(above, -power))
    V = np.zeros((min(steps, n), n))
    T = np.zeros((len(V), len(V)))
    v = np.random.default_rng(seed).standard_normal(n)
    top = 0.0
    for j in range(len(V)):
        V[j] = v / np.linalg.norm(v)
        w = (E @ V[j]) @ E
        T[j, j] = w @ V[j]
        for _ in range(2):
            w -= (V[: j + 1] @ w) @ V[: j + 1]
        lam, vectors = np.linalg.eigh(T[: j + 1, : j + 1])
        last, top = top, float(np.sqrt(max(lam[-1], 0.0)))
        beta = float(np.linalg.norm(w))
        if top > above or beta <= SPANNED * lam[-1] or (j > 5 and top - last <= GROWS * top):
            break
        if j + 1 < len(V):
            T[j, j + 1] = T[j + 1, j] = beta
            v = w
    x = vectors[:, -1] @ V[: j + 1]
    return float(np.ldexp(top, power)), x / np.linalg.norm(x)


def norm_estimate(E: np.ndarray, above: float = np.inf) -> float:
    """A lower estimate of ||E||_2; see `ritz`."""
    return ritz(E, above=above)[0]


def norm_upper(
    E: np.ndarray, guess: float | None = None, at_most: float = np.inf, slack: float = SLACK
) -> float:
    """A proved upper bound of ||E||_2, within `slack` of it where the matrix allows.

    Tries guess (1 + slack), then the value `at_most`, then larger ones; last resort ||E||_F.
    """
    guess = norm_estimate(E) if guess is None else guess
    size = fro(E)
    for t in (guess * (1 + slack), at_most, *(guess * x for x in (1.001, 1.01, 1.1, 2.0))):
        if guess <= t < size and norm_at_most(E, t):
            return float(t)
    return size


def norm_lower(E: np.ndarray, v: np.ndarray) -> float:
    """A proved lower bound of ||E||_2 from a test vector: ||E v|| / ||v|| less its rounding.

    Of sums in blocks, as libraries form them, fro(v) already exceeds what E v loses; the proof
    holds for any order.
    """
    w = E @ v
    lost = gamma(E.shape[1]) * fro(E) * fro(v) + math.sqrt(TINY)  # squares underflow: their root
    proved = float(np.linalg.norm(w)) * (1.0 - gamma(w.size + 8)) - lost * (1.0 + 8.0 * U)
    if not math.isfinite(proved):  # the squares overflow
        return 0.0
    return max(proved / fro(v) * (1.0 - 8.0 * U), 0.0) if v.size else 0.0


def fro_each(X: np.ndarray) -> np.ndarray:
    """Upper bounds of the Frobenius norms of X[t], all with the scale of the largest; see `fro`."""
    top = float(np.max(np.abs(X), initial=0.0))
    if top == 0.0:
        return np.zeros(len(X))
    if not math.isfinite(top):
        return np.full(len(X), math.inf)
    k = math.frexp(top)[1]
    x = np.ldexp(X.reshape(len(X), -1), -k)
    lost = x.shape[1] * TINY  # squares that underflow
    sizes = np.sqrt(np.einsum("ti,ti->t", x, x) + lost) * (1.0 + gamma(x.shape[1] + 8))
    return np.array([times_power(float(r), k) for r in sizes])


def transition_norms(A: np.ndarray) -> np.ndarray:
    """Proved upper bounds of ||A_t||_2 for A [L n n]: just above 1 where that holds.

    Elsewhere the smaller of the Frobenius norm and the root of (largest absolute column sum) times
    (largest absolute row sum).
    """
    n, size = A.shape[-1], fro_each(A)
    rows = np.abs(A).sum(-1).max(-1, initial=0.0) * np.abs(A).sum(-2).max(-1, initial=0.0)
    plain = np.minimum(size, np.sqrt(rows + TINY) * (1.0 + gamma(2 * n + 8)))
    doubtful = np.flatnonzero(plain > ABOVE_ONE)
    d = shifted(ABOVE_ONE, float(size.max(initial=0.0)), n, n)
    try:  # all at once, with the largest Frobenius norm; if that fails, one by one
        S = d * np.eye(n) - np.swapaxes(A[doubtful], 1, 2) @ A[doubtful]
        together = d > 0.0 and bool(np.all(np.isfinite(np.linalg.cholesky(S))))
    except np.linalg.LinAlgError:
        together = False
    plain[[t for t in doubtful if together or norm_at_most(A[t], ABOVE_ONE)]] = ABOVE_ONE
    return plain
