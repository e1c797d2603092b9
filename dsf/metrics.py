"""How close is close: the scaled error ratio R and its gate, the one place for tolerances.

    R = max |y - y_ref| / (eps * scale),      passed if R <= G = 4 + sqrt(L_eff)

The scale is what rounding may do to the sum that y is (LAPACK's idea: a ratio without dimension and
one threshold), eps the unit of the dtype.  The kinds of scale:

    M1  Diag, Shift      sum_j |C_i| |A_i| .. |A_{j+1}| |B_j| |X_j|               entry by entry
    M2  LowRank, Dense   |C_i| sum_j |A_i .. A_{j+1}|_2 |B_j X_j|                 norms
    M4  softmax          (1 + max_j sum_c |q_ic| |k_jc|) sum_j w_ij |v_j|
    nonlinear step       the radius of the same run in balls of eps, inputs widened by eps

M3 (`worst_row`) is the row-relative error; a root mean square hides a single wrong row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dsf import ops
from dsf.ops import Array
from dsf.system import LTV
from dsf.transition import Dense, Diag, LowRank, Transition, dense


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
    y, reference, scale = _numpy(y), _numpy(reference), _numpy(scale)
    if not y.size:
        return 0.0
    if not (np.isfinite(y).all() and np.isfinite(reference).all()):
        return float("inf")
    floor = np.maximum(float(info.eps) * scale, float(info.smallest_subnormal))
    return float(np.max(np.abs(y - reference) / floor))


def gate(L_eff: float) -> float:
    """G = 4 + sqrt(L_eff), calibrated on correct recurrences (signed, positive, damped or not)."""
    return 4 + float(np.sqrt(L_eff))


def effective_length(ltv: LTV) -> float:
    """min(L, 1/(1 - mean |a|)) for diagonal transitions; L for the others and where |a| >= 1."""
    if not isinstance(ltv.A, Diag) or not ltv.length:
        return ltv.length
    mean = float(np.mean(np.abs(_numpy(ltv.A.values()))))
    return ltv.length if mean >= 1 else min(ltv.length, 1 / (1 - mean))


def scale(ltv: LTV, X: Array, S: Array | None = None) -> np.ndarray:
    """The scale of every output of ltv.scan(X, S) [... L r p]: M1 or M2 by the kind of transition.

    >>> ltv = LTV(Diag(a=np.full((3, 1), 0.5)), np.ones((1, 1, 1)), -np.ones((1, 1, 1)))
    >>> scale(ltv, np.ones((3, 1, 1))).ravel()
    array([1.  , 1.5 , 1.75])
    """
    ltv, X = replace(ltv.map(_numpy), steps=X.shape[-3]), _numpy(X)
    D = None if ltv.D is None else np.abs(dense(ltv.D))
    if isinstance(ltv.A, (LowRank, Dense)):
        return _normwise(ltv, X, S, D)
    A: Transition = ltv.A
    if isinstance(A, Diag):
        A = Diag(a=np.abs(A.values()), size=ltv.n)
    B, C = np.abs(dense(ltv.B)), np.abs(dense(ltv.C))
    absolute = LTV(A, B, C, D, ltv.read, ltv.length)
    return absolute.scan(np.abs(X), None if S is None else np.abs(_numpy(S)))[0]


def _normwise(ltv: LTV, X: np.ndarray, S: Any, D: Any) -> np.ndarray:
    """|C_i| sum_j |A_i .. A_{j+1}| |B_j X_j|, column by column of X."""
    L, n = ltv.length, ltv.n
    write = np.linalg.norm(dense(ltv.B) @ X, axis=-2)  # [... L p]
    read = np.linalg.norm(dense(ltv.C), axis=-1)  # [... L r]
    write, read = (np.broadcast_to(x, (*x.shape[:-2], L, x.shape[-1])) for x in (write, read))
    if S is not None:  # the incoming state counts as a write before the first step
        start = np.linalg.norm(_numpy(S), axis=-2)[..., None, :]
        write = ops.cat([start, write], -2)
    held = write.shape[-2] - L
    weights = _product_norms([ltv.A.at(t).dense(n) for t in range(L)], held)
    if ltv.read == "before":  # the products of one step earlier, and nothing of the present
        first = np.zeros_like(weights[..., :1, :])
        first[..., :held] = 1
        weights = np.concatenate([first, weights[..., :-1, :]], -2)
    y = read[..., :, None] * (weights @ write)[..., None, :]
    return y if D is None else y + D @ np.abs(X)


def _product_norms(A: list[np.ndarray], held: int) -> np.ndarray:
    """|A_t .. A_{j+1}|_2 for every step t and write j <= t [... L held+L], `held` writes before 0.

    1 bounds all of them where every |A_t|_2 <= 1.
    """
    L = len(A)
    seen = np.tril(np.ones((L, held + L)), held)
    if all(np.linalg.norm(a, 2, axis=(-2, -1)).max(initial=0) <= 1 + 1e-12 for a in A):
        return seen
    n, rows = A[0].shape[-1], []
    lead = np.broadcast_shapes(*(a.shape[:-2] for a in A))
    one = np.broadcast_to(np.eye(n), (*lead, 1, n, n))
    products = np.broadcast_to(np.eye(n), (*lead, held, n, n))
    for t in range(L):
        products = np.concatenate([A[t][..., None, :, :] @ products, one], -3)
        size = np.linalg.norm(products, 2, axis=(-2, -1))
        rows.append(np.concatenate([size, np.zeros((*lead, L - 1 - t))], -1))
    return np.stack(rows, -2)


def softmax_scale(q: Array, k: Array, weights: Array, v: Array) -> np.ndarray:
    """M4 for outputs weights @ v of logits q' k [... L p] (q already scaled by 1/sqrt(n))."""
    q, k, weights, v = (np.abs(_numpy(x)) for x in (q, k, weights, v))
    logits = np.where(weights > 0, q @ np.swapaxes(k, -1, -2), 0)
    return (1 + logits.max(-1, keepdims=True, initial=0)) * (weights @ v)


def recurrence_scale(mech: Any, u: Array) -> np.ndarray:
    """The scale of mech(u) [... L H p] for given coefficients, normaliser included.

    A quotient o/den has the scale (scale_o + |o/den| scale_den)/|den|.
    """
    mech, u = mech.map(_numpy), _numpy(u)
    if hasattr(type(mech), "step"):
        return ball_scale(mech, u)
    ltv, X = mech.frozen(u)
    if hasattr(type(mech), "rows"):
        tok = mech.tokens(u)
        weights, v = mech.rows(tok, u.shape[-2])
        q = tok.q / np.sqrt(tok.k.shape[-1])
        return mech._merge(softmax_scale(q, tok.k, weights, v)[..., None, :])
    found = scale(ltv, X)
    tok = mech.tokens(u)
    value = ltv.scan(X)[0]
    if mech.normaliser(np.concatenate([value, value[..., :1]], -1), tok) is not None:
        found = found + np.abs(value) * scale(ltv, np.ones_like(X[..., :1]))
    if "gate" in tok.names:  # an output gate multiplies value and error alike
        found = found * np.abs(tok.gate[..., :, None, :])
    return mech._merge(found)


def condition_scale(mech: Any, u: Array) -> np.ndarray:
    """sum |dy/dx| |x| over all inputs and parameters x: what a relative error eps in each may do.

    End to end, a stable program computes the exact output of inputs and parameters that are off by
    eps; this is how far that moves y (first order, by reverse-mode differentiation in float64).
    """
    import torch

    x = torch.as_tensor(_numpy(u)).clone().requires_grad_()
    held = mech.map(lambda p: torch.as_tensor(_numpy(p)).clone().requires_grad_())
    leaves = [x, *held.parameters().values()]
    y = held(x)
    rows = []
    for e in y.reshape(-1):
        grads = torch.autograd.grad(e, leaves, retain_graph=True, allow_unused=True)
        pairs = zip(grads, leaves, strict=True)
        rows.append(sum(float((g * p.detach()).abs().sum()) for g, p in pairs if g is not None))
    return np.array(rows).reshape(tuple(y.shape))


def ball_scale(mech: Any, u: Array, eps: float = 2.0**-52) -> np.ndarray:
    """The radius of mech(u) in balls, inputs and parameters widened by eps |x|, divided by eps.

    The balls carry as many bits as eps says, so that every operation adds its own rounding.
    """
    from dsf.worlds import balls, precision, radii

    def widen(x: np.ndarray) -> np.ndarray:
        spread = balls(np.zeros(x.shape), radius=eps)
        return balls(x) * (1 + spread)

    with precision(1 - round(float(np.log2(eps)))):
        return radii(mech.map(lambda x: widen(_numpy(x)))(widen(_numpy(u)))) / eps


def end_to_end(mech: Any, u: Array) -> tuple[np.ndarray, float]:
    """(scale, gate) for mech(u) computed from u and the parameters: recurrence plus projections."""
    total = recurrence_scale(mech, u) + condition_scale(mech, u)
    if hasattr(type(mech), "step") or hasattr(type(mech), "rows"):
        return total, gate(_numpy(u).shape[-2])
    return total, gate(effective_length(mech.map(_numpy).ltv(_numpy(u))))


def worst_row(y: Array, reference: Array) -> float:
    """M3: the largest relative error of a row, max_i |y_i - ref_i| / |ref_i| (2-norms).

    >>> worst_row(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
    1.0
    """
    y, reference = _numpy(y), _numpy(reference)
    error = np.linalg.norm(y - reference, axis=-1)
    size = np.linalg.norm(reference, axis=-1)
    return float(np.max(np.where(error > 0, error / np.where(size > 0, size, 1), 0), initial=0))


def _numpy(x: Any) -> Any:
    return x.detach().cpu().numpy() if ops.is_torch(x) else np.asarray(x)


def _numpy_dtype(dtype: Any) -> Any:
    name = str(dtype).removeprefix("torch.")
    if name == "bfloat16":
        raise TypeError("metrics: bfloat16 has no numpy dtype; convert the output to float32 first")
    return np.dtype(name) if str(dtype).startswith("torch.") else np.dtype(dtype)
