"""Interventions on a trained attention head, as functions of logits, rows and outputs.

    clipped softmax   a = clip((zeta - gamma) softmax(s) + gamma, 0, 1)
    gated output      y = o * sigmoid(x W + b)
    redistribution    sinks keep a fraction of their weight, the rest goes to other image tokens
    temperature       a = softmax(tau s),  tau = 1 + c log n over rows of n keys
    soft injection    o = (1 - m) o + m e

numpy, float64 (clipping and gates also torch); leading axes broadcast, the last axis of rows and
logits counts keys.
"""

from __future__ import annotations

import numpy as np

from dsf.core import ops
from dsf.core.errors import DomainError, NonFiniteError, ShapeError, UnknownNameError
from dsf.core.ops import sigmoid
from dsf.solvers.heads.deconstructed import standard
from dsf.solvers.svm.problem import Array

RMS = 1e-6  # added to the mean square of a state: one of zeros is no sink


def softmax(logits: Array) -> Array:
    """`dsf.ops.softmax` in float64, strict: e^{s_j} / sum e^{s_l} along the last axis.

    -inf is a masked key.

    Raises NonFiniteError for NaN, +inf, and rows with no key left.

    >>> softmax(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    s = np.asarray(logits, dtype=np.float64)
    top = s.max(axis=-1, keepdims=True)
    if not np.all(np.isfinite(top)):
        raise NonFiniteError(
            "softmax: a row holds NaN or +inf, or all its keys are masked (-inf); every row needs "
            "one finite logit: check the mask and the scale of the logits"
        )
    return ops.softmax(s)


def clipped_softmax(logits: Array, gamma: float, zeta: float = 1.0) -> Array:
    """clip((zeta - gamma) softmax(s) + gamma, 0, 1) along the last axis (Bondarenko et al. 2023,
    arXiv 2306.12929, equation 4); the paper recommends gamma = -alpha/T with alpha from 2 to 4.

    Rows need not sum to one.  Raises DomainError unless gamma <= 0 and zeta >= 1.

    >>> clipped_softmax(np.log([0.9, 0.1]), gamma=-0.2)
    array([0.88, 0.  ])
    """
    return clip_rows(softmax(logits), gamma, zeta)


def clip_rows(rows: Array, gamma: float, zeta: float = 1.0) -> Array:
    """clip((zeta - gamma) p + gamma, 0, 1) of softmax rows p, numpy or torch; raises DomainError
    unless gamma <= 0 and zeta >= 1.

    >>> clip_rows(np.array([0.9, 0.1]), gamma=-0.2)
    array([0.88, 0.  ])
    """
    if gamma > 0 or zeta < 1:
        raise DomainError(
            f"clipped_softmax: needs gamma <= 0 and zeta >= 1, got gamma = {gamma}, zeta = {zeta}; "
            "gamma is usually -alpha / T"
        )
    return ((zeta - gamma) * rows + gamma).clip(0.0, 1.0)


def zero_threshold(gamma: float, zeta: float = 1.0) -> float:
    """-gamma / (zeta - gamma): probabilities up to here become exact zeros.

    >>> round(zero_threshold(-3.2 / 128), 6)        # alpha / (T + alpha)
    0.02439
    """
    return -gamma / (zeta - gamma)


def range_needed(keys: int, rest: float) -> float:
    """The logit gap by which one of `keys` equal others must lead to leave them `rest` in total:
    log((keys - 1) (1 - rest) / rest).

    >>> round(range_needed(128, 1e-2), 1)
    9.4
    """
    return float(np.log(keys - 1) + np.log1p(-rest) - np.log(rest))


def clipped_range_needed(keys: int, rest: float, alpha: float) -> float:
    """`range_needed` for clipped softmax with gamma = -alpha/T over T keys: the gap that leaves
    `rest`, possibly 0, to the T - 1 equal others after the clip; 0 where no gap is needed.

        p = (rest/(T-1) + alpha/T) / (1 + alpha/T) each,   gap = log(1/p - (T-1))

    >>> round(clipped_range_needed(128, 0.0, 0.5), 2), clipped_range_needed(128, 0.0, 3.2)
    (4.87, 0.0)
    """
    p = (rest / (keys - 1) + alpha / keys) / (1 + alpha / keys)
    return float(np.log(max(1 / p - (keys - 1), 1.0))) if p > 0 else float("inf")


def gated_output(outputs: Array, inputs: Array, W: Array, b: Array | float = 0.0) -> Array:
    """o * sigmoid(x W + b): outputs [... T p], inputs [... T d], W [d p] or [d 1] (Qiu et al.
    2025, arXiv 2505.06708: the gate after the attention, elementwise or one scalar per head), numpy
    or torch.

    >>> gated_output(np.ones((1, 2)), np.ones((1, 3)), np.zeros((3, 2)))   # zero gates halve
    array([[0.5, 0.5]])
    """
    if inputs.shape[-1] != W.shape[0] or W.shape[-1] not in (1, outputs.shape[-1]):
        raise ShapeError(
            f"gated_output: outputs {outputs.shape} and inputs {inputs.shape} need W "
            f"[{inputs.shape[-1]} {outputs.shape[-1]}] or [{inputs.shape[-1]} 1], got {W.shape}"
        )
    return outputs * sigmoid(inputs @ W + b)


GATES = ("none", "G1", "G2", "G3", "G4", "G5")


def gated_head(
    x: Array,
    Wq: Array,
    Wk: Array,
    Wv: Array,
    Wo: Array,
    gate: str = "none",
    Wg: Array | None = None,
    rows: Array | None = None,
) -> Array:
    """One causal head x [T d] -> [T d] with the gate sigmoid(x Wg) at one of five positions (Qiu
    et al. 2025): G1 after the attention, G2 on values, G3 on keys, G4 on queries, G5 after Wo.

        o = softmax(q k' / sqrt d_k) v Wo,   q = x Wq,  k = x Wk,  v = x Wv

    Wq, Wk, Wv [d d_k], Wo [d_k d], Wg [d d_k] (G5: [d d]) or [d 1] for one gate per head; `rows`
    [T T] fixes the attention instead of computing it.  Raises UnknownNameError.

    >>> one = np.ones((1, 1))
    >>> gated_head(one, one, one, one, one), gated_head(one, one, one, one, one, "G1", 0 * one)
    (array([[1.]]), array([[0.5]]))
    """
    if gate not in GATES:
        raise UnknownNameError(f"gated_head: no gate {gate!r}; known: {', '.join(GATES)}")

    def gated(y: Array, position: str) -> Array:
        return gated_output(y, x, Wg) if gate == position and Wg is not None else y

    if rows is None:
        q, k = gated(x @ Wq, "G4"), gated(x @ Wk, "G3")
        rows = standard(q, k)
    return gated(gated(rows @ gated(x @ Wv, "G2"), "G1") @ Wo, "G5")


# ------------------------------------------------------------ visual attention redistribution
def sink_tokens(x: Array, dims: list[int], threshold: float = 20.0) -> Array:
    """Which tokens are sinks: max over `dims` of |x_d| / rms(x) above the threshold, bool [... T]
    for states x [... T d] (Kang et al. 2025, arXiv 2503.03321; `dims` belongs to the model).

    >>> sink_tokens(np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 9.0, 0.0, 0.0]]), [1], threshold=1.5)
    array([False,  True])
    """
    rms = np.sqrt(np.mean(x**2, axis=-1) + RMS)
    return np.abs(x[..., dims]).max(axis=-1) / rms > threshold


def image_centred(
    rows: Array, image: Array, sinks: Array, portion: float = 0.5, least: float = 0.2
) -> Array:
    """Which rows look at the image and not at its sinks, bool [...]: the sinks take at most
    `portion` of the weight on the image, and the image has at least the weight `least`.

    >>> image_centred(np.array([[0.2, 0.1, 0.7]]), np.array([0, 1, 1]) > 0, np.array([1, 1, 0]) > 0)
    array([ True])
    """
    seen = rows[..., image].sum(axis=-1)
    return (rows[..., image & sinks].sum(axis=-1) <= portion * seen) & (seen >= least)


def redistribute(rows: Array, image: Array, sinks: Array, keep_fraction: float = 0.6) -> Array:
    """Sinks keep `keep_fraction` of their weight, the image tokens that are no sinks share the
    rest in proportion to their weights: rows [... T], image and sinks bool [T].

        a_j <- p a_j (sinks),   a_j <- a_j (1 + (1-p) sum_sinks a / sum_{image, no sink} a)

    Kang et al. 2025 (arXiv 2503.03321) with the convention of the released code, which *keeps* p;
    the text of the paper, as far as known, removes p.  A row without weight on image tokens that
    are no sinks is returned unchanged.  Raises ShapeError and DomainError.

    >>> redistribute(np.array([0.5, 0.1, 0.4]), np.array([0, 1, 1]) > 0, np.array([1, 0, 0]) > 0)
    array([0.3 , 0.14, 0.56])
    """
    rows = np.asarray(rows, dtype=np.float64)
    if image.shape != rows.shape[-1:] or sinks.shape != rows.shape[-1:]:
        raise ShapeError(
            f"redistribute: rows [... T] and masks [T], got {rows.shape}, {image.shape}, "
            f"{sinks.shape}"
        )
    if not 0 <= keep_fraction <= 1:
        raise DomainError(f"redistribute: keep_fraction is in [0, 1], got {keep_fraction}")
    others = image & ~sinks
    weight = rows[..., others].sum(axis=-1, keepdims=True)
    possible = weight > 0
    freed = (1 - keep_fraction) * rows[..., sinks].sum(axis=-1, keepdims=True)
    gain = freed / np.where(possible, weight, 1.0)
    factor = np.where(sinks, keep_fraction, 1.0) + np.where(others, gain, 0.0)
    return np.where(possible, rows * factor, rows)


# ------------------------------------------------------------------- selective self-attention
def position_temperature(keys: Array, coefficient: float) -> Array:
    """tau = 1 + c log n for rows of n keys (Zhang et al. 2024, arXiv 2411.12892; its code learns
    c = exp(-exp(b)), with b = 1.5 at first, so c = 0.011314).

    >>> position_temperature(np.array([1, 100]), 0.5).round(4)
    array([1.    , 3.3026])
    """
    n = np.asarray(keys)
    if np.any(n < 1):
        raise DomainError("position_temperature: a row has at least one key")
    return 1.0 + coefficient * np.log(n)


def tempered(logits: Array, temperature: Array | float, values: Array | float = 1.0) -> Array:
    """softmax(tau s) times the value temperatures: logits [... T T], temperature [... T] of the
    queries or one number, values [... T] of the keys.

    >>> tempered(np.log([[0.2, 0.8]]), 2.0).round(4)
    array([[0.0588, 0.9412]])
    """
    tau = np.asarray(temperature, dtype=np.float64)[..., None]
    weights = softmax(tau * logits)
    return weights * (np.asarray(values)[..., None, :] if np.ndim(values) else values)


# --------------------------------------------------------------------------- soft injection
def inject(outputs: Array, embedding: Array, mix: Array | float) -> Array:
    """(1 - m) o + m e: head outputs [... p], task embedding [... p], m in [0, 1] (arXiv
    2507.20906: one m per head, at the last token).  Raises DomainError for m outside.

    >>> inject(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 0.25)
    array([0.75, 0.25])
    """
    m = np.asarray(mix, dtype=np.float64)
    if np.any((m < 0) | (m > 1)):
        raise DomainError(f"inject: the mixing weights lie in [0, 1], got {mix}")
    return (1 - m) * outputs + m * embedding


def slot_logit(logits: Array, mix: float) -> Array:
    """The logit with which one more key takes the weight m of every row: logsumexp(s) +
    log(m / (1 - m)).  Injection is attention with this key and the embedding as its value.

    >>> s = np.log([1.0, 3.0])
    >>> softmax(np.append(s, slot_logit(s, 0.25))).round(4)
    array([0.1875, 0.5625, 0.25  ])
    """
    if not 0 < mix < 1:
        raise DomainError(f"slot_logit: m lies strictly between 0 and 1, got {mix}")
    return np.logaddexp.reduce(logits, axis=-1) + np.log(mix) - np.log1p(-mix)
