"""The Jacobian of a map of sequences as an operator: products with it, and no matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dsf.core.checks import LIMIT, check_size
from dsf.core.errors import DomainError, NonFiniteError, ShapeError

ADVICE = "Use fewer tokens, or `Products.between`, which looks in a few directions."


class Products:
    """M [L r, L d] with the blocks M_ij = dy_i / du_j of y = f(u), u [L d] and y [L r] of torch.

        adjoint(W)     M'W              one backward pass for each column
        times(X)       M X              the derivative of M'W in W, which is linear in W
        between(U, V)  U'M_ij V         one backward pass for each token and column of U

    f is run once, in the dtype of u, with gradients and with attention written out: the fused
    attention of torch on a CPU has neither forward derivatives nor second ones, which `times`
    needs.  Raises ShapeError unless f keeps the number of tokens, DomainError where f has no
    derivative, or `times` no second one.

    >>> import torch
    >>> M = Products(lambda u: u.cumsum(0) * 2, torch.ones(3, 1))
    >>> M.kernel()[:, 0, :, 0]
    array([[2., 0., 0.],
           [2., 2., 0.],
           [2., 2., 2.]], dtype=float32)
    """

    def __init__(self, f: Callable[[Any], Any], u: Any) -> None:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        self.f = f
        with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            self.u = u.detach().clone().requires_grad_()
            self.y = f(self.u)
        if self.u.ndim != 2 or self.y.ndim != 2 or len(self.y) != len(self.u):
            raise ShapeError(
                "Products: the map must take [L d] to [L r], as many tokens as before; got "
                f"{tuple(self.y.shape)} from {tuple(self.u.shape)}"
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """L, r, L, d."""
        (L, r), d = self.y.shape, self.u.shape[1]
        return L, r, L, d

    def adjoint(self, W: Any) -> np.ndarray:
        """M'W [L d k] for W [L r k]."""
        W = self._given(W, self.y.shape)
        return self._array([self._back(w) for w in W.unbind(-1)], -1)

    def times(self, X: Any) -> np.ndarray:
        """M X [L r k] for X [L d k]; needs second derivatives of f."""
        import torch

        X = self._given(X, self.u.shape)
        with torch.inference_mode(False), torch.enable_grad():
            generator = torch.Generator().manual_seed(0)
            w = torch.randn(self.y.shape, generator=generator, dtype=torch.float64).to(self.y)
            w.requires_grad_()
            back = self._back(w, create_graph=True)
            columns = [self._forth(back, w, x) for x in X.unbind(-1)]
        return self._array(columns, -1)

    def _forth(self, back: Any, w: Any, x: Any) -> Any:
        """M x, the derivative of <M'w, x> in w; DomainError where the graph has gaps.

        Kernels of other libraries may have a first derivative and hide the second: what torch then
        returns is too small, and <w, M x> = <M'w, x> does not hold.
        """
        import torch

        column = None
        if back.requires_grad:
            column = self._graph(back, w, x)
        column = torch.zeros_like(self.y) if column is None else column
        gap = abs(float(((w * column).sum() - (back * x).sum()).detach()))
        if gap > torch.finfo(x.dtype).eps ** 0.5 * float(back.detach().norm() * x.norm()):
            raise DomainError(
                "Products.times: f has derivatives, and these have none. Likely cause: kernels "
                "with a backward pass of their own. Use `adjoint`, `between` or `kernel`"
            )
        return column

    def between(self, U: Any, V: Any) -> np.ndarray:
        """U'M_ij V [L s L t] for U [r s] and V [d t]."""
        import torch

        L, r, _, d = self.shape
        U, V = (torch.as_tensor(x, dtype=self.y.dtype, device=self.y.device) for x in (U, V))
        if U.ndim != 2 or V.ndim != 2 or (len(U), len(V)) != (r, d):
            raise ShapeError(
                f"Products.between: needs U [{r} s] and V [{d} t]; got {tuple(U.shape)} and "
                f"{tuple(V.shape)}"
            )
        rows = []
        for i in range(L):
            for column in U.unbind(1):
                w = torch.zeros_like(self.y)
                w[i] = column
                rows.append(self._back(w) @ V)
        return self._array(rows, 0).reshape(L, U.shape[1], L, V.shape[1])

    def kernel(self) -> np.ndarray:
        """M [L r L d]; TooLargeError above 4 GiB."""
        check_size("Products.kernel", self.shape, self.y.element_size(), LIMIT, ADVICE)
        _, r, _, d = self.shape
        return self.between(np.eye(r), np.eye(d))

    # ------------------------------------------------------------------ torch
    def _back(self, w: Any, create_graph: bool = False) -> Any:
        import torch

        if not self.y.requires_grad:  # y does not depend on u
            return torch.zeros_like(self.u)
        g = self._graph(self.y, self.u, w, create_graph=create_graph)
        return torch.zeros_like(self.u) if g is None else g

    @staticmethod
    def _graph(y: Any, x: Any, w: Any, create_graph: bool = False) -> Any:
        """w' dy/dx; None where y does not depend on x."""
        import torch

        try:
            return torch.autograd.grad(
                y, x, w, retain_graph=True, create_graph=create_graph, allow_unused=True
            )[0]
        except Exception as e:  # also what kernels of other libraries raise
            raise DomainError(
                f"Products: a part of the map has no derivative: {type(e).__name__}: {e}"
            ) from e

    def _given(self, X: Any, shape: Any) -> Any:
        import torch

        X = torch.as_tensor(X, dtype=self.y.dtype, device=self.y.device)
        if X.ndim != 3 or X.shape[:2] != shape:
            raise ShapeError(
                f"Products: needs columns [{shape[0]} {shape[1]} k]; got {tuple(X.shape)}"
            )
        return X

    def _array(self, parts: list[Any], axis: int) -> np.ndarray:
        import torch

        X = torch.stack(parts, axis).detach().cpu().numpy()
        if not np.isfinite(X).all():
            raise NonFiniteError("Products: the Jacobian holds NaN or infinity; check f at u")
        return np.asarray(X)
