"""The table of edges.  This package holds maps only; `dsf.prover` proves, `dsf.check` recomputes."""

from __future__ import annotations

from dsf.nestings import decay, delta, gates, lti
from dsf.nestings.edge import Limit, Nesting, identity, same

NESTINGS: tuple[Nesting, ...] = (*decay.EDGES, *delta.EDGES, *gates.EDGES, *lti.EDGES)

__all__ = ["NESTINGS", "Limit", "Nesting", "identity", "same"]
