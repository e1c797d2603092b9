"""The lattice: which mechanism is a special case of which, by chains of proved edges."""

from dsf.verdicts.lattice.paths import (
    NESTINGS,
    Limit,
    Nesting,
    Path,
    add,
    edge,
    edges,
    find_path,
    hasse,
)

__all__ = ["NESTINGS", "Limit", "Nesting", "Path", "add", "edge", "edges", "find_path", "hasse"]
