"""A mechanism as a torch module: its parameter arrays become torch parameters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch

from dsf.core.arrays import at_least_float32, layer_dtype
from dsf.core.errors import DTypeError, UnknownNameError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.state import State


class Module(torch.nn.Module):
    """Any mechanism as a `torch.nn.Module`, one class for all of them.

    Parameters carry the names of the mechanism's fields, and its numbers in its dtype: float64 from
    `init`, until converted (`module.float()`); a new layer in torch's default dtype comes from
    `Family.to_torch`.  Those in `fixed` become buffers: they move with the module and are not
    trained, e.g. `Module(mech, fixed=["gamma"])` for the published decays of RetNet.  It may be
    transformed by torch.func, compiled, exported, parametrised and pruned; inside of transforms
    values cannot be looked at, so the checks of inputs and overflow are left out there.
    Raises UnknownNameError if `fixed` names no parameter.

    >>> import dsf
    >>> module = dsf.gla.init(d=4, n=2, p=3).to_torch()
    >>> module(torch.ones(5, 4, dtype=torch.float64)).shape
    torch.Size([5, 3])
    >>> module.mech.Wq.dtype
    dtype('float64')
    """

    def __init__(self, mech: Mechanism, fixed: Collection[str] = ()) -> None:
        super().__init__()
        arrays = mech.parameters()
        unknown = set(fixed) - set(arrays)
        if unknown:
            raise UnknownNameError(
                f"Module: {mech.name} has no parameter {', '.join(sorted(unknown))}; "
                f"parameters: {', '.join(arrays)}"
            )
        self._mechanism = mech
        for name, x in arrays.items():
            value = torch.tensor(x) if not torch.is_tensor(x) else x.detach().clone()
            if name in fixed:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, torch.nn.Parameter(value))

    def live(self) -> Any:
        """The mechanism with the parameters themselves, so that gradients reach them."""
        names = self._mechanism.parameters()  # as attributes, which parametrisations compute
        return replace(self._mechanism, **{name: getattr(self, name) for name in names})

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """y [... L H p] for u [... L d]; in torch.compile one part of the graph."""
        if torch.compiler.is_dynamo_compiling():
            from dsf.interop.compiled import output

            return output(self, u)
        return self.run(u)[0]

    def run(self, u: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """(y, state), as `Mechanism.run`; y in the dtype in which a layer of torch returns it.

        That is the wider one of u and the parameters, or that of autocast.  Everything is computed
        in at least float32, in which the state stays.  torch.compile leaves it uncompiled.
        """
        if torch.compiler.is_dynamo_compiling():
            from dsf.interop import compiled

            return compiled.run(self, u, state)
        mech = self.live()
        if torch.jit.is_tracing():
            raise DTypeError(
                f"{mech.name}: torch.jit.trace turns lengths into tensors, which the equations do "
                "not take. Use torch.compile(module) or torch.export.export(module, (u,))."
            )
        y, state = mech.run(u, state)
        return y.to(layer_dtype(u, *mech.parameters().values())), state

    @property
    def mech(self) -> Any:
        """The mechanism with the present numbers, as numpy arrays of at least float32."""
        return self.live().map(lambda x: at_least_float32(x.detach()).cpu().numpy().copy())

    def extra_repr(self) -> str:
        return repr(self._mechanism)


def layer(
    family: Family, d: int, n: int | None, p: int | None, heads: int, seed: int | None
) -> Module:
    """A new layer of a family, in torch's default dtype; see `Family.to_torch`."""
    if seed is None:
        seed = int(torch.randint(2**63 - 1, (), device="cpu"))
    module = Module(family.init(d, n, p, heads, seed))
    return module.to(torch.get_default_dtype())
