"""Fast array code, one kernel per structure of the recurrence: for this CPU, for GPUs, for torch."""

from dsf.kernels.dispatch import last_backend
from dsf.kernels.fronts import linear_attention

__all__ = ["last_backend", "linear_attention"]
