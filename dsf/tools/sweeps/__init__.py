"""Parameter sweeps: `dsf.sweep` runs a function at every point of a grid, and loses nothing.

    front      the call: the grid, what is kept already, progress
    keys       what a task is: its parameters and its function as text, hence its key and its seed
    outcomes   what comes back: an outcome per task, and the sweep of them
    store      one checksummed file per finished task
    workers    who computes: this process, processes of their own, or a backend of joblib

What a task computes depends on its parameters and the seed, never on who computes it, or when.
"""

from dsf.tools.sweeps.front import shown, sweep
from dsf.tools.sweeps.outcomes import Outcome, Sweep

__all__ = ["Outcome", "Sweep", "shown", "sweep"]
