"""The attention calls of a model, found while it runs by the functions of torch that it calls.

    scaled_dot_product_attention      weights from q, k, the mask, causality and the scale
    multi_head_attention_forward      weights as torch returns them (nn.MultiheadAttention and the
                                      encoder layers)
    softmax, written out              what it returns, if that is then multiplied by values

`visit` sees each call before the model has its result, and may return what takes the place of the
mixed values of some heads (`dsf.models.mixing`).  Nothing is kept of a call when `visit` returns: a
model with many heads needs the memory of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from dsf.core.errors import DTypeError
from dsf.models import mixing

SDPA, WRITTEN, MULTI_HEAD = "sdpa", "softmax", "multi_head"
PRODUCTS = {"matmul", "bmm", "__matmul__", "einsum", "baddbmm"}
PASSES = {"dropout", "to", "type", "contiguous", "float", "half", "view", "reshape", "expand"}


@dataclass(frozen=True)
class Call:
    """One call: where it was made, and its weights head by head.

    module    the qualified name of the innermost module that was running; "" is the model itself
    index     how many calls came before it in the run
    kind      "sdpa", "softmax" or "multi_head"
    batch     sequences;   heads   of queries;   groups   of keys;   width   of keys (0: not known)
    rows      queries;   columns   keys
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
    with watched(model, visit):
        return model(*inputs, **named)


@contextmanager
def watched(model: Any, visit: Visit) -> Iterator[None]:
    """While it lasts, `visit` sees every attention call of the model, as in `run`.

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
                given = visit(_of_sdpa(names, next(count), *args, **named))
                return mixing.put(function(*args, **named), given)
            if name == "multi_head_attention_forward":
                call, taken = _of_multi_head(function, names, next(count), args, named)
                given = visit(call)
                out = function(*args, **named)
                return mixing.projected(out, call, given, taken) if given else out
            if name in PRODUCTS and (met := self._multiplied(name, args)) is not None:
                given = visit(replace(met.call, valued=met.values))
                return met.put(function(*args, **named), given)
            out = function(*args, **named)
            if name in ("softmax", "_softmax") and _square(out):
                self.open.append((out, _of_weights(names, next(count), WRITTEN, out)))
            elif name in PASSES and self.open:  # the same weights under another name
                self.open += [(out, call) for x, call in self.open if x is args[0]]
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

    with as_found(model), _named(model, names), torch.no_grad(), Watch():
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
    return Call(_last(names), index, SDPA, batch, heads, groups, d, L, T, weigh, lambda: value)


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
def _named(model: Any, names: list[str]) -> Iterator[None]:
    """While it lasts, `names` ends with the module that is running."""
    import torch

    def leave(*_: Any) -> None:  # what a hook returns would replace the output
        names.pop()

    hooks: list[Any] = []
    modules = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    try:
        for name, module in modules:
            hooks += [
                module.register_forward_pre_hook(lambda *_, name=name: names.append(name)),
                module.register_forward_hook(leave, always_call=True),
            ]
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def as_found(model: Any) -> Iterator[None]:
    """Evaluation mode for the run; modes and the random state are put back.

    What `torch.compile` made runs as it was written, since compiled calls are not seen.  Raises
    DTypeError for what torch.jit made, of which no call is seen.
    """
    import torch

    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    if any(isinstance(m, torch.jit.ScriptModule) for m in modules):
        raise DTypeError(
            "inspect, replace: the model or a part of it was made by torch.jit, and what it calls "
            "cannot be seen. Give the module that was scripted or traced"
        )
    modes = [m.training for m in modules]
    state = torch.get_rng_state()
    try:
        for m in modules:
            m.training = False
        with torch.inference_mode(False), _as_written():
            yield
    finally:
        for m, mode in zip(modules, modes, strict=True):
            m.training = mode
        torch.set_rng_state(state)


def _as_written() -> AbstractContextManager[Any]:
    """Compiled functions run uncompiled; nothing where torch has compiled nothing."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    import torch

    return torch.compiler.set_stance("force_eager")
