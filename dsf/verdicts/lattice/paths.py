"""The lattice of mechanisms: which one is a special case of which, by chains of proved edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dsf.core.catalogue import family
from dsf.core.certificate import Certificate, Scope
from dsf.core.errors import CertificateError, DTypeError, UnknownNameError
from dsf.core.family import Family
from dsf.relations import NESTINGS
from dsf.relations.edge import Limit, Nesting, where

__all__ = ["NESTINGS", "Limit", "Nesting", "Path", "add", "edge", "edges", "find_path", "hasse"]

_ADDED: list[Nesting] = []


def add(nesting: Nesting) -> Nesting:
    """Enter a nesting of one's own in the lattice, so that `compare` and `find_path` see it.

    Raises CertificateError if it does not prove, DTypeError for what is no nesting.

    >>> add(edge("retnet -> gla"))  # of the table: there already
    <Nesting retnet -> gla>
    """
    if not isinstance(nesting, Nesting):
        raise DTypeError(
            f"lattice.add: needs a dsf.Nesting(special, general, tau, text); got {nesting!r}"
        )
    if not nesting.proof().holds:
        failures = "; ".join(nesting.proof().failures)
        raise CertificateError(f"{nesting.name} is not proved: {failures}")
    if nesting not in edges():
        _ADDED.append(nesting)
    return nesting


def edges() -> tuple[Nesting, ...]:
    """The edges of the table, and those that were added."""
    return (*NESTINGS, *_ADDED)


class Path(tuple[Nesting, ...]):
    """A chain of edges from the special family to the general one.

    An equal edge may be walked in either direction.

    >>> import dsf
    >>> path = find_path(dsf.linear_attn, dsf.gla)
    >>> path.is_limit, path.kind
    (True, 'limit')
    """

    @property
    def is_limit(self) -> bool:
        """Whether one of the edges is a limit."""
        return any(e.kind == "limit" for e in self)

    @property
    def kind(self) -> str:
        """ "equal" if every edge is, "limit" if one of them is, else "nested"."""
        if self.is_limit:
            return "limit"
        return "equal" if all(e.kind == "equal" for e in self) else "nested"

    @property
    def only(self) -> dict[str, int]:
        """The restrictions of sizes of all edges, e.g. {"d": 1}."""
        return {letter: size for e in self for letter, size in e.only.items()}

    @property
    def where(self) -> str:
        """The restrictions of sizes as text, e.g. "d = 1"."""
        return where(self.only)

    @property
    def has_parameters(self) -> bool:
        """Whether the chain also holds at scope mechanism: every edge has a parameter map."""
        return bool(self) and all(e.params is not None for e in self)

    def certificates(self, scope: Scope = Scope.RECURRENCE) -> tuple[Certificate, ...]:
        """The certificates of the edges at one scope."""
        return tuple(e.certificate(scope) for e in self)

    def describe(self) -> str:
        """One line per edge."""
        return "\n".join(e.describe() for e in self)


def find_path(special: Family | str, general: Family | str) -> Path | None:
    """The shortest chain of edges from `special` to `general`, exact edges preferred; None if none.

    A chain without a limit edge is taken however long it is.  Families are compared by class and
    options.  Raises UnknownNameError.

    >>> import dsf
    >>> find_path(dsf.gla, dsf.retnet) is None
    True
    """
    special, general = family(special), family(general)
    exact = [e for e in edges() if e.kind != "limit"]
    return _search(special, general, exact) or _search(special, general, edges())


def _search(special: Family, general: Family, edges: Iterable[Nesting]) -> Path | None:
    came: dict[Family, Path] = {special: Path()}
    queue = deque([special])
    while queue:
        here = queue.popleft()
        if here == general:
            return came[here] or None
        for e in edges:
            there = e.general if e.special == here else e.special if _back(e, here) else None
            if there is not None and there not in came:
                came[there] = Path((*came[here], e))
                queue.append(there)
    return None


def _back(e: Nesting, here: Family) -> bool:
    return e.kind == "equal" and e.general == here


def edge(name: str) -> Nesting:
    """The edge of a name, e.g. `edge("retnet -> gla")`; raises UnknownNameError."""
    for e in edges():
        if e.name == name:
            return e
    raise UnknownNameError(f"no edge {name!r}; known: {', '.join(e.name for e in edges())}")


def hasse() -> tuple[Nesting, ...]:
    """The edges that no chain of other edges implies: what a diagram of the lattice has to draw.

    An edge is dropped if a chain of other edges of the same or a stronger kind joins its ends.
    """
    kept = list(edges())
    for e in edges():
        rest = [f for f in kept if f is not e]
        usable = rest if e.kind == "limit" else [f for f in rest if f.kind != "limit"]
        path = _search(e.special, e.general, usable)
        if path is not None and not path.only:
            kept.remove(e)
    return tuple(kept)
