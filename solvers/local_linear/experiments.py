"""Untrained layers on regression at test time: data, predictions, errors.

segments, regions       streams of keys and values with a linear map for each region of keys
predictions             the value of every token from the tokens before it
smoothing_errors        fits to a function on [0, 1] at many bandwidths
"""

from __future__ import annotations

import numpy as np

from dsf.core.catalogue import family
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.solvers.local_linear.attention import local_linear_attention, parallax
from dsf.solvers.local_linear.forms import centred
from dsf.solvers.local_linear.recurrence import ridge_recurrence

Array = np.ndarray
MODELS = ("linear", "mesa", "softmax", "lla", "deltanet")
SPREAD = 0.3  # of the keys of a region around its centre, before they get one norm

WIDTHS = np.geomspace(0.01, 0.5, 25)
QUERIES = (np.arange(400) + 0.5) / 400
NOISE = 0.1


def segments(seed: int, S: int, L: int = 512, d: int = 8, p: int = 4) -> tuple[Array, Array]:
    """Keys [L d] of norm d^(1/2) and values [L p] without noise, a region for every S tokens.

    >>> k, v = segments(0, 4, L=8)
    >>> k.shape, v.shape, bool(np.allclose((k * k).sum(1), 8))
    ((8, 8), (8, 4), True)
    """
    rng = np.random.default_rng(seed)
    A, centres = _regions(rng, L // S, d, p)
    return _tokens(rng, A, centres, np.arange(L) // S)


def regions(seed: int, L: int = 256, count: int = 8, d: int = 8, p: int = 4) -> tuple[Array, Array]:
    """The same with regions that alternate at random.

    >>> k, v = regions(0, L=8)
    >>> k.shape, v.shape
    ((8, 8), (8, 4))
    """
    rng = np.random.default_rng(seed)
    A, centres = _regions(rng, count, d, p)
    return _tokens(rng, A, centres, rng.integers(0, count, L))


def _regions(rng: np.random.Generator, count: int, d: int, p: int) -> tuple[Array, Array]:
    A = rng.standard_normal((count, d, p)) / np.sqrt(d)
    centres = rng.standard_normal((count, d))
    return A, centres / np.linalg.norm(centres, axis=1, keepdims=True)


def _tokens(
    rng: np.random.Generator, A: Array, centres: Array, region: Array
) -> tuple[Array, Array]:
    d = centres.shape[1]
    k = centres[region] + SPREAD * rng.standard_normal((len(region), d))
    k *= np.sqrt(d) / np.linalg.norm(k, axis=1, keepdims=True)
    return k, np.einsum("ld,ldp->lp", k, A[region])


def predictions(model: str, k: Array, v: Array) -> Array:
    """The values [L-1 p] of tokens 1 .. L-1, each from the tokens before it, at the query k_t.

    linear    linear attention divided by the number of tokens
    mesa      ridge regression on the past, penalty 0.1
    softmax   softmax attention, scale 1
    lla       local linear attention, scale 1, penalty 0.01 of the weights
    deltanet  the delta rule with beta = 1 / |k|^2

    >>> k, v = segments(0, 8, L=8)
    >>> bool(np.allclose(predictions("softmax", k, v)[0], v[0]))
    True
    """
    q, k, v = k[1:], k[:-1], v[:-1]
    if model == "mesa":
        return ridge_recurrence(q, k, v, ridge=0.1)
    if model == "softmax":
        return np.asarray(parallax(q, k, v, np.zeros_like(q), scale=1.0))
    if model == "lla":
        return np.asarray(local_linear_attention(q, k, v, ridge=0.01, scale=1.0))
    if model == "linear":
        return _run("linear_attn", q=q, k=k, v=v) / np.arange(1, len(k) + 1)[:, None]
    size = np.linalg.norm(k, axis=1, keepdims=True)  # unit keys with beta 1 are the same
    return _run("deltanet", q=q, k=k / size, v=v / size, beta=np.ones_like(size))


def _run(name: str, **fields: Array) -> Array:
    o, _ = family(name).without_parameters().advance(Tokens(**fields), State())
    return np.asarray(o)[..., 0, :]


def relative_errors(model: str, k: Array, v: Array) -> Array:
    """Squared errors [L-1] of the predictions over the mean square of all values.

    >>> bool(relative_errors("mesa", *segments(0, 64, L=64))[-1] < 1e-3)
    True
    """
    gap = np.sum((predictions(model, k, v) - v[1:]) ** 2, 1)
    return np.asarray(gap / np.mean(np.sum(v * v, 1)))


# ---------------------------------------------------------------------- smoothing
def target(x: Array) -> Array:
    """sin 4x + x, whose slope at 0 and 1 is not 0."""
    return np.sin(4 * x) + x


def smoothing_errors(n: int, seed: int) -> tuple[Array, float]:
    """Mean squared errors over QUERIES from n noisy values of `target` at uniform points.

    [25 2], of the local constant and of the local linear fit with a Gaussian kernel of each of
    WIDTHS; and of the line of least squares.

    >>> each, line = smoothing_errors(100, 0)
    >>> each.shape, bool(each.min() < 0.01 < line)
    ((25, 2), True)
    """
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    v = (target(x) + NOISE * rng.standard_normal(n))[:, None]
    q, wanted = QUERIES[:, None], target(QUERIES)
    squares, found = -((q - x) ** 2) / 2, np.zeros((len(WIDTHS), 2))
    for i, width in enumerate(WIDTHS):
        logits = squares / width**2
        w = np.exp(logits - logits.max(1, keepdims=True))
        total = w.sum(1, keepdims=True)
        # the ridge only keeps a single key in reach from dividing by 0
        linear = centred(w, 1e-12 * total, q, x[:, None], v)
        for m, fit in enumerate((w @ v / total, linear)):
            found[i, m] = np.mean((fit[:, 0] - wanted) ** 2)
    line = np.polyval(np.polyfit(x, v[:, 0], 1), QUERIES)
    return found, float(np.mean((line - wanted) ** 2))
