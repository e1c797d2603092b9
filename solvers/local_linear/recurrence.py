"""Ridge regression on the tokens so far: token by token, and each time from the start."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core.errors import DomainError, IllConditionedError, ShapeError
from dsf.core.state import State
from dsf.core.tokens import Tokens
from dsf.mechanisms.local.mesa import Mesa
from dsf.solvers.intake import number, reals

Array = np.ndarray


def ridge_recurrence(
    q: Any, k: Any, v: Any, *, ridge: float, gates: Any = None, ridge_forgets: bool = True
) -> Array:
    """o_t = M_t'q_t with M_t the ridge regression of the values on the keys up to t, [L p]:

        M_t = argmin_M sum_{j <= t} (g_{j+1} ... g_t) |v_j - M'k_j|^2 + c_t ridge |M|^2

    ridge_forgets=True: c_t = g_1 ... g_t, recursive least squares (P_0 = I / ridge,
    P = P / g, a = P k / (1 + k'P k), M += a (v - M'k)', P -= a k'P).  False: c_t = 1, from
    H = g H + k k', G = g G + k v', M = (H + ridge I)^-1 G (the Mesa layer, `dsf.mesa`).  The two
    differ unless all gates are 1, the default.  q, k [L d], v [L p], gates [L] in (0, 1]; float64.

    Raises ShapeError, DTypeError, NonFiniteError, DomainError, and IllConditionedError where the
    forgotten ridge no longer determines M.  MesaNet (arXiv 2506.05233); the test-time regression
    view: Wang et al. (arXiv 2501.12352).

    >>> ridge_recurrence([[1.0], [1.0]], [[1.0], [1.0]], [[1.0], [4.0]], ridge=1.0).ravel()
    array([0.5       , 1.66666667])
    """
    q, k, v, ridge, g = _checked("ridge_recurrence", q, k, v, ridge, gates)
    if not ridge_forgets:
        tok = Tokens(q=q, k=k, v=v, log_g=np.log(g)[:, None], ridge=np.array([[ridge]]))
        return Mesa().advance(tok, State())[0][:, 0]
    out = np.zeros_like(v)
    S = np.eye(k.shape[1]) / ridge, np.zeros((k.shape[1], v.shape[1]))
    with np.errstate(all="ignore"):  # judged by the output
        for t in range(len(k)):
            S = _forgetting(S, k[t], v[t], g[t])
            out[t] = q[t] @ S[1]
            # a positive definite P has a positive diagonal; rounding shows here first
            if not np.isfinite(out[t]).all() or not np.all(np.diag(S[0]) >= 0):
                raise IllConditionedError(
                    f"ridge_recurrence: the estimate at token {t} is lost to rounding or overflow. "
                    "Likely cause: gates that have forgotten the ridge in a direction that no "
                    "recent key has. Take ridge_forgets=False, gates nearer 1, or a larger ridge."
                )
    return out


def _forgetting(S: Any, k: Array, v: Array, g: float) -> Any:
    """One token of recursive least squares on (P, M)."""
    P, M = S[0] / g, S[1]
    a = P @ k / (1 + k @ P @ k)
    M = M + np.outer(a, v - k @ M)
    P = P - np.outer(a, k @ P)
    return (P + P.T) / 2, M


def ridge_in_batch(
    q: Any, k: Any, v: Any, *, ridge: float, gates: Any = None, ridge_forgets: bool = True
) -> Array:
    """The slow twin of `ridge_recurrence`: each M_t by least squares on all tokens up to t.

    >>> ridge_in_batch([[1.0], [1.0]], [[1.0], [1.0]], [[1.0], [4.0]], ridge=1.0).ravel()
    array([0.5       , 1.66666667])
    """
    q, k, v, ridge, g = _checked("ridge_in_batch", q, k, v, ridge, gates)
    d, p = k.shape[1], v.shape[1]
    out = np.zeros_like(v)
    for t in range(len(k)):
        weight = np.append(np.cumprod(g[t:0:-1])[::-1], 1.0)  # g_{j+1} ... g_t for j = 0 .. t
        c = weight[0] * g[0] if ridge_forgets else 1.0
        root = np.sqrt(weight)[:, None]
        A = np.concatenate([root * k[: t + 1], np.sqrt(c * ridge) * np.eye(d)])
        b = np.concatenate([root * v[: t + 1], np.zeros((d, p))])
        out[t] = q[t] @ np.linalg.lstsq(A, b, rcond=None)[0]
    return out


def _checked(who: str, q: Any, k: Any, v: Any, ridge: Any, gates: Any) -> Any:
    q, k, v = reals(who, "q", q, 2), reals(who, "k", k, 2), reals(who, "v", v, 2)
    g = np.ones(len(k)) if gates is None else reals(who, "gates", gates, 1)
    if q.shape != k.shape or len(v) != len(k) or len(g) != len(k) or not k.shape[1]:
        raise ShapeError(
            f"{who}: q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}, gates "
            f"{list(g.shape)} must be [L d], [L d], [L p], [L] with d >= 1"
        )
    if np.any(g <= 0) or np.any(g > 1):
        raise DomainError(f"{who}: gates must lie in (0, 1]; got {g.min():.3g} to {g.max():.3g}")
    return q, k, v, number(who, "ridge", ridge, above=True), g
