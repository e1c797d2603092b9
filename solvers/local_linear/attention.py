"""Local linear attention from queries and keys, and Parallax with a given direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import OverflowingScanError, ShapeError, UnknownNameError
from dsf.core.ops import isfinite, logits, readable, softmax, zeros, zeros_like
from dsf.core.worlds import Array
from dsf.mechanisms.local.fit import ridge_per_weight, tilted
from dsf.solvers.intake import number
from dsf.solvers.local_linear.forms import centred, interpolation, weights_form
from dsf.solvers.local_linear.intake import matrices, ridge_kind, tokens

FORMS = {"weights": weights_form, "centred": centred, "interpolation": interpolation}


def local_linear_attention(
    q: Any, k: Any, v: Any, *, ridge: float = 10.0, scale: float | None = None,
    causal: bool = True, ridge_times: str = "weights", form: str = "centred",
) -> Array:  # fmt: skip
    """The value at the query of a linear fit to the values, weighted by e^{scale q'k}:

        min_{b, W} sum_j w_ij |v_j - b - W (k_j - q_i)|^2 + c_i ridge |W|^2,    o_i = b

    over j <= i (`causal`) or all keys.  c_i = sum_j w_ij (ridge_times="weights": a factor common to
    all weights of a query drops out) or 1 ("one": it does not).  q [n d], k [T d], v [T p] give
    [n p], float64, or torch tensors of one dtype, which carry gradients; scale d^(-1/2) by default.
    The three forms are equal; time n T d^2 + n d^3, memory n T d.  ridge -> infinity is softmax
    attention.

    Raises ShapeError, DTypeError, NonFiniteError, DomainError, UnknownNameError,
    OverflowingScanError (infinite logits), IllConditionedError (a fit that is not determined).
    Zuo et al. 2026 (arXiv 2510.01450); its text has ridge_times="one", its code "weights".

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> far = local_linear_attention([[5.0]], x, 3 * x + 1, ridge=0, scale=0.1, causal=False)
    >>> far.round(9)
    array([[16.]])
    """
    who = "local_linear_attention"
    q, k, v = tokens(who, q, k, v, causal)
    if form not in FORMS:
        raise UnknownNameError(f"{who}: no form {form!r}; known: {', '.join(FORMS)}")
    ridge, kind = number(who, "ridge", ridge), ridge_kind(who, ridge_times)
    if not len(q):
        return zeros((0, v.shape[1]), v)
    x, seen = seen_logits(q, k, scale_of(who, scale, q), causal)
    penalty = penalties(x, seen, ridge, kind)
    with np.errstate(over="ignore", invalid="ignore"):  # the forms and `finite` refuse it
        return finite(who, FORMS[form](softmax(x, seen), penalty, q, k, v))


def seen_logits(
    q: Array, k: Array, scale: float, causal: bool, first: int = 0
) -> tuple[Array, Any]:
    """The logits scale q'k [n T], and which of the keys each query sees.

    A causal query sees the keys j <= first + i: `first` is the position of the first query.

    >>> seen_logits(np.ones((1, 1)), np.array([[0.0], [2.0]]), 1.0, True)
    (array([[0., 2.]]), array([[ True, False]]))
    """
    mask = np.tri(len(q), len(k), first if causal else len(k), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):  # `logits` refuses what is not finite
        return logits(q * scale, k, mask), mask


def penalties(x: Array, seen: np.ndarray, ridge: float, ridge_times: str) -> Array:
    """The penalty [n 1] on |W|^2 that goes with the softmax of the logits x: rows that sum to 1."""
    if ridge_times == "weights" or not ridge:
        return ridge + zeros_like(x[:, :1])
    with np.errstate(over="ignore"):
        penalty = ridge_per_weight(ridge, x, seen)
    if readable(penalty) and not bool(isfinite(penalty).all()):
        raise OverflowingScanError(
            "local linear fit: with ridge_times='one' the ridge divided by the sum of the weights "
            "of a query overflows. Likely cause: very negative logits. Take ridge_times='weights'."
        )
    return penalty


def scale_of(who: str, scale: float | None, q: Array) -> float:
    """The factor of the logits: the given one, or d^(-1/2)."""
    return float(q.shape[1]) ** -0.5 if scale is None else number(who, "scale", scale)


def parallax(
    q: Any, k: Any, v: Any, direction: Any, *, scale: float | None = None, causal: bool = True
) -> Array:
    """Softmax attention minus the cross-covariance of keys and values along a direction:

        o_i = vb_i - sum_j p_ij (r_i'(k_j - kb_i)) v_j

    with p the softmax weights, kb and vb their means, direction r [n d].  r = 0 is softmax
    attention; r_i = (C_i + ridge I)^-1 (kb_i - q_i) is local linear attention.  q [n d], k [T d],
    v [T p] -> [n p], as in `local_linear_attention`, in time n T (d + p).

    Raises ShapeError, DTypeError, NonFiniteError, DomainError, OverflowingScanError.
    Parallax (arXiv 2605.29157), there with a learned r.

    >>> v = np.array([[1.0], [3.0]])
    >>> parallax(v, v, v, 0 * v, scale=0.0)
    array([[1.],
           [2.]])
    """
    who = "parallax"
    q, k, v = tokens(who, q, k, v, causal)
    r = matrices(who, q=q, direction=direction)[1]
    if r.shape != q.shape:
        raise ShapeError(f"{who}: direction {list(r.shape)} must have the shape {list(q.shape)}")
    if not len(q):
        return zeros((0, v.shape[1]), v)
    p = softmax(*seen_logits(q, k, scale_of(who, scale, q), causal))
    with np.errstate(over="ignore", invalid="ignore"):
        return finite(who, tilted(p, r, k) @ v)


def finite(who: str, o: Array) -> Array:
    """The output o, or OverflowingScanError where it is not finite.

    >>> finite("f", np.ones(1))
    array([1.])
    """
    if readable(o) and not bool(isfinite(o).all()):
        raise OverflowingScanError(
            f"{who}: the output left the range of {o.dtype}, although the input is finite. Likely "
            "cause: keys or values too large; rescale them or use a wider dtype."
        )
    return o
