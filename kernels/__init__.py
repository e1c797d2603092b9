"""Fast array code, one kernel per structure of the recurrence: for CPUs, GPUs, and torch."""

from dsf.kernels.dispatch import last_backend
from dsf.kernels.fronts import (
    delta_rule,
    linear_attention,
    low_rank_rule,
    scan,
    selective_scan,
)

__all__ = [
    "delta_rule",
    "last_backend",
    "linear_attention",
    "low_rank_rule",
    "scan",
    "selective_scan",
]
