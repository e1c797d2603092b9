"""Numbers that describe trained attention: sinks, outliers, spread, focus.

Attention maps A [... T T] are causal with rows over keys; positions count from 1.  Averages over
samples are taken on the indicator where the source does so.
"""

from __future__ import annotations

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.solvers.svm.problem import Array

VARIANCE = 1e-6  # added to s^4 in `kurtosis`: samples without spread stay finite


def _square(A: Array) -> Array:
    A = np.asarray(A, dtype=np.float64)
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"an attention map is [... T T], got {A.shape}")
    return A


def sink_weight(A: Array, k: int = 1) -> Array:
    """alpha_k = (1/(T-k+1)) sum_{i >= k} A_ik: mean attention on token k of maps [... T T].

    Gu et al. 2024 (arXiv 2410.10781).  Causal uniform rows give alpha_1 = H_T / T.

    >>> uniform = np.tri(64) / np.arange(1, 65)[:, None]
    >>> round(float(sink_weight(uniform)), 4)
    0.0741
    """
    A = _square(A)
    if not 1 <= k <= A.shape[-1]:
        raise DomainError(f"sink_weight: k counts from 1 to {A.shape[-1]}, got {k}")
    return A[..., k - 1 :, k - 1].mean(axis=-1)


def sink_rate(A: Array, k: int = 1, epsilon: float = 0.3) -> float:
    """Sink_k^eps = mean over all maps (samples, layers, heads) of 1[alpha_k > eps].

    Gu et al. 2024, with eps = 0.3 and T = 64; late tokens average few rows, so k is small.

    >>> sink_rate(np.stack([np.eye(4), np.tri(4)[:, :1] * np.eye(4)[0]]), epsilon=0.3)
    0.5
    """
    return float(np.mean(sink_weight(A, k) > epsilon))


def normalised_magnitude(A: Array) -> Array:
    """|A| with rows that sum to one: the proxy for attention without normalisation.  A row of
    zeros stays zero.

    >>> normalised_magnitude(np.array([[1.0, 0.0], [-1.0, 3.0]]))
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """
    size = np.abs(_square(A))
    total = size.sum(axis=-1, keepdims=True)
    return size / np.where(total > 0, total, 1.0)


def delta_logit(logits: Array) -> Array:
    """Delta_i = s_i1 - mean_{1 < j < i} s_ij: how far the first key leads, of logits [... T T] ->
    [... T]; nan for the first two tokens, which have no other past key.

    Guo et al. 2024 (arXiv 2410.13835).

    >>> delta_logit(np.array([[0.0, 0, 0], [2, 0, 0], [5, 1, 9]]))
    array([nan, nan,  4.])
    """
    s = _square(logits)
    T = s.shape[-1]
    out = np.full(s.shape[:-1], np.nan)
    for i in range(2, T):
        out[..., i] = s[..., i, 0] - s[..., i, 1:i].mean(axis=-1)
    return out


def value_norm(values: Array) -> Array:
    """(|v_1|, mean of |v_j| over the others): values [... T p] -> [... 2]; a drained sink has a
    small first entry.

    >>> value_norm(np.array([[0.0, 1.0], [3.0, 4.0], [0.0, 7.0]]))
    array([1., 6.])
    """
    size = np.linalg.norm(values, axis=-1)
    return np.stack([size[..., 0], size[..., 1:].mean(axis=-1)], axis=-1)


# ------------------------------------------------------------------------------- outliers
def kurtosis(x: Array) -> float:
    """Mean over samples of mean((x - mean)^4) / (s^4 + 1e-6), s unbiased; a Gaussian has 3.

    x [samples T d] or [samples N]: everything after the first axis is one sample, as in Bondarenko
    et al. 2023 (arXiv 2306.12929), where the result is averaged over layers.

    >>> round(kurtosis(np.random.default_rng(0).standard_normal((4, 256))), 6)
    3.260486
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    square = centred * centred  # a power of 4 takes ten times as long
    variance = square.sum(axis=1) / (flat.shape[1] - 1)
    return float(np.mean(np.mean(square * square, axis=1) / (variance**2 + VARIANCE)))


def largest_kurtosis(N: int) -> float:
    """The kurtosis of N entries of which one differs: (N^2 - 3N + 3)/(N - 1) ((N-1)/N)^2, the
    largest possible.

    >>> round(largest_kurtosis(256), 4)
    252.0234
    """
    return (N * N - 3 * N + 3) / (N - 1) * ((N - 1) / N) ** 2


def infinity_norm(x: Array) -> float:
    """Mean over samples of max |x|; Bondarenko et al. 2023 take the largest over the layers.

    >>> round(infinity_norm(np.random.default_rng(0).standard_normal((4, 256))), 4)
    3.1125
    """
    return float(np.abs(np.asarray(x)).reshape(len(x), -1).max(axis=1).mean())


def outliers(x: Array, sigmas: float = 6.0) -> float:
    """Share of entries with |x| > 6 sigma, sigma over one sample.

    >>> x = np.append(np.zeros(99), 100.0)[None]
    >>> outliers(x)
    0.01
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    return float(np.mean(np.abs(flat) > sigmas * flat.std(axis=1, keepdims=True)))


# ------------------------------------------------------------------------- spread and focus
def entropy(rows: Array) -> Array:
    """-sum a log a of rows [... T] in nats; zeros allowed.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4) + 0.0
    array([0.6931, 0.    ])
    """
    a = np.asarray(rows, dtype=np.float64)
    return -np.sum(a * np.log(np.where(a > 0, a, 1.0)), axis=-1)


def concentration(A: Array) -> Array:
    """Conc = |A|_F of maps [... T T] (arXiv 2510.11602).

    >>> float(concentration(np.eye(4)))
    2.0
    """
    return np.linalg.norm(_square(A), axis=(-2, -1))


def head_diversity(A: Array) -> float:
    """2/(T(T+1)) sum over causal entries of the standard deviation over heads, A [H T T] (arXiv
    2510.11602).

    >>> head_diversity(np.stack([np.eye(3), np.eye(3)]))
    0.0
    """
    A = _square(A)
    if A.ndim != 3:
        raise ShapeError(f"head_diversity: needs maps of several heads [H T T], got {A.shape}")
    causal = np.tri(A.shape[-1], dtype=bool)
    return float(A.std(axis=0)[causal].mean())


def local_focus(A: Array, offset: int) -> Array:
    """LocFoc_N = mean of A_{i,i-N} over the T - N entries of that diagonal (arXiv 2510.11602).

    >>> float(local_focus(np.eye(4, k=-1), 1))
    1.0
    """
    A = _square(A)
    if not 0 <= offset < A.shape[-1]:
        raise DomainError(f"local_focus: 0 <= offset < {A.shape[-1]}, got {offset}")
    return np.diagonal(A, -offset, -2, -1).mean(axis=-1)
