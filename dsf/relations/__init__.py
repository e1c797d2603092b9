"""What is claimed about mechanisms, as data: edges of the lattice, conditions, invariants."""

from __future__ import annotations

from dsf.relations import attention, delta, gates, local, lti, retention, rwkv, ssm, window
from dsf.relations.edge import MADE, Limit, Nesting, identity, same

NESTINGS: tuple[Nesting, ...] = tuple(
    edge
    for module in (retention, attention, ssm, rwkv, delta, gates, lti, window, local)
    for edge in module.EDGES
)

__all__ = ["MADE", "NESTINGS", "Limit", "Nesting", "identity", "same"]
