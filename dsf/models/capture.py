"""The attention calls of a model, found while it runs by the functions of torch that it calls.

    scaled_dot_product_attention      weights from q, k, the mask, causality and the scale
    multi_head_attention_forward      weights as torch returns them (nn.MultiheadAttention and the
                                      encoder layers)
    softmax, written out              what it returns, if that is then multiplied by values

Whether queries and keys come from one sequence is told by what they were computed from
(`dsf.models.streams`).

`visit` sees each call before the model has its result, and may return what takes the place of the
mixed values of some heads (`dsf.models.mixing`).  Nothing is kept of a call when `visit` returns: a
model with many heads needs the memory of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError
from dsf.models import mixing
from dsf.models.restored import as_found
from dsf.models.streams import PRODUCTS, Streams, apart

SDPA, WRITTEN, MULTI_HEAD = "sdpa", "softmax", "multi_head"
PASSES = {"dropout", "to", "type", "contiguous", "float", "half", "view", "reshape", "expand"}


@dataclass(frozen=True)
class Call:
    """One call: where it was made, and its weights head by head.

    module    the qualified name of the innermost module that was running; "" is the model itself
    index     how many calls came before it in the run
    kind      "sdpa", "softmax" or "multi_head"
    batch     sequences;   heads   of queries;   groups   of keys;   width   of keys, or of
              values where the weights were written out (0: not known)
    rows      queries;   columns   keys
    cross     whether these are of two sequences
    axes      how many axes left of the heads are read as sequences
    """

    module: str
    index: int
    kind: str
    batch: int
    heads: int
    groups: int
    width: int
    rows: int
    columns: int
    weigh: Callable[[int, int], Any]
    valued: Callable[[], Any]
    cross: bool = False
    axes: int = 1

    def values(self) -> Any:
        """The values [batch heads columns V] that the weights mix, a torch tensor of the model."""
        found = mixing.of_heads(self.valued(), self.heads)
        return found.expand(self.batch, *found.shape[1:])

    def weights(self, head: int, sequence: int = 0) -> np.ndarray:
        """The weights [rows columns] of a head on a sequence of the batch, float64."""
        found = self.weigh(sequence, head)
        return np.asarray(found.detach().to("cpu").double().numpy())


Visit = Callable[[Call], Mapping[int, Any] | None]  # head: mixed values [batch rows V]


def run(model: Any, inputs: tuple[Any, ...], named: dict[str, Any], visit: Visit) -> Any:
    """Run the model once without gradients, in evaluation mode; `visit` sees every attention call.

    Returns the model's output.  Modes of its modules, hooks and the random state are as before,
    also after an exception.  Raises DTypeError for what cannot be called.
    """
    with watched(model, visit, (inputs, named)):
        return model(*inputs, **named)


@contextmanager
def watched(model: Any, visit: Visit, given: Any = ()) -> Iterator[None]:
    """While it lasts, `visit` sees every attention call of the model, as in `run`.

    `given` are its inputs, if they are known; a module tells them itself.

    Calls outside the model are not seen; of a function that is no module, all calls are.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    if not callable(model):
        raise DTypeError(
            f"inspect: the model must be a torch module or a function; got {type(model).__name__}"
        )
    names: list[str] = []
    count = iter(range(2**62))
    inside = isinstance(model, torch.nn.Module)
    streams = Streams(model)
    streams.enter(given)

    class Watch(TorchFunctionMode):
        """Sees every function of torch that the model calls."""

        def __init__(self) -> None:
            super().__init__()
            self.open: list[tuple[Any, Call]] = []  # results of softmax that met no values yet

        def __torch_function__(
            self, function: Any, _: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            if inside and not names:
                return function(*args, **named)
            name = getattr(function, "__name__", "")
            if name == "scaled_dot_product_attention":
                return self._sdpa(function, *args, **named)
            if name == "multi_head_attention_forward":
                return self._multi_head(function, args, named)
            if name in PRODUCTS and (met := self._multiplied(name, args)) is not None:
                return self._mixed(met, function, args, named)
            out = function(*args, **named)
            streams.follow(name, args, named, out)
            if name in ("softmax", "_softmax") and _square(out):
                self.open.append((out, _of_weights(names, next(count), WRITTEN, out)))
            elif name in PASSES and self.open:  # the same weights under another name
                self.open += [(out, call) for x, call in self.open if x is args[0]]
            return out

        def _sdpa(
            self, function: Any, query: Any, key: Any, value: Any, *args: Any, **named: Any
        ) -> Any:
            call = _of_sdpa(names, next(count), query, key, value, *args, **named)
            call = replace(call, cross=streams.differ(query, key))
            given = visit(call)
            out = mixing.put(function(query, key, value, *args, **named), given)
            streams.attended(call.cross, streams.of(query), (key, value), out)
            return out

        def _multi_head(self, function: Any, args: Any, named: Any) -> Any:
            call, taken = _of_multi_head(function, names, next(count), args, named)
            query, *others = (taken[name] for name in ("query", "key", "value"))
            call = replace(call, cross=streams.differ(query, others[0]))
            given = visit(call)
            out = function(*args, **named)
            out = mixing.projected(out, call, given, taken) if given else out
            streams.attended(call.cross, streams.of(query), others, out)
            return out

        def _mixed(self, met: mixing.Product, function: Any, args: Any, named: Any) -> Any:
            """Weights that were written out, times values."""
            weights, values = met.factors()
            query, key = streams.factors.get(weights, (None, None))
            cross = apart(query, key)
            groups, width = met.groups()
            call = replace(met.call, valued=met.values, cross=cross, groups=groups, width=width)
            given = visit(call)
            out = met.put(function(*args, **named), given)
            streams.attended(cross, query, (weights, values), out)
            return out

        def _multiplied(self, name: str, args: Any) -> mixing.Product | None:
            """The product, if a result of softmax is one of its factors.

            Weights [B L E] times one matrix [E d] for all sequences mix no tokens: routing to
            experts.
            """
            if sorted(getattr(x, "ndim", 0) for x in args)[-2:] == [2, 3]:
                return None
            for at, factor in enumerate(args):
                for x, call in self.open:
                    if x is factor:
                        self.open = []
                        return mixing.Product(call, name, at, args)
            return None

    with as_found(model), _named(model, names, streams), torch.no_grad(), Watch():
        yield


# ---------------------------------------------------------------------- kinds of calls
def _of_sdpa(
    names: list[str], index: int, query: Any, key: Any, value: Any, attn_mask: Any = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, **_: Any,
) -> Call:  # fmt: skip
    heads, groups = (x.shape[-3] if x.ndim > 2 else 1 for x in (query, key))
    (L, d), T = query.shape[-2:], key.shape[-2]
    factor = d**-0.5 if scale is None else scale

    def weigh(sequence: int, head: int) -> Any:
        import torch

        q, k = _pick(query, sequence, head), _pick(key, sequence, head * groups // heads)
        x = q.double() @ k.double().mT * factor
        if is_causal:
            x = x.masked_fill(~torch.ones(L, T, dtype=torch.bool, device=x.device).tril(), -np.inf)
        if attn_mask is not None:
            mask = _pick(attn_mask.expand(*query.shape[:-1], T), sequence, head)
            x = x.masked_fill(~mask, -np.inf) if mask.dtype == torch.bool else x + mask
        return x.softmax(-1).masked_fill((x == -np.inf).all(-1, keepdim=True), 0.0)  # sees nothing

    batch = int(np.prod(query.shape[:-3]))
    return Call(
        _last(names), index, SDPA, batch, heads, groups, d, L, T, weigh, lambda: value,
        axes=query.ndim - 3,
    )  # fmt: skip


def _of_multi_head(
    function: Any, names: list[str], index: int, args: Any, named: dict[str, Any]
) -> tuple[Call, dict[str, Any]]:
    """The call, and the arguments of the function by their names."""
    asked = {"need_weights": True, "average_attn_weights": False, "training": False}
    taken = dict(zip(signature(function).parameters, args, strict=False)) | named
    if taken.get("is_causal") and taken.get("attn_mask") is None:
        asked["is_causal"] = False
    weights = function(**{**taken, **asked})[1]
    weights = weights if weights.ndim == 4 else weights[None]
    call = _of_weights(names, index, MULTI_HEAD, weights)
    width = taken["query"].shape[-1] // taken["num_heads"]
    return replace(call, width=width, valued=lambda: mixing.of_projection(taken)), taken


def _of_weights(names: list[str], index: int, kind: str, weights: Any) -> Call:
    heads = weights.shape[-3]
    L, T = weights.shape[-2:]
    batch = int(np.prod(weights.shape[:-3]))
    return Call(
        _last(names), index, kind, batch, heads, heads, 0, L, T,
        lambda sequence, head: _pick(weights, sequence, head), lambda: None,
        axes=weights.ndim - 3,
    )  # fmt: skip


def _pick(x: Any, sequence: int, head: int) -> Any:
    """The matrix of a head: axes left of the heads are sequences."""
    if x.ndim == 2:
        return x
    return x.reshape(int(np.prod(x.shape[:-3])), *x.shape[-3:])[sequence, head]


def _square(x: Any) -> bool:
    """Whether these can be weights [... H L T] of tokens on tokens."""
    return getattr(x, "ndim", 0) >= 3 and x.shape[-1] >= x.shape[-2]


# ---------------------------------------------------------------------- the model as it was
def _last(names: list[str]) -> str:
    return names[-1] if names else ""


@contextmanager
def _named(model: Any, names: list[str], streams: Streams) -> Iterator[None]:
    """While it lasts, `names` ends with the module that is running."""
    import torch

    def enter(name: str, given: Any) -> None:
        if not names:
            streams.enter(given)
        names.append(name)

    def leave(_: Any, args: Any, named: Any, out: Any) -> None:  # a result would be the output
        names.pop()
        streams.leave((args, named), out)

    hooks: list[Any] = []
    modules = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    try:
        for name, module in modules:
            hooks += [
                module.register_forward_pre_hook(
                    lambda _, a, k, name=name: enter(name, (a, k)), with_kwargs=True
                ),
                module.register_forward_hook(leave, always_call=True, with_kwargs=True),
            ]
        yield
    finally:
        for hook in hooks:
            hook.remove()
