"""A proved bound on ||M - M^||_2 for a system given by stored floats."""

from __future__ import annotations

import numpy as np

from dsf.states.blas import one_thread
from dsf.states.rounding import (
    SLACK,
    TINY,
    UP,
    U,
    fro,
    fro_each,
    gamma,
    norm_upper,
    transition_norms,
)

AIM = 1.0 - 2.0**-30  # the norm tried leaves room below `at_most` for the two factors of the result
CHECKED = 1.0 + 2.0**-32  # a checker proves the norm of its own E, which differs by rounding
TOTAL = 1.0 + 2.0**-40  # the sum as a checker rounds it


def scanned_kernel(
    A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray
) -> tuple[np.ndarray, float]:
    """M^ [L r, L m] of A [L n n], B [L n m], C [L r n], D [L r m] (read before), with a bound on
    the Frobenius distance between the returned floats and the kernel of these coefficients.

    Row block t is C_t X_t with X_{t+1} = [A_t X_t, B_t], X_0 empty.  In floats
    X^_{t+1} = [A_t X^_t + F_t, B_t] with ||F_t||_F <= gamma_n ||A_t||_F ||X^_t||_F, so

        e_{t+1} = a_t e_t + gamma_n f_t x_t     bounds ||X^_t - X_t||_F, where
        a_t >= ||A_t||_2,   f_t >= ||A_t||_F,   x_t >= ||X^_t||_F,

    and row block t is off by at most c_t e_t + gamma_n c_t x_t with c_t >= ||C_t||_F.  D_t is
    copied.  In the coordinates of `compress` a_t <= 1 up to rounding and x_t <= sqrt(n), so the
    bound is about n^2 u L^(3/2) max_t c_t.
    """
    L, n, m = B.shape
    r = C.shape[1]
    K = np.zeros((L * r, L * m))
    if L == 0:
        return K, 0.0
    X = np.zeros((n, L * m))
    a, f, c = transition_norms(A), fro_each(A), fro_each(C)
    g = gamma(n)
    e = total = 0.0
    with one_thread():
        for t in range(L):
            past = X[:, : t * m]
            K[t * r : (t + 1) * r, : t * m] = C[t] @ past
            K[t * r : (t + 1) * r, t * m : (t + 1) * m] = D[t]
            x = fro(past)
            row = c[t] * e + g * c[t] * x + (TINY if c[t] * x else 0.0)
            total += row * row
            e = a[t] * e + g * f[t] * x + (TINY if f[t] * x else 0.0)
            X[:, : t * m] = A[t] @ past
            X[:, t * m : (t + 1) * m] = B[t]
    # Every quantity above is a sum of products of non-negative floats, in at most 16 L operations.
    return K, float(np.sqrt(total) * (1.0 + gamma(16 * L + 16)))


def proved_error(
    E: np.ndarray, evaluated: float, radius: float, at_most: float = np.inf, slack: float = SLACK
) -> float:
    """A proved bound on ||M - exact kernel||_2 for all M within `radius` of the stored one.

    E = fl(M - K), with ||K - exact kernel||_F <= `evaluated`.  Rounding moves E by at most u |E|
    entrywise, hence by u ||E||_F in norm, so the bound is ||E||_2 + extra with
    extra = evaluated + u ||E||_F + radius.  ||E||_2 is bounded by `norm_upper`, which also tries
    the value that would give the total `at_most`.  What is rounding in `extra` is counted three
    times: a checker that evaluates the kernel in another way has another bound of the same size,
    and must be able to confirm the number.
    """
    rounding = 3.0 * (evaluated + U * fro(E))
    extra = (rounding + radius) * UP
    t = norm_upper(E, at_most=at_most * AIM - extra, slack=slack)
    return float((t * CHECKED + extra) * TOTAL)
