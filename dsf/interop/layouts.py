"""Tokens in the array layouts of other libraries.

Both directions move axes and make the two hidden conventions explicit: a scale on the queries, and
gates given as logarithms.  Everything works on numpy arrays and on torch tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsf.core import ops
from dsf.core.arrays import at_least_float32
from dsf.core.errors import DomainError, DTypeError, ShapeError, UnknownNameError
from dsf.core.ops import Array, col
from dsf.core.printing import axes
from dsf.core.tokens import Tokens


def from_fla(
    q: Array,
    k: Array,
    v: Array,
    g: Array | None = None,
    beta: Array | None = None,
    scale: float | None = None,
) -> Tokens:
    """Tokens from the arguments of a kernel of flash-linear-attention.

        q, k [B T H K],  v [B T H V],  g [B T H K] or [B T H] log-decay,  beta [B T H]
        ->  q = scale q, k [B H T K],  v [B H T V],  log_a [B H T K|1],  beta [B H T 1]

    `scale` is K**-0.5 where that library's default is used (None).  Heads move to the left of time;
    the recurrent state [B H K V] is our S [B H n p] as it is.  Keys are not normalised and beta is
    taken as given.  The tokens go into the equations of a family:
    `family.without_parameters().system(tokens)`.

    Raises ShapeError on sizes that do not fit, DomainError where g > 0.

    >>> import dsf
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = rng.standard_normal((3, 2, 5, 4, 8))  # B = 2, T = 5, H = 4, K = V = 8
    >>> ltv, X = dsf.gla.without_parameters().system(from_fla(q, k, v, g=-np.abs(k)))
    >>> ltv.kernel().shape, X.shape
    ((2, 4, 5, 5), (2, 4, 5, 1, 8))
    """
    q, k, v = (_floats(x) for x in (q, k, v))
    shapes = f"q {axes(q)}, k {axes(k)}, v {axes(v)}"
    if q.ndim == v.ndim == 4 and q.shape == k.shape and q.shape[:2] == v.shape[:2]:
        shared, uneven = divmod(v.shape[2], q.shape[2])
        if shared > 1 and not uneven:
            raise ShapeError(
                f"from_fla: {q.shape[2]} heads of keys serve {v.shape[2]} heads of values; got "
                f"{shapes}. Repeat the keys and queries: q.repeat_interleave({shared}, dim=2) in "
                f"torch, np.repeat(q, {shared}, axis=2) in numpy."
            )
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        raise ShapeError(
            f"from_fla: needs q, k [B T H K] and v [B T H V]; got {shapes}. Likely cause: heads "
            "before time, [B H T K]; swap the axes 1 and 2."
        )
    tokens = {"q": q * (q.shape[-1] ** -0.5 if scale is None else scale), "k": k, "v": v}
    if g is not None:
        tokens["log_a"] = _gate(_floats(g), q)
    if beta is not None:
        beta = _floats(beta)
        if tuple(beta.shape) != tuple(q.shape[:3]):
            raise ShapeError(f"from_fla: beta must be [B T H]; got {axes(beta)} with {shapes}")
        tokens["beta"] = col(beta)
    return Tokens(**{name: ops.moveaxis(x, -2, -3) for name, x in tokens.items()})


def to_fla(tokens: Tokens, scale: float | None = None) -> dict[str, Any]:
    """The arguments of a kernel of flash-linear-attention from tokens, the inverse of `from_fla`.

        q, k [(B) H T K], v [(B) H T V], log_a [(B) H T K|1], beta [(B) H T 1]
        ->  q / scale, k [B T H K],  v [B T H V],  g [B T H K] or [B T H],  beta [B T H],  scale

    A missing batch axis becomes B = 1; gates shared by the heads are repeated.  `scale` None is
    K**-0.5, that library's default, so the call is the same with and without the returned "scale".

    Raises UnknownNameError for token fields without a place there, ShapeError for rows of substeps.

    >>> import dsf
    >>> mech = dsf.gla.init(d=4, n=2, p=3)
    >>> {name: np.shape(x) for name, x in to_fla(mech.tokens(np.ones((5, 4)))).items()}
    {'q': (1, 5, 1, 2), 'k': (1, 5, 1, 2), 'v': (1, 5, 1, 3), 'g': (1, 5, 1, 2), 'scale': ()}
    """
    other = set(tokens.names) - {"q", "k", "v", "log_a", "beta"}
    if other or not {"q", "k", "v"} <= set(tokens.names):
        raise UnknownNameError(
            f"to_fla: q, k, v and at most log_a and beta have a place there; the tokens are "
            f"{', '.join(tokens.names)}. Fold the others into these first, e.g. log_a = dt * a and "
            "k = dt * k for mamba2."
        )
    q, v = tokens.q, tokens.v
    if tokens.k.shape[-2] != q.shape[-2]:
        raise ShapeError(
            f"to_fla: one key per query; got {tokens.k.shape[-2]} keys for {q.shape[-2]} tokens. "
            "Likely cause: rows of substeps (DeltaProduct), which have no place in this layout."
        )
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    lead = np.broadcast_shapes(tuple(q.shape[:-1]), tuple(v.shape[:-1]))
    if len(lead) not in (2, 3):
        raise ShapeError(f"to_fla: tokens must be [(B) H T n]; got q {axes(q)}, v {axes(v)}")

    def convert(x: Array) -> Array:
        x = ops.broadcast_to(x, (*lead, x.shape[-1]))
        return ops.moveaxis(x if x.ndim == 4 else x[None], -3, -2)

    out = {"q": convert(q / scale), "k": convert(tokens.k), "v": convert(v)}
    if "log_a" in tokens.names:
        g = convert(tokens.log_a)
        out["g"] = g[..., 0] if g.shape[-1] == 1 != q.shape[-1] else g
    if "beta" in tokens.names:
        out["beta"] = convert(tokens.beta)[..., 0]
    return {**out, "scale": scale}


def from_mamba(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    D: Array | None = None,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
) -> Tokens:
    """Tokens of `dsf.mamba` from the arguments of the selective scan of Mamba.

        u, delta [B D L],  A [D N] < 0,  B, C [B N L] or [B 1 N L],  D, delta_bias [D]
        ->  v, dt [B D L 1],  a [D 1 N],  k, q [B 1 L N],  skip [D 1 1]

    dt = delta + delta_bias, through softplus if `delta_softplus`.  The equations are those of the
    family mamba, or mamba(skip=True) with D; its outputs [B D L 1 1] are y [B D L].

    dt = 0, as at padding, is the step that changes nothing.  Raises ShapeError on sizes that do not
    fit, DomainError where A >= 0 or dt < 0, DTypeError for a complex A, B or C.

    >>> import dsf
    >>> u, A, B = np.ones((2, 3, 5)), -np.ones((3, 4)), np.ones((2, 4, 5))
    >>> ltv, X = dsf.mamba.without_parameters().system(from_mamba(u, u, A, B, B))
    >>> ltv.scan(X)[0].shape
    (2, 3, 5, 1, 1)
    """
    u, delta, A, B, C = (_floats(x) for x in (u, delta, A, B, C))
    if any(ops.is_complex(x) for x in (u, delta, A, B, C)):
        raise DTypeError(
            "from_mamba: u, delta, A, B and C must be real; the selective scan of Mamba takes the "
            "real part of a complex system twice. Write that as LTV(Diag(log_a=...), 2 * B, C), "
            "and take the real part of its output."
        )
    k, q = (_ungrouped(x, name) for x, name in ((B, "B"), (C, "C")))
    fits = u.ndim == 3 and u.shape == delta.shape and A.ndim == 2 and A.shape[0] == u.shape[1]
    for x in (k, q):
        fits = fits and tuple(x.shape) == (u.shape[0], A.shape[1], u.shape[2])
    if not fits:
        raise ShapeError(
            f"from_mamba: needs u, delta [B D L], A [D N] and B, C [B N L]; got u {axes(u)}, "
            f"delta {axes(delta)}, A {axes(A)}, B {axes(B)}, C {axes(C)}. Likely cause: time "
            "before channels, [B L D]; swap the last two axes."
        )
    dt = delta if delta_bias is None else delta + _per_channel(delta_bias, "delta_bias", u)
    dt = ops.softplus(dt) if delta_softplus else dt
    if bool((dt < 0).any()):  # softplus is never negative
        raise DomainError(
            f"from_mamba: a step size must not be negative; the smallest is {float(dt.min()):.6g}. "
            "Likely cause: delta before its softplus; pass delta_softplus=True."
        )
    if bool((A >= 0).any()):
        raise DomainError(
            f"from_mamba: A must be negative; the largest entry is {float(A.max()):.6g}. Likely "
            "cause: A_log passed as A; pass -exp(A_log)."
        )
    q, k = (ops.expand(ops.mT(x), 1) for x in (q, k))
    tokens = Tokens(q=q, k=k, v=col(u), dt=col(dt), a=ops.expand(A, 1))
    return tokens if D is None else tokens.replace(skip=col(_per_channel(D, "D", u)))


def to_mamba(tokens: Tokens) -> dict[str, Any]:
    """The arguments of the selective scan of Mamba from tokens of `dsf.mamba`; see `from_mamba`.

    A missing batch axis becomes 1.  The step sizes are final: call with delta_softplus=False.
    Raises UnknownNameError if the tokens are not those of mamba.

    >>> import dsf
    >>> mech = dsf.mamba.init(d=3, n=2)
    >>> {name: x.shape for name, x in to_mamba(mech.tokens(np.ones((5, 3)))).items()}
    {'u': (1, 3, 5), 'delta': (1, 3, 5), 'A': (3, 2), 'B': (1, 2, 5), 'C': (1, 2, 5)}
    """
    needed = {"q", "k", "v", "dt", "a"}
    if set(tokens.names) - {"skip"} != needed:
        raise UnknownNameError(
            f"to_mamba: needs the token fields q, k, v, dt, a and at most skip; got "
            f"{', '.join(tokens.names)}. Likely cause: tokens of another mechanism."
        )
    v, dt, k, q = (x if x.ndim == 4 else x[None] for x in (tokens.v, tokens.dt, tokens.k, tokens.q))
    out = {
        "u": v[..., 0],
        "delta": dt[..., 0],
        "A": tokens.a[..., 0, :],
        "B": ops.mT(k[..., 0, :, :]),
        "C": ops.mT(q[..., 0, :, :]),
    }
    return {**out, "D": tokens.skip[..., 0, 0]} if "skip" in tokens.names else out


def _gate(g: Array, q: Array) -> Array:
    """g [B T H K] or [B T H] as [B T H K|1], checked to be a logarithm."""
    if tuple(g.shape) == tuple(q.shape[:3]):
        g = col(g)
    elif tuple(g.shape) != tuple(q.shape):
        raise ShapeError(
            f"from_fla: g must be [B T H K] or [B T H] with q {axes(q)}; got {axes(g)}"
        )
    if bool((g > 0).any()):
        raise DomainError(
            f"from_fla: g is the logarithm of a decay and at most 0; the largest is "
            f"{float(g.max()):.6g}. Likely cause: gates in (0, 1) passed as they are; pass log(g)."
        )
    return g


def _ungrouped(x: Array, name: str) -> Array:
    """[B 1 N L] -> [B N L]."""
    if x.ndim == 4 and x.shape[1] != 1:
        raise ShapeError(
            f"from_mamba: {name} {axes(x)} has {x.shape[1]} groups [B G N L]; one is supported. "
            "Convert the channels of each group separately."
        )
    return x[:, 0] if x.ndim == 4 else x


def _per_channel(x: Array, name: str, u: Array) -> Array:
    """[D] -> [D 1]."""
    x = _floats(x)
    if tuple(x.shape) != (u.shape[1],):
        raise ShapeError(f"from_mamba: {name} must be [D] with D = {u.shape[1]}; got {axes(x)}")
    return col(x)


def _floats(x: Any) -> Array:
    """Torch tensors and numpy arrays of at least float32; integers become float64."""
    if ops.is_torch(x):
        return at_least_float32(x)
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind in "iub" else at_least_float32(x)
