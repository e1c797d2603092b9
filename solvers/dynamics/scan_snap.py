"""Scan and Snap: how one attention layer first scans distinct tokens and then freezes.

Next token n of K, contextual tokens l drawn from P(l|n); c_n ~ P(.|n) e^{z_n}, f_n = c_n / |c_n|.
Decoder learned much faster than attention, weakly correlated classes (Tian et al. 2023,
arXiv 2305.16380):

    decoder     u' = (eta_Y M/K) / (M - 1 + e^u),   gamma = ((M-1)^2/M) u / (M - 1 + e^u)
    attention   z_n' = (eta_Z/K) f_n * (P_perp g_n),   P_perp = I - f_n f_n'
                g_n = gamma (iota f_n - beta sum_{n' != n} f_n')

with iota = M/(M-1) and beta = M/(M-1)^2, exact while the f_n are orthonormal.  `logit` and `growth`
are closed forms; `reduced_flow` integrates the equations above with M = K.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.dynamics.flows import integrate
from dsf.solvers.svm.instances import unit
from dsf.solvers.svm.problem import Array

# settings of the growth figure of the paper
FIGURE: dict[str, Any] = {"M": 1000, "K": 10, "eta_Z": 0.5, "C0": 1.0}
STEP, LEAST = 4e-16, 1e-300  # relative step of two units at which Newton ends; the same for u = 0
# (rtol, atol) of the integrator: near its limit for the slow twin, coarser for the larger systems
TWIN, REDUCED, FULL = (1e-12, 1e-14), (1e-10, 1e-12), (1e-9, 1e-11)


def logit(t: Array, eta_Y: float, K: int, M: int) -> Array:
    """The decoder's logit u(t), in closed form: e^u + (M - 1) u = 1 + M eta_Y t / K.

    Newton's method from above, where the convex left side makes it monotone; t of any shape >= 0.

    >>> u = logit(np.array([0.0, 100.0]), eta_Y=1.0, K=10, M=1000)
    >>> bool(u[0] == 0), bool(abs(np.exp(u[1]) + 999 * u[1] - 10001) < 1e-9)
    (True, True)
    """
    right = 1.0 + M * eta_Y * np.asarray(t, dtype=np.float64) / K
    if np.any(right < 1):
        raise DomainError("logit: times must not be negative")
    u = np.minimum((right - 1.0) / (M - 1.0), np.log(right)) if M > 1 else np.log(right)
    for _ in range(100):
        e = np.exp(u)
        step = (e + (M - 1) * u - right) / (e + M - 1)
        u = u - step
        if np.all(np.abs(step) <= STEP * np.maximum(np.abs(u), LEAST)):
            break
    return u


def decoder_gain(t: Array, eta_Y: float, K: int, M: int) -> Array:
    """gamma(t) = ((M-1)^2/M) u / (M - 1 + e^u): the size of what the decoder sends back.

    About eta_Y t/K at first and K log(M eta_Y t/K) / (eta_Y t) at the end (theorem 1 of the paper).

    >>> gamma = decoder_gain(np.array([0.1, 1e5]), eta_Y=1.0, K=10, M=1000)
    >>> (gamma / [0.1 / 10, 10 * np.log(1e7) / 1e5]).round(3)
    array([0.998, 0.999])
    """
    u = logit(t, eta_Y, K, M)
    return (M - 1) ** 2 / M * u / (M - 1 + np.exp(u))


def growth(t: Array, eta_Y: float, eta_Z: float, K: int, M: int, C0: float) -> Array:
    """B(t) = -z(t) of one common token, in closed form: both phases in one formula.

        B = (1/4) log(1 + 2 K (M-1)^2 / (M^2 C0) (eta_Z/eta_Y) u(t)^2)

    It solves z' = -(eta_Z/C0) gamma e^{4z}, z(0) = 0 (theorem 4 of the paper, whose two
    expressions are the limits of small and large t): "scanning" grows like log t, "snapping" like
    log log t.

    >>> round(float(growth(np.array(100.0), 1.0, 0.5, 10, 1000, 1.0)), 5)
    1.59818
    """
    u = logit(t, eta_Y, K, M)
    return np.log1p(2 * K * (M - 1) ** 2 / (M**2 * C0) * (eta_Z / eta_Y) * u**2) / 4


def growth_numerically(t: Array, eta_Y: float, eta_Z: float, K: int, M: int, C0: float) -> Array:
    """The slow twin of `growth`: the two differential equations, integrated at rtol 1e-12."""

    def right(_: float, y: Array) -> Array:
        u, z = y
        gamma = (M - 1) ** 2 / M * u / (M - 1 + np.exp(u))
        du = eta_Y * M / K / (M - 1 + np.exp(u))
        return np.array([du, -eta_Z / C0 * gamma * np.exp(4 * z)])

    return -integrate(right, np.zeros(2), t, *TWIN)[:, 1]


@dataclass(frozen=True, eq=False)
class Classes:
    """K classes of next tokens: P [K tokens] conditional probabilities of the contextual tokens.

    A token is *common* if several classes use it, *distinct* if exactly one does.
    """

    P: Array

    def __post_init__(self) -> None:
        if self.P.ndim != 2 or np.any(self.P < 0) or not np.allclose(self.P.sum(1), 1):
            raise ShapeError("Classes: P must be [K tokens], rows >= 0 that sum to 1")

    @property
    def common(self) -> Array:
        """Which tokens several classes use, bool [tokens]."""
        return (self.P > 0).sum(0) > 1

    def attention(self, z: Array) -> Array:
        """c_n = softmax(z_n + log P_n) [... K tokens], attention of each class at logits z."""
        with np.errstate(divide="ignore"):  # a token that a class never uses: -inf
            return np.asarray(ops.softmax(z + np.log(self.P)))


def example(K: int = 4, common: int = 6, distinct: int = 6) -> Classes:
    """Classes with `common` tokens of weight 1 and `distinct` own ones, weights 0.1 .. 1."""
    weights = np.zeros((K, common + K * distinct))
    weights[:, :common] = 1
    for n in range(K):
        own = slice(common + n * distinct, common + (n + 1) * distinct)
        weights[n, own] = np.linspace(0.1, 1, distinct)
    return Classes(weights / weights.sum(1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Flow:
    """Logits z [times K tokens], the integral B [times K] of eta_Z xi, and the times."""

    t: Array
    z: Array
    B: Array


def pull(c: Array) -> tuple[Array, Array]:
    """(z', xi) at attention c [K tokens], in units of gamma (theorem 2 of the paper).

        z_n' = -f_n * (P_perp beta sum_{n' != n} f_n'),   xi_n = beta f_n' sum_{n' != n} f_n'

    with beta = K/(K-1)^2; the part iota f_n of g_n is lost under P_perp = I - f_n f_n'.

    >>> z, xi = pull(example().attention(np.zeros((4, 30))))
    >>> bool(np.all(z[:, :6] < 0)), bool(z[0, -1] == 0), bool(np.all(xi > 0))
    (True, True, True)
    """
    f = unit(c)
    others = len(f) / (len(f) - 1) ** 2 * (f.sum(0) - f)
    xi = np.sum(f * others, axis=1)
    return f * (f * xi[:, None] - others), xi


def across(f: Array, g: Array) -> Array:
    """P_perp g = g - f (f'g), row by row, for rows f of length 1.

    >>> across(np.array([[1.0, 0.0]]), np.array([[2.0, 3.0]]))
    array([[0., 3.]])
    """
    return g - f * np.sum(f * g, axis=-1, keepdims=True)


def reduced_flow(classes: Classes, eta_Y: float, eta_Z: float, t: Array) -> Flow:
    """The reduced equations at the top of this file from z = 0, at the increasing times t.

    B_n = eta_Z/K int gamma xi_n (see `pull`), so that the theorem reads
    e^{2 f_l0(0)^2 B} <= chi_l0 <= e^{2 B} for chi = e^{2 z}.

    >>> flow = reduced_flow(example(), 1.0, 1.0, np.array([0.0, 10.0]))
    >>> bool(np.all(flow.z[1][:, :6] < 0))        # common tokens lose attention
    True
    """
    K = len(classes.P)

    def right(time: float, y: Array) -> Array:
        rate = eta_Z / K * float(decoder_gain(np.array(time), eta_Y, K, K))
        dz, dB = pull(classes.attention(y[:-K].reshape(classes.P.shape)))
        return rate * np.concatenate([dz.ravel(), dB])

    y = integrate(right, np.zeros(classes.P.size + K), t, *REDUCED)
    return Flow(np.asarray(t), y[:, :-K].reshape(-1, *classes.P.shape), y[:, -K:])


def full_flow(
    classes: Classes,
    eta_Y: float,
    eta_Z: float,
    t: Array,
    query: Array | None = None,
    outputs: int | None = None,
) -> Flow:
    """The coupled flow of decoder Y and attention Z (lemma 1 of the paper, classes uniform).

        Y' = (eta_Y/K) sum_n f_n (e_n - alpha_n)',   alpha_n = softmax(Y' f_n)
        z_m' = (eta_Z/K) sum_{n with query m} f_n * (P_perp Y (e_n - alpha_n))

    `query` [K] is one per class and `outputs` K unless given; z of the result is that of the query
    of each class.  B is not defined here and is returned as zeros.
    """
    K, M = classes.P.shape
    query = np.arange(K) if query is None else query
    V, Q = outputs or K, int(query.max()) + 1

    def right(_: float, y: Array) -> Array:
        z, Y = y[: Q * M].reshape(Q, M), y[Q * M :].reshape(M, V)
        f = unit(classes.attention(z[query]))
        error = np.eye(K, V) - ops.softmax(f @ Y)
        g = error @ Y.T
        dz = np.eye(Q)[:, query] @ (f * across(f, g))
        return np.concatenate([(eta_Z / K * dz).ravel(), (eta_Y / K * f.T @ error).ravel()])

    y = integrate(right, np.zeros((Q + V) * M), t, *FULL)
    z = y[:, : Q * M].reshape(-1, Q, M)
    return Flow(np.asarray(t), z[:, query], np.zeros((len(t), K)))
