"""The table of edges: maps only.  `dsf.prover` proves them, `dsf.check` recomputes the claims."""

from __future__ import annotations

from dsf.nestings import attention, delta, gates, lti, retention, rwkv, ssm
from dsf.nestings.edge import HONESTY, Limit, Nesting, identity, same

NESTINGS: tuple[Nesting, ...] = tuple(
    edge for module in (retention, attention, ssm, rwkv, delta, gates, lti) for edge in module.EDGES
)

__all__ = ["HONESTY", "NESTINGS", "Limit", "Nesting", "identity", "same"]
