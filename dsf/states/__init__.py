"""From an operator to a recurrence: how many states it needs, with a system and a certificate.

states     the answers: `realize`, `states_needed`, `hankel_lower`, `hankel_gap`
minimal    exact realization: the rank of every Hankel block
hankel     lower bounds: singular values of Hankel blocks, proved
compress   the system: one sweep of truncations
search     which truncation, and how many states it keeps
verify     the error of what was found, with rounding
apriori    the bounds that theory gives before anything is computed
"""

from dsf.states.apriori import TheoremBound
from dsf.states.minimal import minimal_dims, minimal_realization
from dsf.states.needed import (
    Realization,
    hankel_gap,
    hankel_lower,
    realize,
    states_needed,
)

__all__ = [
    "Realization", "TheoremBound", "hankel_gap", "hankel_lower", "minimal_dims",
    "minimal_realization", "realize", "states_needed",
]  # fmt: skip
