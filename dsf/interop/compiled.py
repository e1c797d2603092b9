"""What `torch.compile` meets of a module; apart, because this takes a second to import.

Dynamo reads Python line by line and refuses much that our classes use (fields of dataclasses,
numpy's error state); a function that is traced by running it, as `torch.export` does, has no such
limits, and goes into the graph whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import _dynamo as dynamo

WHY = (
    "run(u, state) of a dsf module returns a State, which is no tensor of a graph. Compile the "
    "module, module(u), whole; or leave fullgraph=True out, then run is computed uncompiled."
)


@dynamo.nonstrict_trace
def output(module: Any, u: torch.Tensor) -> torch.Tensor:
    """y [... L H p] of a module, as part of a compiled graph."""
    y: torch.Tensor = module.run(u)[0]
    return y


@torch.compiler.disable(reason=WHY)
def run(module: Any, u: torch.Tensor, state: Any) -> Any:
    """(y, state) of a module, outside of the graph."""
    return module.run(u, state)
