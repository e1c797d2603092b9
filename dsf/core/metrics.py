"""How close is close: the scaled error ratio R and its gate, the one place for tolerances.

    R = max |y - y_ref| / (eps * scale),      passed if R <= G = 4 + sqrt(L_eff)

The scale is what rounding may do to the sum that y is (LAPACK's idea: a ratio without dimension and
one threshold), eps the unit of the dtype.  The kinds of scale:

    M1  Diag, Shift      sum_j |C_i| |A_i| .. |A_{j+1}| |B_j| |X_j|               entry by entry
    M2  LowRank, Dense   |C_i| sum_j |A_i| .. |A_{j+1}| |B_j X_j|                 in 2-norms
    M4  softmax          (1 + max_j sum_c |q_ic| |k_jc|) sum_j w_ij |v_j|
    quotient o/den       (scale_o + |o/den| scale_den) / |den|                    den may cancel
    nonlinear step, and weights other than a softmax of products
                         the radius of the same run in balls of eps, inputs widened by eps

M3 (`worst_row`) is the row-relative error; a root mean square hides a single wrong row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dsf.core.arrays import to_numpy
from dsf.core.kinds import Attention, DotProductAttention, Recurrence, Step
from dsf.core.ops import Array
from dsf.core.system import LTV
from dsf.core.transition import Dense, Diag, LowRank, Transition, dense
from dsf.core.worlds import balls, precision, radii

TOGETHER = 64  # outputs that are differentiated in one sweep


def unit(dtype: Any) -> float:
    """The spacing of the floats at 1: 2.2e-16 for float64, 1.2e-7 for float32.

    >>> unit(np.float64) == 2**-52
    True
    """
    return float(np.finfo(_numpy_dtype(dtype)).eps)


def ratio(y: Array, reference: Array, scale: Array, dtype: Any = None) -> float:
    """R = max |y - reference| / (eps scale), with the smallest subnormal as floor of eps scale.

    `dtype` is that of y unless given.  Entries that are not finite in both give infinity.

    >>> ratio(np.array([1 + 2**-52]), np.array([1.0]), np.array([1.0]))
    1.0
    """
    info = np.finfo(_numpy_dtype(y.dtype if dtype is None else dtype))
    y, reference, scale = to_numpy(y), to_numpy(reference), to_numpy(scale)
    if not y.size:
        return 0.0
    if not (np.isfinite(y).all() and np.isfinite(reference).all()):
        return float("inf")
    floor = np.maximum(float(info.eps) * scale, float(info.smallest_subnormal))
    with np.errstate(over="ignore"):  # a gap of any size over a scale of 0: infinity
        return float(np.max(np.abs(y - reference) / floor))


def gate(L_eff: float) -> float:
    """G = 4 + sqrt(L_eff), calibrated on correct recurrences (signed, positive, damped or not)."""
    return 4 + float(np.sqrt(L_eff))


def effective_length(ltv: LTV) -> float:
    """min(L, 1/(1 - mean |a|)) for diagonal transitions; L for the others and where |a| >= 1."""
    if not isinstance(ltv.A, Diag) or not ltv.length:
        return ltv.length
    mean = float(np.mean(np.abs(to_numpy(ltv.A.values()))))
    return ltv.length if mean >= 1 else min(ltv.length, 1 / (1 - mean))


def scale(ltv: LTV, X: Array, S: Array | None = None) -> np.ndarray:
    """The scale of every output of ltv.scan(X, S) [... L r p]: M1 or M2 by the kind of transition.

    >>> ltv = LTV(Diag(a=np.full((3, 1), 0.5)), np.ones((1, 1, 1)), -np.ones((1, 1, 1)))
    >>> scale(ltv, np.ones((3, 1, 1))).ravel()
    array([1.  , 1.5 , 1.75])
    """
    ltv, X = replace(ltv.map(to_numpy), steps=X.shape[-3]), to_numpy(X)
    D = None if ltv.D is None else np.abs(dense(ltv.D))
    if isinstance(ltv.A, (LowRank, Dense)):
        return _normwise(ltv, X, S, D)
    A: Transition = ltv.A
    if isinstance(A, Diag):
        A = Diag(a=np.abs(A.values()), size=ltv.n)
    B, C = np.abs(dense(ltv.B)), np.abs(dense(ltv.C))
    absolute = LTV(A, B, C, D, ltv.read, ltv.length)
    return absolute.scan(np.abs(X), None if S is None else np.abs(to_numpy(S)))[0]


def _normwise(ltv: LTV, X: np.ndarray, S: Any, D: Any) -> np.ndarray:
    """c |C_i| sum_j |A_i| .. |A_{j+1}| |B_j X_j| in 2-norms, column by column of X.

    The norm of a product A_i .. A_{j+1} would be too small a scale where factors cancel: the state
    between them is rounded.  c >= 1 is the price of applying A as a sum of two terms, diag + U W'.
    """
    A = ltv.A.dense(ltv.n)
    size = np.linalg.norm(A, 2, axis=(-2, -1))[..., None]
    c = 1.0
    if isinstance(ltv.A, LowRank):
        factors = [np.linalg.norm(dense(x), 2, axis=(-2, -1)) for x in (ltv.A.U, ltv.A.W)]
        parts = np.abs(ltv.A.diag.values()).max(-1) + factors[0] * factors[1]
        c = float(np.max(parts / np.where(size[..., 0] > 0, size[..., 0], 1), initial=1))
    write = np.linalg.norm(np.abs(dense(ltv.B)) @ np.abs(X), axis=-2)[..., None, :]
    read = np.linalg.norm(dense(ltv.C), axis=-1)[..., None]
    start = None if S is None else np.linalg.norm(to_numpy(S), axis=-2)[..., None, :]
    one = np.ones((1, 1, 1))
    y = LTV(Diag(a=size), one, c * read, None, ltv.read, ltv.length).scan(write, start)[0]
    return y if D is None else y + D @ np.abs(X)


def softmax_scale(q: Array, k: Array, weights: Array, v: Array) -> np.ndarray:
    """M4 for outputs weights @ v of logits q' k [... L p] (q already scaled by 1/sqrt(n))."""
    q, k, weights, v = (np.abs(to_numpy(x)) for x in (q, k, weights, v))
    logits = np.where(weights > 0, q @ np.swapaxes(k, -1, -2), 0)
    return (1 + logits.max(-1, keepdims=True, initial=0)) * (weights @ v)


def recurrence_scale(mech: Any, u: Array) -> np.ndarray:
    """The scale of mech(u) [... L H p] for given coefficients, normaliser included.

    A quotient o/den has the scale (scale_o + |o/den| scale_den)/|den|.
    """
    mech, u = mech.map(to_numpy), to_numpy(u)
    weighs = isinstance(mech, Attention)
    if isinstance(mech, Step) or (weighs and not isinstance(mech, DotProductAttention)):
        return ball_scale(mech, u)
    ltv, X = mech.system_on(u)
    if weighs:
        tok = mech.tokens(u)
        weights, v = mech.weights(tok, u.shape[-2])
        q = tok.q / np.sqrt(tok.k.shape[-1])
        return mech.merge(softmax_scale(q, tok.k, weights, v)[..., None, :])
    tok = mech.tokens(u)
    value = ltv.scan(X)[0]
    normalised = mech.normaliser(np.concatenate([value, value[..., :1]], -1), tok) is not None
    found = _quotient_scale(ltv, X, value) if normalised else scale(ltv, X)
    if "gate" in tok.names:  # an output gate multiplies value and error alike
        found = found * np.abs(tok.gate[..., :, None, :])
    return mech.merge(found)


def _quotient_scale(ltv: LTV, X: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(scale_o + |o/den| scale_den)/|den|, for a system whose C is divided by den already."""
    return scale(ltv, X) + np.abs(value) * scale(ltv, np.ones_like(X[..., :1]))


def mean_scale(mech: Any, tok: Any) -> tuple[np.ndarray, float]:
    """(scale, gate) of the outputs [... L r p] as weighted means of the values, tokens given.

    A mean o = sum w v / sum w of values of size |v| has the scale 2 |v| sum|w| / |sum w|: weights
    of one sign give 2 |v|, weights of both signs may cancel in the denominator, and their terms
    are counted down to the products of which each weight is the sum.

    >>> import dsf
    >>> mech = dsf.linear_attn(normalise=True).without_parameters()
    >>> one = np.ones((2, 1))
    >>> tok = dsf.Tokens(q=one, k=np.array([[1.0], [-0.75]]), v=one)      # weights 1, -3/4
    >>> mean_scale(mech, tok)[0].ravel()                                  # 2, and 2 (7/4) / (1/4)
    array([ 2., 14.])
    """
    L = mech.length(tok)
    if isinstance(mech, Step):  # no weights to look at: as if they were of one sign
        return 2 * np.abs(to_numpy(tok.v))[..., None, :], gate(L)
    tok = mech.positioned(tok.map(to_numpy), 0)
    if isinstance(mech, Attention):
        weights, v = (np.abs(to_numpy(x)) for x in mech.weights(tok, L))
        value = np.abs(mech.outputs(tok, tok, None)[0])
        return (weights @ v)[..., None, :] + value * weights.sum(-1)[..., None, None], gate(L)
    ltv, X = mech.linear(tok, L)
    return _quotient_scale(ltv, X, ltv.scan(X)[0]), gate(effective_length(ltv))


def condition_scale(mech: Any, u: Array) -> np.ndarray:
    """sum |dy/dx| |x| over all inputs and parameters x: what a relative error eps in each may do.

    End to end, a stable program computes the exact output of inputs and parameters that are off by
    eps; this is how far that moves y (first order, by reverse-mode differentiation in float64).
    """
    import torch

    x = torch.as_tensor(to_numpy(u)).clone().requires_grad_()
    held = mech.map(lambda p: torch.as_tensor(to_numpy(p)).clone().requires_grad_())
    leaves = [x, *held.parameters().values()]
    y = held(x)
    total = np.zeros(y.numel())
    for start in range(0, y.numel(), TOGETHER):
        at = torch.arange(start, min(start + TOGETHER, y.numel()))
        picks = torch.nn.functional.one_hot(at, y.numel()).to(y.dtype).reshape(-1, *y.shape)
        grads = torch.autograd.grad(
            y, leaves, picks, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        for g, p in zip(grads, leaves, strict=True):
            if g is not None:
                total[at] += to_numpy((g * p.detach()).abs().flatten(1).sum(1))
    return total.reshape(tuple(y.shape))


def ball_scale(mech: Any, u: Array, eps: float = 2.0**-52) -> np.ndarray:
    """The radius of mech(u) in balls, inputs and parameters widened by eps |x|, divided by eps.

    The balls carry as many bits as eps says, so that every operation adds its own rounding.
    """

    def widen(x: np.ndarray) -> np.ndarray:
        spread = balls(np.zeros(x.shape), radius=eps)
        return balls(x) * (1 + spread)

    with precision(1 - round(float(np.log2(eps)))):
        return radii(mech.map(lambda x: widen(to_numpy(x)))(widen(to_numpy(u)))) / eps


def end_to_end(mech: Any, u: Array) -> tuple[np.ndarray, float]:
    """(scale, gate) for mech(u) computed from u and the parameters: recurrence plus projections."""
    total = recurrence_scale(mech, u) + condition_scale(mech, u)
    if not isinstance(mech, Recurrence):
        return total, gate(to_numpy(u).shape[-2])
    return total, gate(effective_length(mech.map(to_numpy).ltv(to_numpy(u))))


def worst_row(y: Array, reference: Array) -> float:
    """M3: the largest relative error of a row, max_i |y_i - ref_i| / |ref_i| (2-norms).

    >>> worst_row(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
    1.0
    """
    y, reference = to_numpy(y), to_numpy(reference)
    error = np.linalg.norm(y - reference, axis=-1)
    size = np.linalg.norm(reference, axis=-1)
    return float(np.max(np.where(error > 0, error / np.where(size > 0, size, 1), 0), initial=0))


def _numpy_dtype(dtype: Any) -> Any:
    name = str(dtype).removeprefix("torch.")
    if name == "bfloat16":
        raise TypeError("metrics: bfloat16 has no numpy dtype; convert the output to float32 first")
    return np.dtype(name) if str(dtype).startswith("torch.") else np.dtype(dtype)
