"""From an operator to a recurrence: how many states it needs, with a system and a certificate.

needed       the questions: `realize`, `states_needed`
realization  the answer: `Realization`, its certificate, its systems (`systems`)
lower        lower bounds by themselves: `hankel_lower`, `hankel_gap`
minimal      exact realization: the rank of every Hankel block
operator     an operator as its directions of time, its norm
search       which truncation, and how many states it keeps
compress     the systems: one sweep of truncations
exact        systems that reproduce the operator, the last resort
hankel       singular values of Hankel blocks, proved
verify       the error of what was found, with rounding (`rounding`)
apriori      the bounds that theory gives before anything is computed
"""

from dsf.states.apriori import TheoremBound
from dsf.states.lower import hankel_gap, hankel_lower
from dsf.states.minimal import minimal_dims, minimal_realization
from dsf.states.needed import realize, states_needed
from dsf.states.realization import Realization

__all__ = [
    "Realization", "TheoremBound", "hankel_gap", "hankel_lower", "minimal_dims",
    "minimal_realization", "realize", "states_needed",
]  # fmt: skip
