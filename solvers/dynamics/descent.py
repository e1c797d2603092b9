"""Normalised gradient descent on one softmax attention head, for weights and scores of any size.

    W:     W <- W - eta G/|G|,               G = grad L(W), L the logistic loss of `instances.loss`
    K, Q:  K <- K - eta GQ/|GQ|,  Q <- Q - eta G'K/|G'K|,   W = K Q'

As |W| grows, 1 - s_opt underflows and m = sum_t s_t gamma_t cancels against gamma_opt; as the
scores grow, l'(m) underflows.  Here everything stays relative to the leading token o = argmax_t a_t
of each sample, and to the largest product:

    gamma_o - m = sum_{t != o} s_t (gamma_o - gamma_t)                  no cancellation
    shift = max over samples and t != o of log(|l'(m)| s_t |gamma_o - gamma_t|)
    r_t = |l'(m)| s_t (gamma_o - gamma_t) e^{-shift},    D = sum_{t != o} r_t
    G e^{-shift} = (1/n) sum_i sum_{t != o} (r_t - s_t D) (x_t - x_o) z_i'

and the common factor e^{-shift} disappears in the normalisation.  The shift looks at the products:
if the largest s_t belongs to a token that ties with o in score, it moves nothing.

Hence no `ops.softmax` here: it gives the losing tokens the weight zero.  What remains is the
rounding of the scores a_t themselves, u |x| |W| |z|: where several rivals compete at the same
distance, as they do along W_mm, the direction is known to about u |W| only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError
from dsf.solvers.svm.instances import log_slope, unit
from dsf.solvers.svm.problem import Array


def scaled_gradient(
    W: Array, X: Array, z: Array, scores: Array, kind: str = "logistic"
) -> tuple[Array, Array]:
    """(G e^{-shift} [S d e], shift [S]) for S runs at once: the formulas above, the slow twin.

    W [S d e], X [S n T d], z [S n e], scores [S n T]; float64; `kind` of loss as in `instances`.

    >>> from dsf.solvers.svm.instances import gradient, named
    >>> i = named("A")
    >>> W = np.array([[0.3, -0.2], [0.1, 0.5]])
    >>> G, shift = scaled_gradient(W[None], i.X[None], i.z[None], i.scores[None])
    >>> bool(np.allclose(G[0] * np.exp(shift[0]), gradient(W, i.X, i.z, i.scores), rtol=1e-12))
    True
    """
    n, T = X.shape[1:3]
    a = np.einsum("sitd,sde,sie->sit", X, W, z)
    lead = a.argmax(-1)[..., None]
    relative = a - np.take_along_axis(a, lead, -1)
    others = np.arange(T) != lead
    rest = np.sum(np.exp(relative) * others, -1, keepdims=True)
    s, log_s = np.exp(relative) / (1.0 + rest), relative - np.log1p(rest)
    ahead = np.take_along_axis(scores, lead, -1)
    behind = ahead - scores  # gamma_o - gamma_t, 0 at t = o
    m = ahead - np.sum(s * behind, -1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_r = log_slope(m, kind) + log_s + np.log(np.abs(behind))
    shift = log_r.max((1, 2))
    shift = np.where(np.isfinite(shift), shift, 0.0)  # every score ties: G = 0
    r = np.sign(behind) * np.exp(log_r - shift[:, None, None])
    c = (r - s * np.sum(r, -1, keepdims=True)) * others
    away = X - np.take_along_axis(X, lead[..., None], -2)
    return np.einsum("sit,sitd,sie->sde", c / n, away, z), shift


@njit(cache=True, error_model="numpy")
def _sample_logs(W, x, q, scores, log_s):  # pragma: no cover
    """(leading token, log |l'(m)|) of one sample; log s_t into log_s."""
    T, d = x.shape
    log_s[:] = 0.0
    for k in range(d):
        y = 0.0
        for l in range(len(q)):
            y += W[k, l] * q[l]
        for t in range(T):
            log_s[t] += x[t, k] * y
    o = log_s.argmax()
    log_s -= log_s[o]
    rest = 0.0
    for t in range(T):
        if t != o:
            rest += np.exp(log_s[t])
    m = scores[o]
    for t in range(T):
        log_s[t] -= np.log1p(rest)
        if t != o:
            m -= np.exp(log_s[t]) * (scores[o] - scores[t])
    return o, -max(m, 0.0) - np.log1p(np.exp(-abs(m)))


@njit(cache=True, error_model="numpy")
def _gradient_into(W, X, z, scores, G):  # pragma: no cover
    """One run, into G; the shift is not returned, since only the direction is needed."""
    n, T, d = X.shape
    log_s, r = np.empty((n, T)), np.empty(T)
    lead, log_l = np.empty(n, np.int64), np.empty(n)
    shift = -np.inf
    for i in range(n):
        lead[i], log_l[i] = _sample_logs(W, X[i], z[i], scores[i], log_s[i])
        for t in range(T):
            behind = abs(scores[i, lead[i]] - scores[i, t])
            if behind > 0.0:
                shift = max(shift, log_l[i] + log_s[i, t] + np.log(behind))
    G[:, :] = 0.0
    step = np.empty(d)
    for i in range(n):
        o, D = lead[i], 0.0
        for t in range(T):
            behind = scores[i, o] - scores[i, t]
            r[t] = 0.0
            if behind != 0.0:
                log_r = log_l[i] + log_s[i, t] + np.log(abs(behind))
                r[t] = np.sign(behind) * np.exp(log_r - shift)
            D += r[t]
        step[:] = 0.0
        for t in range(T):
            if t != o:
                c = (r[t] - np.exp(log_s[i, t]) * D) / n
                for k in range(d):
                    step[k] += c * (X[i, t, k] - X[i, o, k])
        for k in range(d):
            for l in range(z.shape[1]):
                G[k, l] += step[k] * z[i, l]


@njit(cache=True, error_model="numpy")
def _normalised_step(A, G, eta):  # pragma: no cover
    top = 0.0
    for x in G.flat:
        top = max(top, abs(x))
    if top == 0.0:
        return
    total = 0.0
    for x in G.flat:
        total += (x / top) ** 2
    scale = eta / (top * np.sqrt(total))
    for k in range(A.shape[0]):
        for l in range(A.shape[1]):
            A[k, l] -= scale * G[k, l]


@njit(cache=True, error_model="numpy")
def _run_weights(W, X, z, scores, eta, record, out):  # pragma: no cover
    G = np.empty((W.shape[1], W.shape[2]))
    for s in range(W.shape[0]):
        r = 0
        for k in range(record[-1] + 1):
            while r < len(record) and record[r] == k:
                out[s, r] = W[s]
                r += 1
            if k < record[-1]:
                _gradient_into(W[s], X[s], z[s], scores[s], G)
                _normalised_step(W[s], G, eta)


@njit(cache=True, error_model="numpy")
def _run_factors(K, Q, X, z, scores, eta, record, out_K, out_Q):  # pragma: no cover
    d, e = K.shape[1], Q.shape[1]
    G = np.empty((d, e))
    for s in range(K.shape[0]):
        r = 0
        for k in range(record[-1] + 1):
            while r < len(record) and record[r] == k:
                out_K[s, r], out_Q[s, r] = K[s], Q[s]
                r += 1
            if k < record[-1]:
                _gradient_into(K[s] @ Q[s].T, X[s], z[s], scores[s], G)
                toward_K, toward_Q = G @ Q[s], G.T @ K[s]
                _normalised_step(K[s], toward_K, eta)
                _normalised_step(Q[s], toward_Q, eta)


def descend(
    W: Array, X: Array, z: Array, scores: Array, eta: float = 0.1, record: Sequence[int] = (1000,)
) -> Array:
    """Normalised gradient descent on W for S runs: the weights [S R d e] after `record` [R] steps.

    W [S d e] start, X [S n T d], z [S n e], scores [S n T]; `record` increases, 0 is the start.
    A gradient that is exactly zero (one token, equal scores) leaves W where it is.
    Raises ShapeError, DomainError, DTypeError, NonFiniteError.  Source: tarzanagh2023, W-ERM.

    >>> from dsf.solvers.svm.instances import named
    >>> i = named("A")
    >>> W = descend(np.zeros((1, 2, 2)), i.X[None], i.z[None], i.scores[None], record=(10,))
    >>> bool(0.5 < np.linalg.norm(W[0, 0]) <= 1.0)
    True
    """
    W, X, z, scores = (np.array(x, dtype=np.float64, order="C") for x in (W, X, z, scores))
    steps = _checked(X, z, scores, eta, record, W)
    if W.shape != (len(X), X.shape[-1], z.shape[-1]):
        raise ShapeError(
            f"descend: W must be [S d e] = {[len(X), X.shape[-1], z.shape[-1]]}; got {W.shape}"
        )
    out = np.empty((len(W), len(steps), *W.shape[1:]))
    _run_weights(W, X, z, scores, float(eta), steps, out)
    return out


def descend_factors(
    K: Array,
    Q: Array,
    X: Array,
    z: Array,
    scores: Array,
    eta: float = 0.1,
    record: Sequence[int] = (1000,),
) -> tuple[Array, Array]:
    """The same on W = K Q', each factor normalised by itself: (K [S R d m], Q [S R e m]).

    Source: tarzanagh2023, KQ-ERM; without the penalty of the published code, which only keeps the
    norm from drifting when the gradient underflows.
    """
    K, Q, X, z, scores = (np.array(x, dtype=np.float64, order="C") for x in (K, Q, X, z, scores))
    steps = _checked(X, z, scores, eta, record, K, Q)
    if K.shape[:2] != (len(X), X.shape[-1]) or Q.shape != (len(X), z.shape[-1], K.shape[-1]):
        raise ShapeError(
            f"descend_factors: needs K [S d m] and Q [S e m] with S = {len(X)}, "
            f"d = {X.shape[-1]}, e = {z.shape[-1]}; got {K.shape} and {Q.shape}"
        )
    out_K = np.empty((len(K), len(steps), *K.shape[1:]))
    out_Q = np.empty((len(Q), len(steps), *Q.shape[1:]))
    _run_factors(K, Q, X, z, scores, float(eta), steps, out_K, out_Q)
    return out_K, out_Q


def descend_plainly(
    W: Array,
    X: Array,
    z: Array,
    scores: Array,
    eta: float = 0.1,
    steps: int = 1000,
    kind: str = "logistic",
) -> Array:
    """The slow twin of `descend`: all runs at once in numpy, the weights [S d e] at the end.

    For the other losses of `instances` too.
    """
    W = np.array(W, dtype=np.float64)
    for _ in range(steps):
        W -= eta * unit(scaled_gradient(W, X, z, scores, kind)[0], axes=(1, 2))
    return W


def _checked(
    X: Array, z: Array, scores: Array, eta: float, record: Sequence[int], *start: Array
) -> Array:
    if X.ndim != 4 or z.ndim != 3 or X.shape[:2] != z.shape[:2] or scores.shape != X.shape[:3]:
        raise ShapeError(
            "descend: needs X [S n T d], z [S n e], scores [S n T]; got "
            f"{X.shape}, {z.shape}, {scores.shape}. One run still needs its axis S: x[None]."
        )
    if 0 in X.shape[1:3]:
        raise ShapeError(f"descend: needs at least one sample and one token; got X {X.shape}")
    for name, x in [("X", X), ("z", z), ("scores", scores), *(("the start", a) for a in start)]:
        if not np.all(np.isfinite(x)):
            raise NonFiniteError(
                f"descend: {name} holds NaN or infinity; a step would hide it, because the "
                "gradient is normalised"
            )
    steps = np.asarray(record)
    if steps.dtype.kind not in "iu":
        raise DTypeError(f"descend: `record` must hold integers; got {list(record)}")
    if steps.ndim != 1 or not len(steps) or steps[0] < 0 or np.any(np.diff(steps) <= 0):
        raise DomainError(f"descend: `record` must be increasing steps >= 0; got {list(record)}")
    if not 0 < eta < np.inf:
        raise DomainError(f"descend: the step size eta must be positive and finite; got {eta}")
    return steps.astype(np.int64)
