"""The public kernels: shapes, dtypes and worlds put in order, then a structure is run.

Layout: heads right of time, [... L H K]; every axis left of time is a batch.  numpy in, numpy out;
torch in, torch out, with gradients.  Half precision is computed in float32; the output has the
dtype of the inputs, the state at least float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.core.errors import ShapeError
from dsf.kernels import dispatch
from dsf.kernels.intake import Call


def linear_attention(
    q: Any, k: Any, v: Any, log_decay: Any = None, state: Any = None, scale: float = 1.0, *,
    bonus: Any = None, read: str = "after", backend: str = "auto",
) -> tuple[Any, Any]:  # fmt: skip
    """Linear attention with no, a scalar or a vector decay.

        S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t'          S [H K V]
        y_t = scale S_t' q_t

    q, k [... L H K], v [... L H V], log_decay [... L H] or [... L H K] (at most 0; -inf forgets),
    state [... H K V]; returns y [... L H V] and the last state.  `read="before"` reads S_{t-1}, to
    which `bonus` [H K] adds the current token: y_t = scale (S_{t-1} + diag(bonus) k_t v_t')' q_t
    (RWKV-6).  Linear attention, RetNet, SSD, Lightning, GLA.  Raises ShapeError, DTypeError, and
    KernelError for a backend that cannot run it.

    >>> one = np.ones((4, 1, 1))
    >>> y, S = linear_attention(one, one, one, log_decay=np.log(one / 2))
    >>> y.ravel(), S.ravel()
    (array([1.   , 1.5  , 1.75 , 1.875]), array([1.875]))
    """
    call = Call("linear_attention", q=q, k=k, v=v, log_decay=log_decay, state=state, bonus=bonus)
    call.axes(q="... L H K", k="... L H K", v="... L H V", state="... H K V", bonus="H K")
    if log_decay is not None:
        full = call["log_decay"].ndim == call["q"].ndim
        call.axes(log_decay="... L H K" if full else "... L H")
    if read not in ("after", "before") or (bonus is not None and read == "after"):
        raise ShapeError(
            f"linear_attention: read must be 'after' or 'before', and a bonus needs 'before'; got "
            f"read={read!r}{'' if bonus is None else ' with a bonus'}"
        )
    q, k, v = (call.rows(name) for name in "qkv")
    w = call.decays(full if log_decay is not None else None)
    y, last = dispatch.run(
        "linear", [q, k, v, w, call.state()], [scale, float(read == "before")], backend
    )
    if bonus is not None:
        u = call["bonus"]
        y = y + scale * (q * u * k).sum(-1)[..., None] * v
    return call.output(y), call.last(last)
