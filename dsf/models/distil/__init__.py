"""Students with few states: certified floors, truncations, fits.

front    `distil`
floor    the least error of a number of states, with proof
gauge    realizations, and the choices of coordinates from which fits start
frozen   kernels of a mechanism of the catalogue with free tokens
starts   where the fit of a class starts
fit      L-BFGS on free tokens
report   what comes back
"""

from dsf.models.distil.front import distil
from dsf.models.distil.report import Distilled

__all__ = ["Distilled", "distil"]
