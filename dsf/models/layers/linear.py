"""The derivative of a layer along its run, by the shortest way to it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsf.core.errors import DomainError, ShapeError
from dsf.core.kinds import Attention
from dsf.jacobians.linearise import linearise
from dsf.jacobians.products import Products
from dsf.models.layers.foreign import Made, derivatives, first
from dsf.models.layers.frozen import Stage, frozen

MOST = 512  # states of a mechanism whose system is formed: 2 MB for each token


@dataclass(frozen=True, eq=False)
class Linear:
    """The map du -> dy of a layer along a sequence: blocks dy_i / du_j, float64.

    shape     L, r, L, d
    states    that the layer itself keeps, both directions together; None: not known
    stages    systems whose product is the map; none where only derivatives are known
    products  the map by vector-Jacobian products; None where one stage is the whole of it
    note      what has to be said of it
    """

    shape: tuple[int, int, int, int]
    states: int | None
    stages: tuple[Stage, ...] = ()
    products: Products | None = None
    note: str = ""

    def kernel(self) -> np.ndarray:
        """The blocks [L r L d]; TooLargeError above 4 GiB."""
        if self.products is None:
            return self.stages[0].kernel()
        return np.asarray(self.products.kernel(), float)


def of_recurrence(module: Any, u: Any, start: Any = None) -> Linear:
    """An LSTM, GRU or RNN along u [L d]."""
    stages = frozen(module, u, start)
    (L, d), last = u.shape, stages[-1]
    r = last.forward.r + (0 if last.backward is None else last.backward.r)
    states = sum(stage.states for stage in stages)
    products = None
    if len(stages) > 1:
        net = _double(module)
        begin = None if start is None else tuple(s[:, 0].double() for s in start)
        begin = begin if begin is None or module.mode == "LSTM" else begin[0]
        products = Products(lambda x: net(x, begin)[0], u.double())
    return Linear((L, r, L, d), states, stages, products)


def of_mechanism(module: Any, u: Any) -> Linear:
    """A mechanism of this package along u [L d]: its system, where its state is of fixed size.

    Above MOST states the Jacobians of its steps are not formed, only products with the whole.
    """
    mech, x = module.mech, u.double().cpu().numpy()
    if isinstance(mech, Attention):
        return of_whole(module, u)
    S = mech.run(x[:1])[1].S
    if np.size(S) > MOST:
        return of_whole(module, u, int(np.size(S)))
    ltv = linearise(mech, x)
    return Linear((ltv.length, ltv.r, ltv.length, ltv.m), ltv.n, (Stage(ltv),))


def of_call(made: Made, states: int | None, sequence: int) -> Linear:
    """A layer of another library along a sequence of one of its calls."""
    products, note = derivatives(made, lambda dtype: _copy(made.module, dtype), sequence)
    return Linear(products.shape, states, (), products, note)


def of_whole(module: Any, u: Any, states: int | None = None, reach: int | None = None) -> Linear:
    """A layer of which the equations are not known, along u [L d]: its derivatives, in float64.

    With `reach`, a convolution over [d L] that reads so many past tokens.  Padded by them on both
    sides, its first L outputs are the layer's; fed with them, they are its context, and fixed.
    """
    net = _in_double(module)
    x = u.detach().double()
    if reach is None:
        products = Products(lambda x: first(net(x[None]))[0].flatten(1), x)
        _require_seen(module, products)
        return Linear(products.shape, states, (), products)
    L, made = len(x), net(x.mT[None]).shape[-1]
    if made == L + reach:
        products = Products(lambda x: net(x.mT[None])[0].mT[:L], x)
    elif made == L - reach and made > 0:
        context = x[:reach]
        products = Products(lambda x: net(_after(context, x).mT[None])[0].mT, x[reach:])
    elif made == L:
        products = Products(lambda x: net(x.mT[None])[0].mT, x)
    else:
        raise ShapeError(
            f"layers: a convolution that makes {made} tokens of {L} is no map of a sequence to "
            "itself: strides, or padding of another length"
        )
    return Linear(products.shape, states, (), products)


def _after(context: Any, x: Any) -> Any:
    import torch

    return torch.cat([context, x])


def _require_seen(module: Any, products: Products) -> None:
    """DomainError where the output depends on the input, and torch cannot see how."""
    import torch

    if products.y.requires_grad:
        return
    other = products.f(products.u.detach() * 1.5 + 1)
    if not torch.equal(other, products.y):
        raise DomainError(
            f"layers: {type(module).__name__} has no derivative: its output does depend on its "
            "input, out of torch's sight. Likely cause: detach(), numpy, no_grad or rounding "
            "inside"
        )


def _in_double(module: Any) -> Callable[[Any], Any]:
    """The module's function in float64; DomainError where it does not run so."""
    net = _double(module)

    def call(x: Any) -> Any:
        try:
            return net(x)
        except RuntimeError as e:
            raise DomainError(
                f"layers: {type(module).__name__} does not run in float64: {e}. Likely cause: it "
                "makes tensors of another dtype itself; make them of the input's (x.new_zeros)"
            ) from e

    return call


def _double(module: Any) -> Any:
    import torch

    return _copy(module, torch.float64)


def _copy(module: Any, dtype: Any) -> Any:
    """A copy of a module in a dtype without gradients of its own; the original stays as it is."""
    try:
        net = deepcopy(module).to(dtype)
    except (RuntimeError, TypeError, NotImplementedError) as e:
        raise DomainError(
            f"layers: {type(module).__name__} cannot be copied to {dtype}: {e}"
        ) from e
    return net.eval().requires_grad_(False)
