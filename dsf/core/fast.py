"""The recurrence by a kernel: which structure a system has, and its factors as kernels take them.

    Diag, one write and one read for a step      linear attention
    Diag, one column, log_a = dt * a             the selective scan
    Diag, everything else                        C (scan of B X), a stretch of time at once
    Erase, which writes along its own key        the delta rules
    LowRank of rank 1, one write and one read    the same with two vectors
    softmax of q'k                               softmax attention, streamed

Everything else, and what is small, runs step by step: that code is the slow twin of this one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsf.core import hooks, ops
from dsf.core.arrays import common_zero
from dsf.core.checks import all_finite
from dsf.core.ops import Array
from dsf.core.transition import Diag, Erase, LowRank, Prod, dense, factors
from dsf.core.worlds import holder

SMALL = 1 << 15  # entries of all states of a sequence, below which loading a kernel does not pay
STRETCH = 256  # steps whose B X exists at the same time
COLUMNS = 4  # of the state, from which on a kernel runs along them


def scanned(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    """Y and the last state of `LTV.scan`, or None where no kernel takes this system.

    None also where the result is not finite: single steps find the first bad one.
    """
    if math.prod(S.shape) * ltv.length < SMALL or not ops.is_float(X, S, *ltv.arrays()):
        return None
    run = _structure(ltv, X)
    found = None if run is None else run(ltv, X, S)
    if found is None:
        return None
    Y, last = found
    if ops.readable(Y) and not (bool(all_finite(Y)) and bool(all_finite(last))):
        return None
    return Y, last


def _structure(ltv: Any, X: Array) -> Any:
    A, single = ltv.A, ltv.m == ltv.r == 1
    wide = X.shape[-1] >= COLUMNS and not any(map(ops.is_complex, (X, *ltv.arrays())))
    if isinstance(A, Erase) and A.writes(ltv.B):
        return _delta if single and wide else None
    if isinstance(A, LowRank):
        return _low_rank if single and wide and A.U.shape[-1] == 1 else None
    if not isinstance(A, Diag):
        return None
    if single and wide:
        return _linear
    return _selective if single and _steps_of(ltv, X) is not None else _diagonal


def attended(
    q: Array, k: Array, v: Array, width: int | None, include_self: bool = True
) -> Array | None:
    """Softmax attention [... L p] of L queries on T keys, or None where no kernel takes it.

    The queries are the last ones; each sees the last `width` keys, or all (None), the last of them
    its own, unless `include_self` is False.  None also where a logit may leave the range of the
    dtype or an output is not finite: the code that makes the weights says why.
    """
    if not include_self:
        return _attended_before(q, k, v, width)
    L, T = q.shape[-2], k.shape[-2]
    lead = np.broadcast_shapes(*(tuple(x.shape[:-2]) for x in (q, k, v)))
    if math.prod(lead) * L * T < SMALL or not ops.is_float(q, k, v):
        return None
    if any(map(ops.is_complex, (q, k, v))) or not _logits_stay_finite(q, k):
        return None
    flat = (math.prod(lead[:-1]), *(lead[-1:] or (1,)))

    def rows(x: Array) -> Array:
        x = ops.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(*flat, *x.shape[-2:])
        return ops.moveaxis(x, 1, 2)

    B, H = flat
    none = [ops.zeros(shape, q) for shape in ((B, H, L, 0), (B, 0, H), (B, 0))]
    arrays = _alike(rows(q), rows(k), rows(v), *none)
    found = hooks.kernel("softmax", arrays, [1.0, 1.0, float(width or 0)])
    if found is None or (ops.readable(found[0]) and not bool(all_finite(found[0]))):
        return None
    return ops.moveaxis(found[0], 2, 1).reshape(*lead, L, v.shape[-1])


def _attended_before(q: Array, k: Array, v: Array, width: int | None) -> Array | None:
    """`attended` without the own keys: one query later against one key less."""
    if width == 1 or k.shape[-2] < 2:
        return None
    first = q.shape[-2] == k.shape[-2]  # whether the first query sees nothing
    rest = q[..., 1:, :] if first else q
    y = attended(rest, k[..., :-1, :], v[..., :-1, :], width and width - 1)
    return ops.cat([ops.zeros_like(y[..., :1, :]), y], -2) if first and y is not None else y


def _logits_stay_finite(q: Array, k: Array) -> bool:
    """Whether |q| |k| stays in the range of the dtype; True where nothing can be read."""
    if not ops.readable(q, k):
        return True
    sizes = [float(holder(x).detach(ops.l2norm(x)).max()) for x in (q, k)]
    return math.prod(sizes) < float(np.finfo(str(q.dtype).removeprefix("torch.")).max)


# --------------------------------------------------------------------- layout
class _Layout:
    """Between [... H L n], as systems hold it, and [B L H n], as kernels take it."""

    def __init__(self, ltv: Any, X: Array) -> None:
        self.lead = ltv.out_batch(X)
        self.L = ltv.length
        self.flat = (math.prod(self.lead[:-1]), *(self.lead[-1:] or (1,)))

    def rows(self, x: Array, size: int) -> Array:
        """[... H L n|1] as [B L H n]."""
        x = ops.broadcast_to(x, (*self.lead, self.L, size))
        return ops.moveaxis(x.reshape(*self.flat, self.L, size), 1, 2)

    def state(self, S: Array) -> Array:
        return S.reshape(*self.flat, *S.shape[-2:])

    def back(self, y: Array, S: Array) -> tuple[Array, Array]:
        y = ops.moveaxis(y, 2, 1).reshape(*self.lead, self.L, 1, y.shape[-1])
        return y, S.reshape(*self.lead, *S.shape[-2:])


def _row(x: Any, axis: int) -> Array:
    """A coefficient [... L n 1] or [... L 1 n] without its axis of size 1, with one of time."""
    x = dense(x)
    x = x if x.ndim > 2 else ops.expand(x, -3)
    return x[..., 0] if axis == -1 else x[..., 0, :]


def _plus_skip(ltv: Any, X: Array, Y: Array) -> Array:
    return Y if ltv.D is None else Y + ops.outer(ltv.promote(dense(ltv.D)), X)


# --------------------------------------------------------------------- structures
def _linear(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    at, n = _Layout(ltv, X), ltv.n
    arrays = [
        at.rows(_row(ltv.C, -2), n), at.rows(_row(ltv.B, -1), n), at.rows(_row(X, -2), X.shape[-1]),
        at.rows(ltv.A.values(), n), at.state(S),
    ]  # fmt: skip
    found = hooks.kernel("linear", _alike(*arrays), [1.0, float(ltv.read == "before")])
    return _finished(ltv, X, at, found)


def _delta(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    if ltv.read != "after":
        return None
    at, n, A = _Layout(ltv, X), ltv.n, ltv.A
    decay = A.diag.values()
    arrays = [
        at.rows(_row(ltv.C, -2), n), at.rows(_row(A.k, -1), n), at.rows(_row(X, -2), X.shape[-1]),
        at.rows(_row(A.beta, -1), 1)[..., 0], at.rows(decay, decay.shape[-1]), at.state(S),
    ]  # fmt: skip
    return _finished(ltv, X, at, hooks.kernel("delta", _alike(*arrays), [1.0]))


def _low_rank(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    if ltv.read != "after":
        return None
    at, n, A = _Layout(ltv, X), ltv.n, ltv.A
    arrays = [
        at.rows(_row(ltv.C, -2), n), at.rows(_row(ltv.B, -1), n), at.rows(_row(X, -2), X.shape[-1]),
        at.rows(A.diag.values(), n), at.rows(_row(A.W, -1), n), at.rows(_row(A.U, -1), n),
        at.state(S),
    ]  # fmt: skip
    return _finished(ltv, X, at, hooks.kernel("low_rank", _alike(*arrays), [1.0, 1.0]))


def _finished(ltv: Any, X: Array, at: _Layout, found: Any) -> tuple[Array, Array] | None:
    if found is None:
        return None
    Y, last = at.back(*found)
    return _plus_skip(ltv, X, Y), last


def _alike(*arrays: Array) -> list[Array]:
    """All in their common dtype."""
    dtype = common_zero(*arrays).dtype
    return [x.to(dtype) if ops.is_torch(x) else x.astype(dtype, copy=False) for x in arrays]


def _steps_of(ltv: Any, X: Array) -> tuple[Array, Array, Array, Array] | None:
    """dt [... D L 1], a [... D 1 n], write [... D L 1], k [... L n] where log_a = dt a, B = write k
    and neither k nor C knows the channel D; None where that is not so."""
    if X.shape[-1] != 1 or not ltv.out_batch(X) or any(map(ops.is_complex, (X, *ltv.arrays()))):
        return None
    decay, writes = ltv.A.log_a, factors(ltv.B)
    if not isinstance(decay, Prod) or len(decay.factors) != 2 or ltv.read != "after":
        return None
    dt, a = decay.factors if decay.factors[0].shape[-1] == 1 else decay.factors[::-1]
    keys = [x for x in writes if x.shape[-2] != 1]
    shared = all(x.ndim < 4 or x.shape[-4] == 1 for x in (*keys, *factors(ltv.C)))
    if dt.shape[-1] != 1 or a.shape[-2] != 1 or len(keys) != 1 or not shared:
        return None
    write = math.prod([x[..., 0] for x in writes if x.shape[-2] == 1], start=X[..., 0])
    return dt, a, write, keys[0][..., 0]


def _selective(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    parts = _steps_of(ltv, X)
    assert parts is not None
    dt, a, x, k = parts
    at, n = _Layout(ltv, X), ltv.n
    lead, L, (N, D) = at.lead, ltv.length, at.flat

    def by_channel(x: Array) -> Array:
        return ops.moveaxis(ops.broadcast_to(x, (*lead, L, 1)).reshape(N, D, L), 1, 2)

    def common(x: Array) -> Array:
        x = x if x.ndim < 3 else x[..., 0, :, :]
        return ops.broadcast_to(x, (*lead[:-1], L, n)).reshape(N, L, n)

    A = ops.broadcast_to(a[..., 0, :], (*lead, n)).reshape(N, D, n)
    arrays = [by_channel(x), by_channel(dt), A, common(k), common(_row(ltv.C, -2))]
    found = hooks.kernel("selective", _alike(*arrays, S.reshape(N, D, n)), [])
    if found is None:
        return None
    y, last = found
    Y = ops.moveaxis(y, 1, 2).reshape(*lead, L, 1, 1)
    return _plus_skip(ltv, X, Y), last.reshape(*lead, n, 1)


def _diagonal(ltv: Any, X: Array, S: Array) -> tuple[Array, Array] | None:
    """Stretch by stretch: B X, its scan, and what C reads of it."""
    rows = []
    lead, n, p = tuple(S.shape[:-2]), ltv.n, X.shape[-1]
    for start in range(0, ltv.length, STRETCH):
        part = ltv.part(start, min(start + STRETCH, ltv.length))
        L, x = part.length, X[..., start : start + STRETCH, :, :]
        shape = (*lead, L, n, p)
        flat = (math.prod(lead), L, n * p)
        a = ops.broadcast_to(ops.col(part.A.values()), shape).reshape(flat)
        b = ops.broadcast_to(ops.outer(ltv.promote(dense(part.B)), x), shape).reshape(flat)
        found = hooks.kernel("diagonal", _alike(a, b, S.reshape(-1, n * p)), [])
        if found is None:
            return None
        h, last = found[0].reshape(shape), found[1].reshape(*lead, n, p)
        if ltv.read == "before":
            h = ops.cat([ops.expand(S, -3), h[..., :-1, :, :]], -3)
        rows.append(_plus_skip(part, x, ltv.promote(dense(part.C)) @ h))
        S = last
    return ops.cat(rows, -3), S
