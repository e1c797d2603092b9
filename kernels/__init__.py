"""Fast array code, one kernel per structure of the recurrence: for CPUs, GPUs, and torch."""

import sys

from dsf.core import hooks
from dsf.kernels.backends import last_backend
from dsf.kernels.fronts import (
    delta_rule,
    gradient_flow,
    linear_attention,
    local_linear_attention,
    low_rank_rule,
    scan,
    selective_scan,
    softmax_attention,
)

__all__ = [
    "delta_rule",
    "gradient_flow",
    "last_backend",
    "linear_attention",
    "local_linear_attention",
    "low_rank_rule",
    "scan",
    "selective_scan",
    "softmax_attention",
]

if "torch" in sys.modules:  # now rather than while torch traces a graph, where nothing is imported
    hooks.load_torch_kernels()
