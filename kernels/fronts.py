"""The public kernels: shapes, dtypes and worlds put in order, then a structure is run.

Layout: heads right of time, [... L H K]; every axis left of time is a batch.  numpy in, numpy out;
torch in, torch out, with gradients.  On a CPU half precision is computed in float32; Triton and
torch take it as it is and sum in float32.  The output has the dtype of the inputs (decays, states,
A, D and bonus apart), the state at least float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, ShapeError, UnknownNameError
from dsf.core.worlds import is_torch
from dsf.kernels import dispatch, gpu
from dsf.kernels.backends import on_gpu
from dsf.kernels.flow.system import checked
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

    >>> import numpy as np
    >>> one = np.ones((4, 1, 1))
    >>> y, S = linear_attention(one, one, one, log_decay=np.log(one / 2))
    >>> y.ravel(), S.ravel()
    (array([1.   , 1.5  , 1.75 , 1.875]), array([1.875]))
    """
    by_triton = gpu.takes("linear", q, backend)
    given = {"q": q, "k": k, "v": v, "log_decay": log_decay, "state": state, "bonus": bonus}
    call = Call("linear_attention", keep=by_triton, **given)
    call.axes(q="... L H K", k="... L H K", v="... L H V", state="... H K V", bonus="H K")
    full = call.log_decay("L")
    if read not in ("after", "before") or (bonus is not None and read == "after"):
        raise ShapeError(
            f"linear_attention: read must be 'after' or 'before', and a bonus needs 'before'; got "
            f"read={read!r}{'' if bonus is None else ' with a bonus'}"
        )
    q, k, v = (call.rows(name) for name in "qkv")
    if by_triton:
        y, last = gpu.linear(call, full, read, scale)
    else:
        arrays = [q, k, v, call.decays(full, one=True), call.state()]
        y, last = dispatch.run("linear", arrays, [scale, float(read == "before")], backend)
    if bonus is not None:
        u = call["bonus"]
        y = y + scale * (q * u * k).sum(-1)[..., None] * v
    return call.output(y), call.last(last)


def delta_rule(
    q: Any, k: Any, v: Any, beta: Any, log_decay: Any = None, state: Any = None,
    scale: float = 1.0, *, substeps: int = 1, backend: str = "auto",
) -> tuple[Any, Any]:  # fmt: skip
    """The delta rule, with or without a decay, with one or several substeps for a token.

        S <- diag(exp(log_decay)) S,   S <- S + beta k (v - S'k)',   y = scale S' q

    q [... L H K], k [... sL H K], v [... sL H V], beta [... sL H], log_decay [... sL H] or
    [... sL H K], state [... H K V] with s = substeps, after the last of which q reads; keys are
    taken as they are.  Returns y [... L H V] and the last state.  DeltaNet, gated DeltaNet, KDA,
    DeltaProduct.  Raises ShapeError, DTypeError, KernelError.

    >>> import numpy as np
    >>> one = np.ones((2, 1, 1))
    >>> y, S = delta_rule(one, one, 3 * one, one[..., 0])
    >>> y.ravel(), S.ravel()
    (array([3., 3.]), array([3.]))
    """
    of_channels = log_decay is not None and len(_shape(log_decay)) == len(_shape(q)) != 0
    of_channels = of_channels and _shape(q)[-1] != 1
    by_triton = substeps == 1 and not of_channels and gpu.takes("delta", q, backend)
    given = {"q": q, "k": k, "v": v, "beta": beta, "log_decay": log_decay, "state": state}
    call = Call("delta_rule", keep=by_triton, **given)
    steps = "L" if substeps == 1 else "sL"
    call.axes(q="... L H K", k=f"... {steps} H K", v=f"... {steps} H V", beta=f"... {steps} H")
    full = call.log_decay(steps)
    call.axes(state="... H K V")
    if substeps < 1 or call.sizes[steps] != substeps * call.sizes["L"]:
        raise ShapeError(
            f"delta_rule: k, v and beta need {substeps} rows for each of the {call.sizes['L']} "
            f"rows of q; got {call.sizes[steps]}"
        )
    if by_triton:
        y, last = gpu.delta(call, full, scale)
        return call.output(y), call.last(last)
    q, k, v = (call.rows(name) for name in "qkv")
    if substeps == 1:
        arrays = [q, k, v, call.rows("beta"), call.decays(full, one=True), call.state()]
        y, last = dispatch.run("delta", arrays, [scale], backend)
        return call.output(y), call.last(last)
    w, write = call.decays(full, steps), call.rows("beta")[..., None] * k
    seen = w * k
    seen *= -1  # in place: another array of this size costs as much as a third of the kernel
    y, last = dispatch.run(
        "low_rank", [q, write, v, w, seen, write, call.state()], [scale, float(substeps)], backend
    )
    return call.output(y), call.last(last)


def _shape(x: Any) -> tuple[int, ...]:
    """Sizes; torch compiles no graph around numpy's own function."""
    return tuple(x.shape) if is_torch(x) else np.shape(x)


def low_rank_rule(
    q: Any, k: Any, v: Any, a: Any, b: Any, log_decay: Any = None, state: Any = None,
    scale: float = 1.0, *, backend: str = "auto",
) -> tuple[Any, Any]:  # fmt: skip
    """A diagonal plus rank-one transition.

        S_t = diag(exp(log_decay_t)) S_{t-1} + b_t (a_t' S_{t-1}) + k_t v_t',   y_t = scale S_t' q_t

    q, k, a, b [... L H K], v [... L H V], log_decay [... L H] or [... L H K], state [... H K V];
    returns y [... L H V] and the last state.  RWKV-7: a = -kappa, b = kappa * eta.  Raises
    ShapeError, DTypeError, KernelError.

    >>> import numpy as np
    >>> one = np.ones((2, 1, 1))
    >>> low_rank_rule(one, one, 3 * one, one, -one)[0].ravel()
    array([3., 3.])
    """
    call = Call("low_rank_rule", q=q, k=k, v=v, a=a, b=b, log_decay=log_decay, state=state)
    call.axes(q="... L H K", k="... L H K", v="... L H V", a="... L H K", b="... L H K")
    full = call.log_decay("L")
    call.axes(state="... H K V")
    q, k, v, a, b = (call.rows(name) for name in "qkvab")
    arrays = [q, k, v, call.decays(full), a, b, call.state()]
    y, last = dispatch.run("low_rank", arrays, [scale, 1.0], backend)
    return call.output(y), call.last(last)


def softmax_attention(
    q: Any, k: Any, v: Any, bias: Any = None, window: int | None = None, causal: bool = True,
    scale: float | None = None, log_forget: Any = None, sink: Any = None, *, backend: str = "auto",
) -> Any:  # fmt: skip
    """Softmax attention, streamed over keys: no array of all weights is made.

        y_i = sum_j e^{s_ij} v_j / (e^sink + sum_j e^{s_ij})
        s_ij = scale q_i'k_j + bias_ij + sum_{j < l <= i} log_forget_l

    q [... M H K], k [... N G K], v [... N G V]: G heads of keys divide the H heads of queries.
    With fewer queries than keys they are the last ones.  `causal` queries see no later keys, and of
    the others the last `window`, the current one included.  bias [... H M N], log_forget [... N H]
    (at most 0; -inf forgets), sink [H]; scale is K^-1/2 if not given.  Returns y [... M H V]; a
    query that sees no key with a finite logit gives 0.  Source: Dao et al. 2022, arXiv 2205.14135
    (streaming); Lin et al. 2025, arXiv 2503.02130 (forget gate).  Raises ShapeError, DTypeError,
    KernelError.

    >>> import numpy as np
    >>> one = np.ones((3, 1, 1))
    >>> softmax_attention(one, one, np.cumsum(one, 0)).ravel()
    array([1. , 1.5, 2. ])
    """
    given = {"q": q, "k": k, "v": v, "bias": bias, "log_forget": log_forget, "sink": sink}
    call = Call("softmax_attention", keep=on_gpu(q), **given)
    call.axes(q="... M H K", k="... N G K", v="... N G V", bias="... H M N")
    call.axes(log_forget="... N H", sink="H")
    B, M, H = math.prod(call.batch), *(call.sizes[x] for x in "MH")
    call.grouped_heads()
    if not causal and (window is not None or log_forget is not None):
        raise ShapeError("softmax_attention: a window and forget gates need causal=True")
    if window is not None and (not isinstance(window, int | np.integer) or window < 1):
        raise ShapeError(f"softmax_attention: window counts tokens, with the current one: {window}")
    call.real_logits()
    optional = [
        call.zeros(B, H, M, 0) if bias is None else call.rows("bias"),
        call.zeros(B, 0, H) if log_forget is None else call.rows("log_forget"),
        call.zeros(B, 0) if sink is None else call.flat(call["sink"], 0),
    ]
    numbers = [_scale(call, scale), float(causal), float(window or 0)]
    y, _ = dispatch.run("softmax", [*(call.rows(x) for x in "qkv"), *optional], numbers, backend)
    return call.output(y)


def local_linear_attention(
    q: Any, k: Any, v: Any, *, ridge: float = 10.0, scale: float | None = None,
    causal: bool = True, ridge_times: str = "weights", backend: str = "auto",
) -> Any:  # fmt: skip
    """Local linear attention, streamed over keys: memory grows as N K, not as M N or N K K.

        min_{b, W} sum_j w_ij |v_j - b - W (k_j - q_i)|^2 + c_i ridge |W|^2,    y_i = b

    with w_ij = e^{scale q_i'k_j}; c_i = sum_j w_ij (ridge_times="weights") or 1 ("one").

    q [... M H K], k [... N G K], v [... N G V]: G heads of keys divide the H heads of queries.
    With fewer queries than keys they are the last ones.  `causal` queries see no later keys; scale
    is K^-1/2 if not given.  Returns y [... M H V]; a query that sees no key gives 0.  The weights
    of 64 queries are held at a time.  Their fits take conjugate gradients, time M N K for an
    iteration, if each residual then is below 16 units of rounding; else, and where K is small,
    K x K matrices in float64, time M N K^2 / 2.  NaN and infinity go where the sums send them.
    Large ridges give softmax attention.  Source: Zuo et al. 2026, arXiv
    2510.01450; its text has ridge_times="one", its code "weights".  Raises ShapeError, DTypeError,
    DomainError for a ridge that is negative or not finite, UnknownNameError, KernelError, and
    IllConditionedError where a slope is not determined: at ridge 0 that of the first K queries of a
    causal call never is.

    >>> import numpy as np
    >>> k = np.arange(3.0).reshape(3, 1, 1)
    >>> far = local_linear_attention(k[:1] + 5, k, 3 * k + 1, ridge=0, causal=False)
    >>> far.round(9).ravel()
    array([16.])
    """
    call = Call("local_linear_attention", q=q, k=k, v=v)
    call.axes(q="... M H K", k="... N G K", v="... N G V")
    call.grouped_heads()
    call.real_logits()
    if ridge_times not in ("weights", "one"):
        raise UnknownNameError(
            f"local_linear_attention: no ridge_times {ridge_times!r}; known: weights, one"
        )
    if not (math.isfinite(ridge) and ridge >= 0):
        raise DomainError(
            f"local_linear_attention: ridge must be a finite number of at least 0; got {ridge}"
        )
    by_mass = float(ridge_times == "weights")
    numbers = [_scale(call, scale), float(ridge), by_mass, float(causal)]
    y, _ = dispatch.run("local_linear", [call.rows(x) for x in "qkv"], numbers, backend)
    return call.output(y)


def _scale(call: Call, scale: float | None) -> float:
    """The factor of the logits."""
    return max(call.sizes["K"], 1) ** -0.5 if scale is None else scale


def scan(a: Any, b: Any, h0: Any = None, *, backend: str = "auto") -> tuple[Any, Any]:
    """The diagonal scan h_t = a_t h_{t-1} + b_t, real or complex.

    a, b [... L D], h0 [... D] (zero if not given); returns h [... L D] and the last h [... D].
    Raises ShapeError, DTypeError, KernelError.

    >>> import numpy as np
    >>> h, last = scan(np.full((3, 1), 0.5), np.ones((3, 1)))
    >>> h.ravel(), last
    (array([1.  , 1.5 , 1.75]), array([1.75]))
    """
    call = Call("scan", a=a, b=b, state=h0)
    call.axes(a="... L D", b="... L D", state="... D")
    y, last = dispatch.run(
        "diagonal", [call.rows("a"), call.rows("b"), call.state("D")], [], backend
    )
    return call.output(y), call.last(last)


def selective_scan(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None, h0: Any = None, *,
    backend: str = "auto",
) -> tuple[Any, Any]:  # fmt: skip
    """The selective scan S6.

        h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t',   y_t = h_t C_t + D u_t

    u, delta [... L D], A [D N], B, C [... L N], D [D], h0 [... D N]; delta is positive and A
    negative as they are given (no softplus inside).  Returns y [... L D] and the last h.  Source:
    Gu & Dao 2023, arXiv 2312.00752.  Raises ShapeError, DTypeError, KernelError.

    >>> import numpy as np
    >>> one = np.ones((2, 1))
    >>> selective_scan(one, one, -np.log(2) * one[:1], one, one)[0].ravel()
    array([1. , 1.5])
    """
    by_triton = gpu.takes("selective", u, backend)
    call = Call("selective_scan", keep=by_triton, u=u, delta=delta, A=A, B=B, C=C, D=D, state=h0)
    call.axes(u="... L D", delta="... L D", A="D N", B="... L N", C="... L N", D="D")
    call.axes(state="... D N")
    if by_triton:
        y, last = gpu.selective(call)
        return call.output(y), call.last(last)
    u, delta, B, C = (call.rows(name) for name in ("u", "delta", "B", "C"))
    A = call.flat(call["A"], 0)
    y, last = dispatch.run("selective", [delta * u, delta, A, B, C, call.state("D N")], [], backend)
    y = y if D is None else y + call["D"] * u
    return call.output(y), call.last(last)


def gradient_flow(
    rhs: Mapping[Any, Any], y0: Any, t: Any, parameters: Mapping[Any, Any] | None = None, *,
    steps: int = 1, backend: str = "auto",
) -> np.ndarray:  # fmt: skip
    """Many small systems of differential equations at once, by Runge-Kutta steps of fixed length.

        y' = f(y; p),     y [T ... d] at the times t, with `steps` steps of order 4 between two

    rhs         {variable: its derivative}: symbols and expressions of sympy, in the order of the
                last axis of y0; a gradient flow is {x: -loss.diff(x) for x in variables}
    y0          [... d], the start of every system, at t[0]
    t           [T], at least one time; backwards is allowed
    parameters  {symbol: number or array [...]}: numbers of each system, together with y0 broadcast

    Computed and returned in float64; the same bits for every split of the systems and number of
    threads.  The first call with an rhs compiles it, which takes about a second in each process.
    The error is that of the method, about (h L)^4 with L the size of the derivatives of f; halve h
    to see it.  Stiff systems need an implicit method (scipy's LSODA).  A system that leaves the
    range of float64 becomes infinite or NaN by itself.  Raises DomainError for an rhs that does not
    name its symbols, ShapeError, DTypeError, NonFiniteError for times, and KernelError.

    >>> import numpy as np, sympy
    >>> x, a = sympy.symbols("x a")
    >>> loss = a * x**2 / 2
    >>> y = gradient_flow({x: -loss.diff(x)}, [[1.0], [3.0]], [0, 1], {a: [1, 2]}, steps=100)
    >>> bool(np.allclose(y[-1], [[np.exp(-1)], [3 * np.exp(-2)]], rtol=1e-8))
    True
    """
    given = {} if parameters is None else parameters
    system = checked(rhs, given)
    y, times = _array("y0", y0), _array("t", t)
    p = [_array(str(k), x) for k, x in given.items()]
    d = len(system[0])
    if y.ndim < 1 or y.shape[-1] != d:
        raise ShapeError(
            f"gradient_flow: y0 must be [... d] with d = {d}, the number of variables "
            f"({', '.join(map(str, system[0]))}); got {list(y.shape)}"
        )
    if times.ndim != 1 or not len(times) or steps < 1:
        raise ShapeError(
            f"gradient_flow: t must be [T] with at least one time and steps at least 1; got "
            f"{list(times.shape)} and steps = {steps}"
        )
    if not np.isfinite(times).all():
        raise NonFiniteError("gradient_flow: t holds NaN or infinity")
    try:
        batch = np.broadcast_shapes(y.shape[:-1], *(x.shape for x in p))
    except ValueError:
        shapes = ", ".join(f"{k} {list(x.shape)}" for k, x in zip(given, p, strict=True))
        raise ShapeError(
            f"gradient_flow: the parameters must fit the systems {list(y.shape[:-1])} of y0; got "
            f"{shapes}"
        ) from None
    flat = np.broadcast_to(y, (*batch, d)).reshape(-1, d).T
    rows = np.array([np.broadcast_to(x, batch).ravel() for x in p]).reshape(len(p), flat.shape[1])
    out, _ = dispatch.run("flow", [flat, rows, times], [steps, system], backend)
    found: np.ndarray = np.moveaxis(out, 1, -1).reshape(len(times), *batch, d)
    return found


def _array(name: str, x: Any) -> np.ndarray:
    if not is_torch(x):
        found = np.asarray(x)
        if found.dtype.kind in "iuf":
            return found.astype(np.float64, copy=False)
    raise DTypeError(
        f"gradient_flow: {name} must hold real numbers in a numpy array; got "
        f"{getattr(x, 'dtype', type(x).__name__)}{' in a tensor (use x.numpy())' * is_torch(x)}"
    )
