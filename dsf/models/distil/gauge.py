"""From a balanced realization to the tokens of a gated recurrence: where fits start.

A frozen system of n states is x_{t+1} = A_t x_t + B_t u_t, y_t = C_t x_t (read before).  Any choice
of state coordinates T_t gives the same kernel; one with triangular transitions is nearly diagonal.
"""

from __future__ import annotations

import numpy as np

from dsf.core.system import LTV
from dsf.core.tokens import Tokens
from dsf.core.transition import Dense
from dsf.states.compress import Compressed, compress

LOW, HIGH = 0.02, 0.998  # decays of a start: away from both ends, where gradients vanish
CLOSED = 1e-9  # how far the strength of a write stays from its ends


def balanced(M: np.ndarray, n: int) -> LTV:
    """Balanced truncation of M [L L] to n states, read="before"; zero-padded if fewer are needed.

    Coordinates in which both Gramians of the whole are S_k, the singular values of the Hankel block
    at cut k.
    """
    return _scaled(compress(M[:, None, :, None], 0.0, gram=False), n, len(M))


def sequential(M: np.ndarray, n: int) -> LTV:
    """Sequential truncation of M [L L]: at each cut the best n states of what the cuts before left.

    Its Frobenius error is that of the cuts, added in squares (`dsf.states.compress`).
    """
    return _scaled(compress(M[:, None, :, None], 0.0, gram=False, rank=n), n, len(M))


def _scaled(c: Compressed, n: int, L: int) -> LTV:
    root = np.zeros((L + 1, n))
    root[:, : c.n] = np.sqrt(c.s[:, :n])
    A, B, C = np.zeros((L, n, n)), np.zeros((L, n, 1)), np.zeros((L, 1, n))
    m = min(n, c.n)
    A[:, :m, :m], B[:, :m], C[:, :, :m], D = c.sliced(m)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    A = root[1:, :, None] * A * inverse[:-1, None, :]
    return LTV(Dense(A), root[1:, :, None] * B, C * inverse[:-1, None, :], D, "before", L)


def triangular(system: LTV) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R [L n n] upper triangular with diagonal >= 0, k, c [L n] of a system in the QR gauge.

        A_t T_{t-1} = T_t R_t,   k_t = T_t' B_t,   c_t = T_{t-1}' C_t',   T_t orthogonal

    so that s_t = R_t s_{t-1} + k_t u_t and y_t = c_t' s_{t-1}.
    """
    A, B, C = system.A.dense(), system.B, system.C
    T = np.eye(system.n)
    R, k, c = np.empty_like(A), np.empty(A.shape[:2]), np.empty(A.shape[:2])
    for t in range(len(A)):
        c[t] = C[t, 0] @ T
        T, R[t] = np.linalg.qr(A[t] @ T)
        signs = np.where(np.diagonal(R[t]) < 0, -1.0, 1.0)
        T, R[t] = T * signs, signs[:, None] * R[t]
        k[t] = B[t, :, 0] @ T
    return R, k, c


def gla(system: LTV) -> Tokens:
    """Tokens of gated linear attention near a system: the QR gauge without its off-diagonal part.

        a_t = diag R_t,   k_t = T_t' B_t,   q_t = T_{t-1}' C_t' / a_t

    as GLA reads after the update.  The decays are clipped to [0.02, 0.998].
    """
    R, k, c = triangular(system)
    a = np.clip(np.diagonal(R, axis1=1, axis2=2), LOW, HIGH)
    return Tokens(q=c / a, k=k, log_a=np.log(a))


def rwkv6(system: LTV) -> Tokens:
    """The same for RWKV-6, which reads before the update: q_t = T_{t-1}' C_t', bonus 0."""
    R, k, c = triangular(system)
    a = np.clip(np.diagonal(R, axis1=1, axis2=2), LOW, HIGH)
    return Tokens(q=c, k=k, log_w=np.log(a), bonus=np.zeros((1, a.shape[1])))


def delta(tok: Tokens, gated: bool = True) -> Tokens:
    """Tokens of the delta rule with the kernel of GLA tokens (q, k, log_a).

    The decay is that of the slowest channel, a_t = max_n a_tn, and erasing takes the place of the
    faster ones; without a gate a_t = 1, and it takes the place of all decay.  With
    D_t = diag(a_tn)/a_t and F_t = (I - b_t k^_t k^_t') F_{t-1} D_t^{-1},

        z = F_{t-1} D_t^{-1} k_t,   k^_t = z / |z|,   b_t = |z| / (1 + |z|),   q^_t = F_t^{-T} q_t

    gives the same kernel, with |q^| that stays moderate.  F is singular to rounding where a channel
    forgets at once; then q^ is the solution of least norm, and the kernel is another one.
    """
    slow = np.max(tok.log_a, 1, keepdims=True) if gated else np.zeros((len(tok.k), 1))
    faster = np.exp(slow - tok.log_a)  # the diagonal of D^{-1}
    F = np.eye(tok.k.shape[1])
    q, k, beta = np.empty_like(tok.q), np.empty_like(tok.k), np.empty((len(tok.k), 1))
    for t in range(len(k)):
        F = F * faster[t]
        z = F @ tok.k[t]
        size = float(np.linalg.norm(z))
        k[t] = z / size if size > 0 else np.eye(len(z))[0]
        beta[t] = size / (1.0 + size)
        along = np.outer(k[t], k[t] @ F)
        F = (F - along) + along / (1.0 + size)
        q[t] = np.linalg.lstsq(F.T, tok.q[t], rcond=None)[0]
    beta = np.clip(beta, CLOSED, 1 - CLOSED)
    return Tokens(q=q, k=k, beta=beta, log_a=slow if gated else None)


def ssd(tok: Tokens, widest: float) -> tuple[Tokens, dict[str, np.ndarray]]:
    """Tokens of Mamba-2 near those of GLA (q, k, log_a), and the sizes of their queries and keys.

    The decay is the geometric mean of the channels, and what a channel decays beyond it stands in
    its queries and keys.  With P_tn the sum of log_a up to t and p_t that of the mean,

        q'_tn = q_tn e^{D_tn},   k'_tn = k_tn e^{-D_tn} / dt_t,   D_tn = clip(P_tn - p_t - m_n),

    dt_t = -mean_n log_a_tn, a = -1, and m_n the middle of the range of P_n - p over the tokens.
    The kernel is the same where |D| stays below `widest`; a channel beyond it decays with the mean.
    """
    mean = tok.log_a.mean(1, keepdims=True)
    drift = np.cumsum(tok.log_a - mean, 0)
    drift -= (drift.max(0) + drift.min(0)) / 2
    size = np.exp(np.clip(drift, -widest, widest))
    sizes = {"q": size, "k": -1.0 / (size * mean)}
    return Tokens(q=tok.q * size, k=tok.k * sizes["k"], dt=-mean, a=-np.ones((1, 1))), sizes
