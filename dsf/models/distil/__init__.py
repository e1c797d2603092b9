"""Students with few states: certified floors, truncations, fits.

front    `distil`
floor    the least error of a number of states, with proof
gauge    realizations, and the choices of coordinates from which fits start
frozen   kernels of a mechanism of the catalogue with free tokens
starts   where the fit of a class starts
fit      L-BFGS on free tokens
report   what comes back of a kernel
student  maps of inputs to tokens, fitted to kernels
learned  what comes back of kernels with their inputs
"""

from dsf.models.distil.front import distil
from dsf.models.distil.learned import Learned
from dsf.models.distil.report import Distilled

__all__ = ["Distilled", "Learned", "distil"]
