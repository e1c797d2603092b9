"""What `dsf.compare` is asked, as one immutable object that every strategy gets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dsf.core.catalogue import family, family_of, unwrapped
from dsf.core.certificate import Certificate, Scope
from dsf.core.errors import DomainError, ShapeError, UnknownNameError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence
from dsf.states.inputs import Tolerance, number
from dsf.verdicts.rules import Sides
from dsf.verdicts.separations import separate

Side = Family | Mechanism | AnyRecurrence


@dataclass(frozen=True, eq=False)
class Question:
    """Two sides and, with an input, how much they may differ there.

    names        of the two sides, as they were given
    left, right  families, instances, or a `recurrence(n)`; with an input u they are drawn
    u            [L d], or None
    d            the model width, where an answer depends on it
    states       how many states an approximation may have (with u)
    tolerance    the error that an approximation may have (with u)
    time_limit   seconds for the approximation (with u)
    """

    names: tuple[str, str]
    left: Side
    right: Side
    u: Any
    d: int | None
    states: int
    tolerance: Tolerance
    time_limit: float

    def __post_init__(self) -> None:
        d, seconds = self.d, self.time_limit
        if not number("compare", "time_limit", seconds) > 0:
            raise DomainError(f"compare: time_limit is in seconds, and positive; got {seconds}")
        if d is not None and (not isinstance(d, int) or d < 1):
            raise ShapeError(
                f"compare: d, the model width, must be an integer of at least 1; got {d!r}"
            )

    @property
    def scope(self) -> Scope:
        """For what the answer holds."""
        if self.u is not None:
            return Scope.OPERATOR
        both = isinstance(self.left, Mechanism) and isinstance(self.right, Mechanism)
        return Scope.INSTANCE if both else Scope.RECURRENCE

    @property
    def sides(self) -> Sides:
        """The two sides by name, for the sentences of findings."""
        return Sides(*self.names, self.scope, self.d)

    @property
    def families(self) -> tuple[Family, Family] | None:
        """Both sides if both are families."""
        if isinstance(self.left, Family) and isinstance(self.right, Family):
            return self.left, self.right
        return None

    @cached_property
    def separations(self) -> tuple[Certificate, ...]:
        """All proofs that one of two families is not nested in the other."""
        sides = [s for s in (self.left, self.right) if not isinstance(s, Mechanism)]
        return separate(*sides) if len(sides) == 2 else ()


def side(x: Any) -> Side:
    """A side of a comparison from what was given, also a module; UnknownNameError otherwise."""
    x = unwrapped(x)
    if isinstance(x, (Mechanism, AnyRecurrence)):
        return x
    if isinstance(x, (Family, str)):
        return family(x)
    raise UnknownNameError(
        f"compare: expected a family, its name, an instance or dsf.recurrence(n); got {x!r}"
    )


def name(x: Side) -> str:
    """The name of a side; of an instance that of its family."""
    return str(family_of(x) if isinstance(x, Mechanism) else x)


def drawn(x: Side, u: Any, n: int, p: int | None, seed: int) -> Side:
    """A family drawn at the width of the input u; other sides, and without u all, as they are."""
    if u is None or not isinstance(x, Family):
        return x
    if np.ndim(u) != 2:
        raise ShapeError(f"compare: u must be one sequence [L d]; got {np.shape(u)}")
    return x.init(d=np.shape(u)[-1], n=n, p=p, seed=seed)
