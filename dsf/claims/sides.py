"""Claims about families: reading their names, and the equations that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.reading import require, text
from dsf.core.catalogue import family as by_name
from dsf.core.errors import CertificateError, DSFError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence

AS_STORED = "(parameters as stored, exact arithmetic)"


class FamilyClaim(Claim):
    """A claim that names families; those outside the package go by module and hash."""

    def equations(self) -> Iterator[Any]:
        for f in fields(self):  # type: ignore[arg-type]  # every kind is a dataclass
            value = getattr(self, f.name)
            if isinstance(value, Family):
                yield from value.cls.__mro__


def family(x: Any, name: str) -> Family:
    """A family of the catalogue, written as it prints itself."""
    try:
        found = by_name(text(x, name))
    except DSFError as e:
        raise CertificateError(f"{name}: {e}") from e
    require(repr(found) == x, f"{name} is written {found!r}, not {x!r}")
    return found


def side(x: Any, name: str) -> Family | AnyRecurrence:
    """A family, or every recurrence with n states."""
    number = re.search(r"with ([1-9][0-9]{0,5}) state", text(x, name))
    for flag in (False, True):
        if number and repr(AnyRecurrence(int(number[1]), flag)) == x:
            return AnyRecurrence(int(number[1]), flag)
    return family(x, name)


def instance(f: Family, parameters: Mapping[str, Any]) -> Mechanism:
    """The mechanism with the stored arrays: all that its class needs, and no others."""
    needed = f.cls.drawn_with(f.defaults())
    require(parameters.keys() == needed.keys(), f"{f} has the parameters {', '.join(needed)}")
    like = f.init(d=2, n=2, p=2).parameters()
    odd = [k for k, x in parameters.items() if k in like and np.ndim(x) != np.ndim(like[k])]
    require(not odd, f"{', '.join(odd)} has another number of axes than in {f}")
    return replace(f.without_parameters(), **parameters)
