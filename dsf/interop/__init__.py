"""Ways out to other libraries and back in.

    to_scipy, to_control          a constant system, or one step, as a state space model
    to_sympy, to_latex            the matrices of every step and the kernel, for reading and proving
    to_pandas                     kernel, coefficients or sizes as a data frame
    fla                           functions of flash-linear-attention, by their names and arguments
    from_fla, to_fla              tokens in the layout [B T H K] of flash-linear-attention
    from_mamba, to_mamba          tokens in the layout [B D L] of the selective scan

A system here is S_t = A_t S_{t-1} + B_t X_t, read after or before the update; state space models of
other libraries are time-invariant and read before it.  The converters say what they change.
"""

from dsf.interop.layouts import from_fla, from_mamba, to_fla, to_mamba
from dsf.interop.lti import to_control, to_scipy
from dsf.interop.symbolic import SymbolicSystem, named_functions, to_latex, to_sympy
from dsf.interop.tables import to_pandas

__all__ = [
    "SymbolicSystem", "from_fla", "from_mamba", "named_functions", "to_control", "to_fla",
    "to_latex", "to_mamba", "to_pandas", "to_scipy", "to_sympy",
]  # fmt: skip
