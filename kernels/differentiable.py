"""Kernels as operators of torch: gradients, vmap, compiled graphs.

Two custom operators carry every structure, so that a compiled graph holds them as one node; a
`torch.autograd.Function` around the first calls the second.  There is no rule for forward-mode
derivatives, so torch raises there, and none for second derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsf.core import hooks
from dsf.core.arrays import at_least_float32
from dsf.core.errors import KernelError
from dsf.kernels import backends

LIBRARY = torch.library.Library("dsf", "DEF")
LIBRARY.define(
    "kernel(str structure, str backend, Tensor[] arrays, float[] numbers, bool keep) -> Tensor[]"
)
LIBRARY.define(
    "kernel_backward(str structure, str backend, Tensor[] arrays, Tensor[] outputs, "
    "float[] numbers, Tensor dy, Tensor dlast) -> Tensor[]"
)


def _forward(
    structure: str, backend: str, arrays: list[Tensor], numbers: list[float], keep: bool
) -> list[Tensor]:
    asked = (True,) if backends.keeps(structure, backend, keep) else ()
    return _computed(structure, backend, "forward", arrays, numbers, *asked)


def _backward(
    structure: str, backend: str, arrays: list[Tensor], outputs: list[Tensor],
    numbers: list[float], dy: Tensor, dlast: Tensor,
) -> list[Tensor]:  # fmt: skip
    return _computed(structure, backend, "backward", [*arrays, *outputs], numbers, dy, dlast)


for _device in ("CPU", "CUDA"):
    LIBRARY.impl("kernel", _forward, _device)
    LIBRARY.impl("kernel_backward", _backward, _device)


def _computed(
    structure: str, backend: str, part: str, arrays: list[Tensor], numbers: list[float],
    *rest: Any,
) -> list[Tensor]:  # fmt: skip
    args: list[Any] = [*arrays, *numbers, *rest]
    if backend == "numba":
        args = [backends.as_numpy(x) if isinstance(x, Tensor) else x for x in args]
    outputs = backends.computed(structure, backend, *args, part=part)
    return list(map(torch.from_numpy, outputs) if backend == "numba" else outputs)


def _outputs_like(structure: str, backend: str, arrays: list[Tensor], keep: bool) -> list[Tensor]:
    y, *others = backends.outputs_like(structure, backend, arrays, keep)
    wide = at_least_float32(arrays[0][:0]).dtype
    return [arrays[0].new_empty(y), *(arrays[0].new_empty(x, dtype=wide) for x in others)]


@torch.library.register_fake("dsf::kernel", lib=LIBRARY)
def _(
    structure: str, backend: str, arrays: list[Tensor], numbers: list[float], keep: bool
) -> list[Tensor]:
    return _outputs_like(structure, backend, arrays, keep)


@torch.library.register_fake("dsf::kernel_backward", lib=LIBRARY)
def _(
    structure: str, backend: str, arrays: list[Tensor], outputs: list[Tensor],
    numbers: list[float], dy: Tensor, dlast: Tensor,
) -> list[Tensor]:  # fmt: skip
    return [x.new_empty(x.shape) for x in arrays]


# --------------------------------------------------------------------- vmap
def _folded(size: int, arrays: list[Tensor], dims: list[int | None]) -> list[Tensor]:
    """The mapped axis as a part of the first one, which all kernels treat as independent."""
    moved = [
        x.expand(size, *x.shape) if d is None else x.movedim(d, 0)
        for x, d in zip(arrays, dims, strict=True)
    ]
    return [x.flatten(0, 1) for x in moved]


def _unfolded(size: int, outputs: Any) -> list[Tensor]:
    return [x.unflatten(0, (size, x.shape[0] // size)) for x in outputs]


@torch.library.register_vmap("dsf::kernel_backward", lib=LIBRARY)
def _(
    info: Any, dims: Any, structure: str, backend: str, arrays: list[Tensor],
    outputs: list[Tensor], numbers: list[float], dy: Tensor, dlast: Tensor,
) -> Any:  # fmt: skip
    size, n = info.batch_size, len(arrays)
    whole = _folded(size, [*arrays, *outputs, dy, dlast], [*dims[2], *dims[3], dims[5], dims[6]])
    found = torch.ops.dsf.kernel_backward(
        structure, backend, whole[:n], whole[n:-2], numbers, *whole[-2:]
    )
    return _unfolded(size, found), [0] * n


class _Once(torch.autograd.Function):
    """Gradients as they are, whose own gradients are refused: they would silently be zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(count: int, *tensors: Tensor) -> Any:
        return tuple(x.view_as(x) for x in tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise KernelError(
            "kernels have first derivatives only. Likely cause: a Hessian, or create_graph=True. "
            "Use backend='reference', which torch differentiates as often as you like."
        )


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        structure: str, backend: str, numbers: list[float], keep: bool, *arrays: Tensor
    ) -> Any:
        return tuple(torch.ops.dsf.kernel(structure, backend, list(arrays), numbers, keep))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.structure, ctx.backend, ctx.numbers, _, *arrays = inputs
        ctx.count = len(arrays)
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)  # zeros as large as what is kept
        ctx.save_for_backward(*arrays, *backends.kept(ctx.structure, output))

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None, *_: None) -> Any:
        saved = ctx.saved_tensors  # once: a checkpoint gives them no second time
        arrays, outputs = saved[: ctx.count], saved[ctx.count :]
        like = _outputs_like(ctx.structure, ctx.backend, list(arrays), False)
        dy, dlast = (
            torch.zeros_like(z) if x is None else x for x, z in zip((dy, dlast), like, strict=True)
        )
        found = torch.ops.dsf.kernel_backward(
            ctx.structure, ctx.backend, list(arrays), list(outputs), ctx.numbers, dy, dlast
        )
        if not torch.compiler.is_compiling():
            found = _Once.apply(len(found), *found, *arrays, dy, dlast)
        return None, None, None, None, *found

    @staticmethod
    def vmap(
        info: Any, dims: Any, structure: str, backend: str, numbers: Any, keep: bool,
        *arrays: Tensor,
    ) -> Any:  # fmt: skip
        whole = _folded(info.batch_size, list(arrays), list(dims[4:]))
        keep = keep or _differentiated(whole)  # a tensor does not tell outside of vmap
        outputs = _Kernel.apply(structure, backend, numbers, keep, *whole)
        return tuple(_unfolded(info.batch_size, outputs)), (0,) * len(outputs)


def _differentiated(arrays: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in arrays)


def run(
    structure: str, backend: str, arrays: list[Tensor], numbers: list[float]
) -> tuple[Tensor, Tensor]:
    """(y, last state), with gradients of every array."""
    if backend in ("reference", "torch"):
        return _by_torch(structure, backend, arrays, numbers)
    y, last, *_ = _Kernel.apply(structure, backend, numbers, _differentiated(arrays), *arrays)
    return y, last


def _by_torch(
    structure: str, backend: str, arrays: list[Tensor], numbers: list[float]
) -> tuple[Tensor, Tensor]:
    """Operations of torch, which torch differentiates itself."""
    if torch.compiler.is_compiling():
        forward = backends.module(structure, backend).forward
        return forward(*arrays, *numbers)
    return backends.computed(structure, backend, *arrays, *numbers)


hooks.torch_kernel = run
