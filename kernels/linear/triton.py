"""Linear attention in Triton: see `triton_forward` and `triton_backward`."""

from dsf.kernels.linear.triton_backward import backward
from dsf.kernels.linear.triton_forward import forward

__all__ = ["backward", "forward"]
