"""Functions of flash-linear-attention, by their names there without chunk_ or fused_recurrent_.

    import dsf.interop.fla as fla
    y, state = fla.gated_delta_rule(q, k, v, g, beta, output_final_state=True, cu_seqlens=offsets)

They take that library's arguments and run the kernels of `dsf.kernels`: on a CPU, with gradients,
in float32 or float64 (half precision is computed in float32), for numpy and torch alike.

    q, k [B T H K],  v [B T HV V],  gates and beta [B T HV ...]: H divides HV
    scale                 of the queries; K^-1/2 if None (rwkv7: 1)
    initial_state         [N HV K V], one for each sequence, at least float32
    output_final_state    whether the last states come back; None otherwise
    cu_seqlens            [N + 1], where sequences packed into one row of a batch (B = 1) begin and
                          end: 0, ..., T.  Each starts from its own state

All raise ShapeError, DTypeError and, for a wrong `cu_seqlens`, ShapeError too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from dsf import kernels
from dsf.core import ops
from dsf.core.arrays import at_least_float32, to_numpy
from dsf.core.errors import ShapeError
from dsf.core.ops import Array

Outputs = tuple[Array, Array | None]


def simple_gla(
    q: Array, k: Array, v: Array, g: Array | None = None, g_gamma: Array | None = None,
    scale: float | None = None, initial_state: Array | None = None,
    output_final_state: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """Linear attention with a log-decay for each head: g [B T H], or a constant g_gamma [H].

        S_t = exp(g_t) S_{t-1} + k_t v_t',   o_t = scale S_t' q_t

    SSD, RetNet, Lightning attention; without a decay, linear attention.

    >>> one = np.ones((1, 3, 1, 1))
    >>> simple_gla(one, one, one, np.log(one[..., 0] / 2))[0].ravel()
    array([1.  , 1.5 , 1.75])
    """
    if g is None and g_gamma is not None:
        g = ops.broadcast_to(g_gamma, tuple(v.shape[:3]))
    rows = _rows(q, k, v, log_decay=g)
    return _run(
        kernels.linear_attention, rows, scale, initial_state, output_final_state, cu_seqlens
    )


def gla(
    q: Array, k: Array, v: Array, g: Array, scale: float | None = None,
    initial_state: Array | None = None, output_final_state: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """Gated linear attention, g [B T H K] a log-decay for each channel of the keys.

    >>> one = np.ones((1, 3, 1, 1))
    >>> gla(one, one, one, np.log(one / 2))[0].ravel()
    array([1.  , 1.5 , 1.75])
    """
    rows = _rows(q, k, v, log_decay=g)
    return _run(
        kernels.linear_attention, rows, scale, initial_state, output_final_state, cu_seqlens
    )


def linear_attn(
    q: Array, k: Array, v: Array, scale: float | None = None, initial_state: Any = None,
    output_final_state: bool = False, normalize: bool = True, cu_seqlens: Any = None,
) -> tuple[Array, Any]:  # fmt: skip
    """Linear attention; with `normalize` o is divided by scale q_t'(k_1 + ... + k_t) + 1e-10.

    The state of a normalised one is a pair, [N H K V] and the sum of the keys [N 1 H K].

    >>> one = np.ones((1, 3, 1, 1))
    >>> linear_attn(one, one, np.cumsum(one, 1))[0].ravel()
    array([1. , 1.5, 2. ])
    """
    if not normalize:
        return simple_gla(q, k, v, None, None, scale, initial_state, output_final_state, cu_seqlens)
    if initial_state is not None:  # the sum of the keys is a further column of the state
        S, keys = initial_state
        initial_state = ops.cat([S, ops.expand(keys[:, 0], -1)], -1)
    kind = v.dtype  # the quotient is rounded to it once
    q, k, v = (at_least_float32(x) for x in (q, k, v))
    v = ops.cat([v, v[..., :1] * 0 + 1], -1)
    y, last = simple_gla(q, k, v, None, None, scale, initial_state, output_final_state, cu_seqlens)
    y = y[..., :-1] / (y[..., -1:] + 1e-10)
    y = y.to(kind) if ops.is_torch(y) else y.astype(kind)
    return y, None if last is None else (last[..., :-1], ops.expand(last[..., -1], 1))


def rwkv6(
    r: Array, k: Array, v: Array, w: Array, u: Array, scale: float | None = None,
    initial_state: Array | None = None, output_final_state: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """RWKV-6: w [B T H K] the log-decay, u [H K] the bonus of the current token.

        o_t = scale (S_{t-1} + diag(u) k_t v_t')' r_t,   S_t = diag(exp(w_t)) S_{t-1} + k_t v_t'

    >>> one = np.ones((1, 3, 1, 1))
    >>> rwkv6(one, one, one, 0 * one, 0 * one[0, 0])[0].ravel()
    array([0., 1., 2.])
    """
    rows = _rows(r, k, v, log_decay=w)

    def kernel(**named: Any) -> tuple[Array, Array]:
        return kernels.linear_attention(**named, bonus=u, read="before")

    return _run(kernel, rows, scale, initial_state, output_final_state, cu_seqlens)


def rwkv7(
    r: Array, w: Array, k: Array, v: Array, a: Array, b: Array, scale: float = 1.0,
    initial_state: Array | None = None, output_final_state: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """RWKV-7: w, a, b [B T H K], w a log-decay.

        S_t = diag(exp(w_t)) S_{t-1} + b_t (a_t' S_{t-1}) + k_t v_t',   o_t = scale S_t' r_t

    >>> one = np.ones((1, 3, 1, 1))
    >>> rwkv7(one, 0 * one, one, one, -one, one / 2)[0].ravel()
    array([1.  , 1.5 , 1.75])
    """
    rows = _rows(r, k, v, log_decay=w, a=a, b=b)
    return _run(kernels.low_rank_rule, rows, scale, initial_state, output_final_state, cu_seqlens)


def delta_rule(
    q: Array, k: Array, v: Array, beta: Array, scale: float | None = None,
    initial_state: Array | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """The delta rule, beta [B T H]: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}' k_t)'.

    >>> one = np.ones((1, 2, 1, 1))
    >>> delta_rule(one, one, 3 * one, one[..., 0])[0].ravel()
    array([3., 3.])
    """
    q, k = _normalised(q, k, use_qk_l2norm_in_kernel)
    rows = _rows(q, k, v, beta=beta)
    return _run(kernels.delta_rule, rows, scale, initial_state, output_final_state, cu_seqlens)


def gated_delta_rule(
    q: Array, k: Array, v: Array, g: Array, beta: Array, scale: float | None = None,
    initial_state: Array | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """The gated delta rule, g [B T HV] the log-decay before the step, beta [B T HV].

        S <- exp(g_t) S,   S_t = S + beta_t k_t (v_t - S'k_t)',   o_t = scale S_t' q_t

    >>> one = np.ones((1, 2, 1, 1))
    >>> gated_delta_rule(one, one, one, np.log(one[..., 0] / 2), one[..., 0] / 2)[0].ravel()
    array([0.5  , 0.625])
    """
    q, k = _normalised(q, k, use_qk_l2norm_in_kernel)
    rows = _rows(q, k, v, log_decay=g, beta=beta)
    return _run(kernels.delta_rule, rows, scale, initial_state, output_final_state, cu_seqlens)


def kda(
    q: Array, k: Array, v: Array, g: Array, beta: Array, scale: float | None = None,
    initial_state: Array | None = None, output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False, cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """Kimi delta attention: the gated delta rule with g [B T HV K], a log-decay for each channel.

    >>> one = np.ones((1, 2, 1, 1))
    >>> kda(one, one, one, np.log(one / 2), one[..., 0] / 2)[0].ravel()
    array([0.5  , 0.625])
    """
    return gated_delta_rule(
        q, k, v, g, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        cu_seqlens,
    )  # fmt: skip


def gated_delta_product(
    q: Array, k: Array, v: Array, g: Array | None, beta: Array, num_householder: int,
    scale: float | None = None, initial_state: Array | None = None,
    output_final_state: bool = False, use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Any = None,
) -> Outputs:  # fmt: skip
    """Several delta steps for a token: k, v, beta [B T*num_householder H ...], g [B T H] or None.

    The decay comes before the first step of a token; q reads after the last.

    >>> one = np.ones((1, 4, 1, 1))
    >>> gated_delta_product(one[:, :2], one, one, None, one[..., 0] / 2, 2)[0].ravel()
    array([0.75  , 0.9375])
    """
    q, k = _normalised(q, k, use_qk_l2norm_in_kernel)
    if g is not None:  # one decay, then none for the other steps of the token
        parts = [ops.expand(g, 2), *[ops.expand(g * 0, 2)] * (num_householder - 1)]
        g = ops.cat(parts, 2).reshape(g.shape[0], -1, g.shape[-1])
    rows = _rows(q, k, v, log_decay=g, beta=beta)

    def kernel(**named: Any) -> tuple[Array, Array]:
        return kernels.delta_rule(**named, substeps=num_householder)

    return _run(kernel, rows, scale, initial_state, output_final_state, cu_seqlens)


def forgetting_attn(
    q: Array, k: Array, v: Array, g: Array, scale: float | None = None,
    window_size: int | None = None, cu_seqlens: Any = None,
) -> Array:  # fmt: skip
    """Softmax attention with log forget gates g [B T HQ]; k, v [B T H ...], H divides HQ.

    >>> one = np.ones((1, 3, 1, 1))
    >>> forgetting_attn(one, one, np.cumsum(one, 1), 0 * one[..., 0]).ravel()
    array([1. , 1.5, 2. ])
    """
    rows = {"q": q, "k": k, "v": v, "log_forget": g}

    def run(part: dict[str, Array], _: Any) -> Outputs:
        return kernels.softmax_attention(**part, scale=scale, window=window_size), None

    return _packed(run, rows, None, cu_seqlens)[0]


# --------------------------------------------------------------------- what they share
def _rows(q: Array, k: Array, v: Array, **others: Array | None) -> dict[str, Array]:
    """The arrays with a row for every token, each head of keys repeated for its values."""
    heads, values = q.shape[2], v.shape[2]
    if heads != values:
        if heads == 0 or values % heads:
            raise ShapeError(f"{heads} heads of keys do not divide {values} heads of values")
        q, k = (_repeated(x, values // heads) for x in (q, k))
    return {"q": q, "k": k, "v": v, **{n: x for n, x in others.items() if x is not None}}


def _repeated(x: Array, times: int) -> Array:
    """[B T H K] -> [B T H*times K], heads next to their copies."""
    B, T, H, K = x.shape
    return ops.broadcast_to(ops.expand(x, 3), (B, T, H, times, K)).reshape(B, T, H * times, K)


def _normalised(q: Array, k: Array, wanted: bool) -> tuple[Array, Array]:
    """Divided by (|x|^2 + 1e-6)^1/2, as that library does."""
    if not wanted:
        return q, k
    wide = (at_least_float32(x) for x in (q, k))
    found = [x / ops.sqrt(ops.asum(x * x) + 1e-6) for x in wide]
    return found[0], found[1]


def _run(
    kernel: Callable[..., tuple[Array, Array]], rows: dict[str, Array], scale: float | None,
    initial_state: Array | None, output_final_state: bool, cu_seqlens: Any,
) -> Outputs:  # fmt: skip
    scale = max(rows["q"].shape[-1], 1) ** -0.5 if scale is None else scale

    def run(part: dict[str, Array], state: Array | None) -> tuple[Array, Array]:
        return kernel(**part, state=state, scale=scale)

    y, last = _packed(run, rows, initial_state, cu_seqlens)
    return y, last if output_final_state else None


def _packed(
    run: Callable[[dict[str, Array], Array | None], Outputs], rows: dict[str, Array],
    state: Array | None, cu_seqlens: Any,
) -> Outputs:  # fmt: skip
    """The sequences between offsets one after the other, or the rows as they are."""
    if cu_seqlens is None:
        return run(rows, state)
    batch, T = rows["q"].shape[:2]
    cuts = np.asarray(to_numpy(cu_seqlens)).astype(int).tolist()
    rising = all(a <= b for a, b in pairwise(cuts))
    if batch != 1 or cuts[:1] != [0] or cuts[-1] != T or not rising or len(cuts) < 2:
        raise ShapeError(
            f"cu_seqlens must be 0, ..., {T} in rising order, for one row (B = 1) of packed "
            f"sequences; got {_short(cuts)} and B = {batch}. Likely cause: lengths instead of "
            "their sums, or padded sequences, which need no offsets."
        )
    if state is not None and state.shape[0] != len(cuts) - 1:
        raise ShapeError(
            f"initial_state needs one state for each of the {len(cuts) - 1} sequences; got "
            f"{list(state.shape)}"
        )
    found = []
    for i, (start, stop) in enumerate(pairwise(cuts)):
        steps = {n: x.shape[1] // max(T, 1) for n, x in rows.items()}
        part = {n: x[:, steps[n] * start : steps[n] * stop] for n, x in rows.items()}
        found.append(run(part, None if state is None else state[i : i + 1]))
    last = [S for _, S in found if S is not None]
    return ops.cat([y for y, _ in found], 1), ops.cat(last, 0) if last else None


def _short(cuts: list[int]) -> str:
    return (
        str(cuts) if len(cuts) < 9 else f"{cuts[:4]} ... {cuts[-2:]}".replace("] ... [", ", ..., ")
    )
