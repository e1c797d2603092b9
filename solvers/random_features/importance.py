"""Softmax attention as an expectation over directions, and importance sampling of it.

With xi(k, w) = e^{w'k - |k|^2/2}, f(w) = sum_j xi(k_j, w) v_j / sum_j xi(k_j, w), and the mixture
p_q(w) = sum_j softmax(q'k)_j N(w; q + k_j, I):

    softmax attention at q  =  E_{w ~ p_q} f(w)                     (Zheng et al. 2022, 2204.04667)

and p_q(w) = N(w; 0, I) xi(q, w) sum_j xi(k_j, w) / sum_j e^{q'k_j}, so that attention by positive
random features is self-normalised importance sampling with the proposal N(0, I).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import ShapeError
from dsf.core.ops import softmax
from dsf.mechanisms.linear.features import log_features
from dsf.solvers.intake import Array, count, reals
from dsf.solvers.random_features.kernel_attention import checked_tokens


def randomised_attention(q: Any, k: Any, v: Any, draws: int, seed: int = 0) -> tuple[Array, Array]:
    """(mean, standard error) [n p] of `draws` >= 2 samples of f(w), w ~ p_q: unbiased for softmax
    attention with logits q'k over all keys; q [n d], k [T d], v [T p], float64, cost n draws T.

    Raises ShapeError, DTypeError, NonFiniteError, DomainError.

    >>> rng = np.random.default_rng(0)
    >>> q, k, v = rng.standard_normal((3, 4, 2))
    >>> mean, error = randomised_attention(q, k, v, 10_000)
    >>> bool(np.all(np.abs(mean - softmax(q @ k.T) @ v) < 5 * error))
    True
    """
    q, k, v = checked_tokens("randomised_attention", q, k, v)
    draws = count("randomised_attention", "draws", draws, least=2)
    rng = np.random.default_rng(seed)
    mean, error = np.empty((2, len(q), v.shape[1]))
    for i, query in enumerate(q):
        chosen = rng.choice(len(k), draws, p=softmax(k @ query))
        w = query + k[chosen] + rng.standard_normal((draws, len(query)))
        f = softmax(log_features("favor", k, w).T) @ v
        mean[i], error[i] = f.mean(0), f.std(0, ddof=1) / np.sqrt(draws)
    return mean, error


def importance_attention(q: Any, k: Any, v: Any, centres: Any, seed: int = 0) -> Array:
    """Self-normalised importance sampling with one draw w_c from each N(centres_c, I):

        y = sum_c a_c xi(q, w_c) sum_j xi(k_j, w_c) v_j / (the same with 1 for v_j)
        a_c = N(w_c; 0, I) / sum_c' N(w_c; centres_c', I)                   (balance heuristic)

    q [n d], k [T d], v [T p], centres [C d] -> [n p], float64; linear in T.  Centres 0 are FAVOR+
    with C independent directions.  LARA (Zheng et al. 2022, arXiv 2204.04667) takes centres pooled
    from queries and keys, and besides a factor for each query, whose form is not known here and
    which is left out.  Raises ShapeError, DTypeError, NonFiniteError.

    >>> q, v = np.zeros((1, 2)), np.array([[1.0], [3.0]])
    >>> importance_attention(q, np.zeros((2, 2)), v, np.zeros((3, 2)))      # equal keys: the mean
    array([[2.]])
    """
    q, k, v = checked_tokens("importance_attention", q, k, v)
    centres = reals("importance_attention", "centres", centres, 2)
    if centres.shape[1] != q.shape[1] or not len(centres):
        raise ShapeError(
            f"importance_attention: centres {list(centres.shape)} must be [C d] with C >= 1, d = "
            f"{q.shape[1]}"
        )
    w = centres + np.random.default_rng(seed).standard_normal(centres.shape)
    return weighted_directions(q, k, v, w, log_balance(w, centres))


def log_balance(w: Array, centres: Array) -> Array:
    """log a_c [C] of `importance_attention`."""
    distances = np.sum((w[:, None] - centres) ** 2, -1) / 2
    return -np.sum(w * w, -1) / 2 - np.logaddexp.reduce(-distances, axis=1)


def weighted_directions(q: Array, k: Array, v: Array, w: Array, log_a: Array) -> Array:
    """The ratio of `importance_attention` at directions w [C d] with log-weights log_a [C]."""
    keys = log_features("favor", k, w)  # [T C]
    shares = softmax(log_features("favor", q, w) + log_a + np.logaddexp.reduce(keys, axis=0))
    return np.asarray(shares @ (softmax(keys.T) @ v))


def eva_attention(q: Any, k: Any, v: Any, block: int, seed: int = 0) -> Array:
    """Exact attention on the query's own block, a random f for each other block of keys:

        y_i = ( sum_{j in E} e^{q'k_j} v_j + sum_c |c| e^{q'kbar_c} f_c(w_c) ) / (the same with 1)

    after EVA (Zheng et al. 2023, arXiv 2302.04542): E is the block of query i, kbar_c the mean
    key of block c, f_c(w) = sum_{j in c} xi(k_j, w) v_j / sum_{j in c} xi(k_j, w) its control
    variate at w_c ~ N(kbar_c + qbar_c, I).  How the paper pools and where it centres w_c is learned
    there; the choice here is ours.  Not causal; softmax attention where one block holds all keys.
    q, k [n d], v [n p] -> [n p], float64.  Raises ShapeError, DTypeError, NonFiniteError,
    DomainError.

    >>> rng = np.random.default_rng(0)
    >>> q, k, v = rng.standard_normal((3, 6, 2))
    >>> bool(np.allclose(eva_attention(q, k, v, 6), softmax(q @ k.T) @ v))
    True
    """
    q, k, v = checked_tokens("eva_attention", q, k, v)
    block = count("eva_attention", "block", block)
    if len(q) != len(k):
        raise ShapeError(f"eva_attention: {len(q)} queries and {len(k)} keys; it needs as many")
    rng = np.random.default_rng(seed)
    parts = [slice(start, min(start + block, len(k))) for start in range(0, len(k), block)]
    f, masses = [], []
    for part in parts:
        mean = k[part].mean(0)
        w = mean + q[part].mean(0) + rng.standard_normal(len(mean))
        f.append(softmax(log_features("favor", k[part], w[None])[:, 0]) @ v[part])
        masses.append(np.log(len(k[part])) + q @ mean)
    others, rows = np.stack(masses, 1), []
    for c, part in enumerate(parts):
        rest = np.delete(others[part], c, axis=1)
        weights = softmax(np.concatenate([q[part] @ k[part].T, rest], 1))
        values = np.concatenate([v[part], *(x[None] for i, x in enumerate(f) if i != c)])
        rows.append(weights @ values)
    return np.concatenate(rows)
