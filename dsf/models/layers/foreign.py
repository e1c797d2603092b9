"""Layers of other libraries, of which no equations are known: one call of them, made again.

A layer is called as the model called it, with its masks and flags, but along a sequence alone and
without caches, in float64, or in float32 where its kernels take nothing wider.  What it then
returns is compared with what it returned in the model, and its derivatives with differences: a
layer that went on from a cache, or whose kernels hide their derivatives, is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dsf.core.errors import DomainError, DSFError
from dsf.jacobians.products import Products

WHOLE = (
    "MambaMixer", "Mamba2Mixer", "BambaMixer", "FalconH1Mixer", "MambaLayer", "GatedDeltaNet",
    "DeltaAttention", "LightningAttention", "RecurrentBlock", "RwkvSelfAttention", "ShortConv",
)  # fmt: skip
ROOMS = ("fla.layers", "mamba_ssm.modules")  # all of whose modules are such layers
CLOSE, CLOSE_IN_HALF = 1e-2, 5e-2  # of two runs in different precisions, relative
STEPS = (1e-3, 1e-5)  # of differences, relative to the input: for kernels of float32, for bends
SLOPE = 1e-2  # of differences to derivatives, relative


def is_foreign(module: Any) -> bool:
    """Whether a module is a token mixer of another library, by its class."""
    kind = type(module)
    return kind.__name__.endswith(WHOLE) or kind.__module__.startswith(ROOMS)


@dataclass(frozen=True, eq=False)
class Made:
    """One call of a layer: with what, and what it returned.

    `at` is where the tokens [batch L d] stand among the arguments: a number or a name.
    """

    module: Any
    args: tuple[Any, ...]
    named: dict[str, Any]
    at: int | str
    output: Any

    def along(self, x: Any, sequence: int) -> Any:
        """What the layer returns [L r] for other tokens [L d] in the place of a sequence."""
        args = [self._again(a, sequence, x.dtype) for a in self.args]
        named = {name: self._again(a, sequence, x.dtype) for name, a in self.named.items()}
        named |= {"use_cache": False} if named.get("use_cache") else {}
        if isinstance(self.at, str):
            named[self.at] = x[None]
        else:
            args[self.at] = x[None]
        return first(self.module(*args, **named))[0].flatten(1)

    @property
    def tokens(self) -> Any:
        """The tokens [batch L d] that the layer read."""
        x = self.named[self.at] if isinstance(self.at, str) else self.args[self.at]
        return x.reshape(-1, *x.shape[-2:])

    def _again(self, x: Any, sequence: int, dtype: Any) -> Any:
        """An argument for one sequence; None for lists, caches, and what else a call may change."""
        import torch

        if isinstance(x, tuple):
            return tuple(self._again(part, sequence, dtype) for part in x)
        if not torch.is_tensor(x):
            return x if x is None or isinstance(x, (bool, int, float, str)) else None
        batch = len(self.tokens)
        x = x[sequence : sequence + 1] if batch > 1 and x.ndim and len(x) == batch else x
        return x.to(dtype) if x.is_floating_point() else x


def derivatives(made: Made, copied: Callable[[Any], Any], sequence: int) -> tuple[Products, str]:
    """The derivatives of a call along a sequence, and what has to be said of them.

    `copied` makes a copy of the module in a dtype.  Raises DomainError where the layer alone does
    not run, returns something else, or has derivatives that differences contradict.
    """
    import torch

    name, refused = type(made.module).__name__, ""
    for dtype in (torch.float64, torch.float32):
        here = Made(copied(dtype), made.args, made.named, made.at, None)
        u = made.tokens[sequence].detach().to(dtype)

        def call(x: Any, here: Made = here) -> Any:
            return here.along(x, sequence)

        try:
            products = Products(call, u)
        except DSFError:
            raise
        except Exception as e:  # whatever another library raises
            refused = refused or _says(e)
            continue
        require_same(name, products.y, first(made.output)[sequence].flatten(1))
        require_derivatives(name, products, call)
        return products, f"derivatives in float32 ({refused})" if refused else ""
    raise DomainError(f"layers: {name} alone runs neither in float64 nor in float32: {refused}")


def first(y: Any) -> Any:
    """The output of a layer that returns more beside it."""
    return y[0] if isinstance(y, tuple) else y


def require_same(name: str, alone: Any, before: Any) -> None:
    """DomainError unless a layer alone returns what it returned in the model."""
    allowed = CLOSE if before.element_size() > 2 else CLOSE_IN_HALF
    y, wanted = alone.detach().double(), before.detach().double()
    gap = float((y - wanted).norm()) if y.shape == wanted.shape else float("inf")
    if not gap <= allowed * float(wanted.norm()):
        raise DomainError(
            f"layers: {name} alone returns something else than in the model (difference "
            f"{gap:.2g}, output {float(wanted.norm()):.2g}), so it reads more than its input. "
            "Likely cause: a cache that it goes on from. Give the whole text in one call, without "
            "a cache (use_cache=False)"
        )


def require_derivatives(name: str, products: Products, f: Callable[[Any], Any]) -> None:
    """DomainError unless <J'W, V> = <W, W> for the differences W = (f(u + hV) - f(u - hV)) / 2h.

    For one of the steps h: large ones leave a bend, small ones sink into the rounding of float32.
    """
    import torch

    u = products.u.detach()
    V = torch.randn(u.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(u)
    scale = float(u.square().mean()) ** 0.5 or 1.0
    found = []
    for h in (scale * step for step in STEPS):
        with torch.no_grad():
            W = (f(u + h * V) - f(u - h * V)) / (2 * h)
        back = torch.as_tensor(products.adjoint(W[..., None])[..., 0]).to(V)
        found.append((float((back * V).sum()), float(W.square().sum())))
        if abs(found[-1][0] - found[-1][1]) <= SLOPE * found[-1][1]:
            return
    told, size = found[0]
    raise DomainError(
        f"layers: the derivatives of {name} are not those of its differences ({told:.3g} and "
        f"{size:.3g} along one direction). Likely cause: kernels that have no backward pass, or a "
        "step that is not smooth"
    )


def _says(e: Exception) -> str:
    """What was raised, in a line."""
    return f"{type(e).__name__}: {(str(e).splitlines() or [''])[0][:200]}"


@contextmanager
def told(model: Any) -> Iterator[None]:
    """DomainError where a layer of another library does not run, in place of what it raised."""
    import torch

    raised: list[tuple[str, Any, BaseException | None]] = []

    def leave(name: str, module: Any, out: Any) -> None:
        if out is None:
            raised.append((name, module, sys.exc_info()[1]))

    modules = model.named_modules() if isinstance(model, torch.nn.Module) else ()
    hooks = [
        m.register_forward_hook(lambda m, _, y, name=name: leave(name, m, y), always_call=True)
        for name, m in modules if is_foreign(m)
    ]  # fmt: skip
    try:
        yield
    except Exception as e:
        where = next(((name, m) for name, m, x in raised if x is e), None)
        if where is None:
            raise
        name, module = where
        library = type(module).__module__.partition(".")[0]
        raise DomainError(
            f"inspect: {name or 'the model'} ({type(module).__name__} of {library}) does not run "
            f"here: {_says(e)}. Likely cause: its kernels are written for a GPU, and do not take "
            "this device, dtype or shape. Move the model and its inputs to a GPU, or put plain "
            "functions of torch in the place of its kernels"
        ) from e
    finally:
        for hook in hooks:
            hook.remove()
