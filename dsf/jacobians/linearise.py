"""Linear systems from nonlinear ones: Jacobians along a trajectory, by torch's autograd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, DTypeError, NonFiniteError, NotLinearError, ShapeError
from dsf.core.kinds import Attention
from dsf.core.mechanism import Mechanism
from dsf.core.ops import Array
from dsf.core.state import State
from dsf.core.system import LTV
from dsf.core.transition import Dense
from dsf.jacobians.products import Products


def linearise(mech: Mechanism, u: Array) -> LTV:
    """The first-order system of a mechanism around its run on u [L d]: an LTV with p = 1.

        dS_t = A_t dS_{t-1} + B_t du_t,     dy_t = C_t dS_{t-1} + D_t du_t      (read before)

    A [L n n], B [L n d], C [L r n], D [L r d] float64, with n the real numbers of the state (kept
    token rows included) and r the width of y.  Its kernel [L r L d] is the Jacobian dy_i / du_j.
    Unlike `mech.ltv(u)`, the coefficients' own dependence on u is differentiated too.
    Raises NotLinearError for a state that grows (softmax: use `jacobian`), ShapeError unless u is
    one sequence, DTypeError for what is no mechanism.

    >>> import dsf
    >>> mech = dsf.gru.init(d=2, p=3)
    >>> linearise(mech, np.zeros((4, 2))).A.dense().shape
    (4, 3, 3)
    """
    import torch

    if not isinstance(mech, Mechanism):
        raise DTypeError(
            f"linearise: needs a mechanism with its numbers, like dsf.gru.init(d=2); got {mech!r}. "
            "Any torch module: dsf.jacobian(module, u)."
        )
    if np.ndim(u) != 2:
        raise ShapeError(f"linearise: `u` must be one sequence [L d]; got {np.shape(u)}")
    if isinstance(mech, Attention):
        raise NotLinearError(
            f"linearise: the state of {mech.name} is a growing cache of tokens, so its Jacobian "
            "has no fixed size. Use dsf.jacobian(mech.to_torch(), u) for that of the whole map."
        )
    net = mech.to_torch().double().requires_grad_(False)
    x = torch.as_tensor(u, dtype=torch.float64)
    L = x.shape[0]
    if not L:
        raise ShapeError("linearise: `u` must hold at least one token; got L = 0")
    layout = _Layout(mech, net.run(x[:1])[1])
    h = torch.zeros(layout.size, dtype=torch.float64)
    blocks: list[tuple[Any, Any]] = []
    for t in range(L):

        def step(h: Any, row: Any, t: int = t) -> tuple[Any, Any]:
            y, state = net.run(row[None], layout.state(h, t))
            return layout.vector(state), y[0]

        (A, B), (C, D) = torch.autograd.functional.jacobian(step, (h, x[t]))
        blocks.append((torch.cat([A, B], -1), torch.cat([C, D], -1)))
        h = step(h, x[t])[0]
    update, output = (np.stack([b[i].numpy() for b in blocks]) for i in (0, 1))
    n = layout.size
    return LTV(
        Dense(update[..., :n]), update[..., n:], output[..., :n], output[..., n:],
        read="before", steps=L,
    )  # fmt: skip


class _Layout:
    """A streaming state as one real vector: the recurrent state, then the kept token rows."""

    def __init__(self, mech: Mechanism, example: State) -> None:
        self.example = example
        kept = {} if example.tail is None else dict(example.tail.items())
        self.rows = [k for k in kept if mech.token_fields[k].per_token]
        self.size = self.vector(example).numel()

    def _arrays(self, state: State) -> list[Any]:
        arrays = [] if state.S is None else [state.S]
        return arrays + [getattr(state.tail, k) for k in self.rows]

    def vector(self, state: State) -> Any:
        import torch

        flat = [torch.view_as_real(x) if x.is_complex() else x for x in self._arrays(state)]
        return torch.cat([x.reshape(-1) for x in flat])

    def state(self, h: Any, t: int) -> State:
        import torch

        arrays, start = [], 0
        for like in self._arrays(self.example):
            shape = (*like.shape, 2) if like.is_complex() else tuple(like.shape)
            piece = h[start : start + int(np.prod(shape))].reshape(shape)
            arrays.append(torch.view_as_complex(piece) if like.is_complex() else piece)
            start += piece.numel()
        S = None if self.example.S is None else arrays.pop(0)
        tail = self.example.tail
        if tail is not None:
            tail = tail.replace(**dict(zip(self.rows, arrays, strict=True)))
        return State(S, tail, t)


@dataclass(frozen=True, eq=False)
class Kernel:
    """The Jacobian of a causal map along an input: what `jacobian` returns.

    kernel [L r L d]: block (i, j) is dy_i / du_j.   leak: largest entry above the diagonal relative
    to the largest of all (0 for a causal map).
    """

    kernel: np.ndarray
    leak: float

    @property
    def matrix(self) -> np.ndarray:
        """The kernel as a matrix [L r, L d]."""
        L, r, _, d = self.kernel.shape
        return self.kernel.reshape(L * r, L * d)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The kernel [L r L d], so that `realize` and `distil` take it as it is."""
        return np.array(self.kernel, dtype=dtype) if copy else np.asarray(self.kernel, dtype=dtype)

    def influence(self) -> np.ndarray:
        """|dy_i / du_j|_2 for every pair of tokens [L L]."""
        return np.linalg.norm(np.moveaxis(self.kernel, 2, 1), 2, axis=(-2, -1))

    def hankel_singular_values(self, k: int) -> np.ndarray:
        """Singular values of dy[k:] / du[:k]: how many numbers of the past the future sees."""
        L, r, _, d = self.kernel.shape
        if not 0 <= k <= L:
            raise ShapeError(f"hankel_singular_values: cut k must be in 0..{L}; got {k}")
        return np.asarray(np.linalg.svd(self.matrix[k * r :, : k * d], compute_uv=False))

    def __repr__(self) -> str:
        L, r, _, d = self.kernel.shape
        return f"Kernel(L={L}, r={r}, d={d}, leak={self.leak:.1g})"


def jacobian(module: Any, u: Array, causal: bool = True) -> Kernel:
    """Any torch module linearised along u [L d]: the Jacobian blocks dy_i / du_j.

    The module maps [L d] to [L r], or [1 L d] to [1 L r]; its own dtype is used.  The state
    coordinates of a module are unknown, so the result is the kernel, not A_t; its Hankel singular
    values say how many states a linear recurrence needs nearby.
    Raises DomainError, naming the tokens, if an output depends on a later input (`causal=False`
    accepts that), NonFiniteError if the Jacobian is not finite, ShapeError for other shapes,
    DTypeError for what is no module, TooLargeError above 4 GiB (`dsf.jacobians.products` needs no
    kernel).

    >>> import torch
    >>> found = jacobian(torch.nn.Linear(2, 3), np.ones((4, 2)))
    >>> found, found.kernel.shape
    (Kernel(L=4, r=3, d=2, leak=0), (4, 3, 4, 2))
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise DTypeError(
            f"jacobian: needs a torch module; got {type(module).__name__}. Of a mechanism give "
            "mech.to_torch(), or use dsf.linearise(mech, u)."
        )
    if np.ndim(u) != 2:
        raise ShapeError(f"jacobian: `u` must be one sequence [L d]; got {np.shape(u)}")
    kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float64)
    x = torch.as_tensor(u).detach().to(kind)
    L, d = x.shape

    def f(x: Any) -> Any:
        y = module(x)
        return y[0] if isinstance(y, tuple) else y

    y = _try(f, x)
    batched = y is None or y.ndim != 2 or y.shape[0] != L
    if batched:
        y = f(x[None])
        if y.ndim != 3 or y.shape[:2] != (1, L):
            raise ShapeError(
                f"jacobian: the module must map [L d] to [L r] or [1 L d] to [1 L r]; got "
                f"{tuple(y.shape)} from {(1, L, d)}. Likely cause: the sequence axis comes first "
                "(batch_first=False), or the output is pooled over time."
            )
    g = (lambda x: f(x[None])[0]) if batched else f
    M = Products(g, x).kernel() if L else np.zeros((0, y.shape[-1], 0, d))
    if not np.isfinite(M).all():
        raise NonFiniteError("jacobian: the Jacobian holds NaN or infinity; check the module at u")
    above = np.abs(M) * (np.arange(L)[:, None, None, None] < np.arange(L)[None, None, :, None])
    leak = float(above.max(initial=0) / max(np.abs(M).max(initial=0), np.finfo(M.dtype).tiny))
    if causal and leak > 0:
        i, _, j, _ = np.unravel_index(int(above.argmax()), M.shape)
        raise DomainError(
            f"jacobian: output {i} depends on the later input {j} (relative size {leak:.2g}): the "
            "map is not causal. Likely cause: a missing attention mask, or normalisation over "
            "time. Pass causal=False to look at it anyway."
        )
    return Kernel(M, leak)


def _try(f: Any, x: Any) -> Any:
    """f(x), or None where the module refuses an input without a batch axis."""
    try:
        return f(x)
    except (RuntimeError, ValueError, IndexError):
        return None
