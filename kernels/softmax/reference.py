"""Softmax attention one query at a time, as the formula reads; for numpy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.kernels.arrays import stack


def seen(position: int, N: int, causal: bool, window: int) -> tuple[int, int]:
    """The keys first .. stop-1 that a query at a position (0 is the first key) looks at."""
    stop = min(position + 1, N) if causal else N
    first = max(0, position + 1 - window) if window else 0
    return min(first, max(stop, 0)), max(stop, 0)


def forward(
    q: Any, k: Any, v: Any, bias: Any, forget: Any, sink: Any,
    scale: float, causal: bool, window: float,
) -> tuple[Any, Any]:  # fmt: skip
    """y_i = sum_j e^{s_ij} v_j / (e^{sink} + sum_j e^{s_ij}),
    s_ij = scale q_i'k_j + bias_ij + sum_{j < l <= i} forget_l, over the keys j that i looks at.

    q [B M H K], k [B N G K], v [B N G V], and bias [B H M N], forget [B N H], sink [B H], each
    of which may be empty (its last axis but one, or last, of size 0).  Returns y [B M H V] and the
    logarithm [B M H] of the denominators.  A row with nothing to look at gives 0 and -inf.
    """
    (_, M, H, _), (N, G) = q.shape, k.shape[1:3]
    heads = [h * G // H for h in range(H)]
    k, v = k[:, :, heads], v[:, :, heads]
    rows, sums = [], []
    for i in range(M):
        at = i + N - M
        first, stop = seen(at, N, causal, int(window))
        s = scale * (q[:, i, None] * k[:, first:stop]).sum(-1)  # [B n H]
        if bias.shape[-1]:
            s = s + ops.moveaxis(bias[:, :, i, first:stop], 1, 2)
        if forget.shape[1]:
            s = s + _since(forget[:, first : at + 1])[:, : stop - first]
        if sink.shape[1]:
            s = ops.cat([s, sink[:, None]], 1)
        top = _top(s)
        e = ops.exp(s - top[:, None])
        total = e.sum(1)
        w = e / (total + (total == 0))[:, None]
        y = (w[:, : stop - first, :, None] * v[:, first:stop]).sum(1)
        rows.append(y)
        with np.errstate(divide="ignore"):
            sums.append(ops.log(total) + top)
    like = v[:, :1] * 0 if not M else rows[0][:, None]
    return stack(rows, like[:, :M]), stack(sums, like[:, :M, :, 0])


def _since(f: Any) -> Any:
    """sum_{j < l} f_l over the rows after each row j, summed from the end."""
    later = ops.cat([f[:, 1:], 0 * f[:, :1]], 1)
    flipped = ops.cumsum(_turned(later), 1)
    return _turned(flipped)


def _turned(x: Any) -> Any:
    return x.flip(1) if ops.is_torch(x) else x[:, ::-1]


def _top(s: Any) -> Any:
    """The largest logit of each row, 0 where there is none that is finite."""
    if s.shape[1] == 0:
        return 0 * s.sum(1)
    top = s.detach().amax(1) if ops.is_torch(s) else s.max(1)
    return ops.world(s).keep(top, top != -float("inf"), 0)
