"""LSTM, GRU and RNN of torch around their run: the step's Jacobians, by torch's own equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import NonFiniteError, ShapeError
from dsf.core.system import LTV
from dsf.core.transition import Dense

Run = tuple[Any, ...]  # (h [layers 1 p],) or (h, c [layers 1 n])


@dataclass(frozen=True, eq=False)
class Stage:
    """A forward system, and where there is one a second that runs from the end, side by side.

    y = [forward.scan(x), flip(backward.scan(flip(x)))]
    """

    forward: LTV
    backward: LTV | None = None

    @property
    def states(self) -> int:
        """States of both directions together."""
        return self.forward.n + (0 if self.backward is None else self.backward.n)

    def kernel(self) -> np.ndarray:
        """dy_i / du_j [L r L d]; TooLargeError above the limit of `LTV.kernel`."""
        M = _blocks(self.forward)
        if self.backward is None:
            return M
        return np.concatenate([M, _blocks(self.backward)[::-1, :, ::-1]], 1)


def _blocks(ltv: LTV) -> np.ndarray:
    return np.asarray(ltv.kernel()).reshape(ltv.length, ltv.r, ltv.length, ltv.m)


def frozen(module: Any, u: Any, start: Run | None = None) -> tuple[Stage, ...]:
    """The first-order systems of an LSTM, GRU or RNN around its run on u [L d].

        ds_t = A_t ds_{t-1} + B_t du_t,     dy_t = C_t ds_{t-1} + D_t du_t      (read before)

    s_t are the hidden states of all layers, for an LSTM followed by the cells; A [L n n],
    B [L n d], C [L r n], D [L r d], computed in float64 whatever the module's dtype.  One stage for
    a module of one direction, otherwise one per layer, a forward and a backward system each: the
    whole map is their product.  `start`: the states before the first token, zero by default.
    Dropout is left out, as in evaluation.  Raises ShapeError unless u is one sequence of at least
    one token, NonFiniteError if the run or a Jacobian holds NaN or infinity.

    >>> import torch
    >>> [stage] = frozen(torch.nn.LSTM(2, 3), torch.zeros(4, 2))
    >>> stage.forward.A.dense().shape, stage.kernel().shape
    ((4, 6, 6), (4, 3, 4, 2))
    """
    import torch

    x = torch.as_tensor(u).detach().cpu().double()
    if x.ndim != 2 or not len(x):
        raise ShapeError(
            f"frozen: `u` must be one sequence [L d] of at least one token; got {tuple(x.shape)}"
        )
    if not module.bidirectional:
        return (Stage(_system(_plain(module, range(module.num_layers)), x, _states(start))[0]),)
    stages = []
    for k in range(module.num_layers):
        ways = []
        for reverse in (False, True):
            net = _plain(module, [k], "_reverse" if reverse else "")
            ltv, y = _system(net, _turned(x, reverse), _states(start, 2 * k + reverse))
            ways.append((ltv, _turned(y, reverse)))
        x = torch.cat([y for _, y in ways], -1)
        stages.append(Stage(ways[0][0], ways[1][0]))
    return tuple(stages)


def _turned(x: Any, reverse: bool) -> Any:
    return x.flip(0) if reverse else x


def _states(start: Run | None, which: int | None = None) -> Run | None:
    if start is None:
        return None
    parts = start if which is None else [s[which : which + 1] for s in start]
    return tuple(s.detach().cpu().double() for s in parts)


def _plain(module: Any, layers: Any, suffix: str = "") -> Any:
    """These layers of one direction as a module of their own, in float64."""
    import torch

    kind = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}.get(module.mode, torch.nn.RNN)
    first = getattr(module, f"weight_ih_l{layers[0]}{suffix}")
    options: dict[str, Any] = {} if kind is not torch.nn.LSTM else {"proj_size": module.proj_size}
    if kind is torch.nn.RNN:
        options = {"nonlinearity": module.mode.removeprefix("RNN_").lower()}
    net = kind(
        first.shape[1], module.hidden_size, len(layers), bias=module.bias, batch_first=True,
        dtype=torch.float64, **options,
    )  # fmt: skip
    with torch.no_grad():
        for k, layer in enumerate(layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
                if hasattr(net, f"{name}_l{k}"):
                    # what a parametrisation computes is taken: attributes, not the state dict
                    getattr(net, f"{name}_l{k}").copy_(getattr(module, f"{name}_l{layer}{suffix}"))
    return net.requires_grad_(False)


def _system(net: Any, x: Any, start: Run | None) -> tuple[LTV, Any]:
    """The system along the run on x [L d], and the output y [L p].

    The net on sequences of one token is one step of it; its batch holds the steps, which do not see
    each other there, so one product with a vector serves a row of all Jacobians.
    """
    import torch

    L, p = len(x), net.proj_size or net.hidden_size
    sizes = (p, net.hidden_size) if net.mode == "LSTM" else (p,)
    before = start or tuple(torch.zeros(net.num_layers, 1, s, dtype=x.dtype) for s in sizes)
    seen, outputs = [], []
    with torch.no_grad():
        for t in range(L):
            seen.append(before)
            y, after = net(x[None, t : t + 1], _given(net, before))
            before = after if isinstance(after, tuple) else (after,)
            outputs.append(y[0, 0])
    y = torch.stack(outputs)
    with torch.enable_grad():
        states = [torch.cat(s, 1).requires_grad_() for s in zip(*seen, strict=True)]
        rows = x[:, None].clone().requires_grad_()
        _, after = net(rows, _given(net, tuple(states)))
        new = _vector(after if isinstance(after, tuple) else (after,))
        columns = []
        for i in range(new.shape[1]):
            g = torch.autograd.grad(new[:, i].sum(), (rows, *states), retain_graph=True)
            columns.append(torch.cat([_vector(g[1:]), g[0][:, 0]], 1))
    J = torch.stack(columns, 1).numpy()
    if not (np.isfinite(J).all() and bool(torch.isfinite(y).all())):
        raise NonFiniteError(
            "frozen: the run or a Jacobian holds NaN or infinity; check the layer's input and "
            "weights"
        )
    n = new.shape[1]
    read = slice((net.num_layers - 1) * p, net.num_layers * p)  # y_t is the last layer's new h_t
    A, B = J[..., :n], J[..., n:]
    return LTV(Dense(A), B, A[:, read], B[:, read], read="before", steps=L), y


def _given(net: Any, states: Run) -> Any:
    return states if net.mode == "LSTM" else states[0]


def _vector(states: Any) -> Any:
    """States [layers L s] as one vector per step [L n]."""
    import torch

    return torch.cat([s.permute(1, 0, 2).flatten(1) for s in states], 1)
