"""Claims about families: reading their names, and the equations that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dsf.claims.base import Claim
from dsf.claims.exact_tokens import BITS
from dsf.claims.reading import require, text
from dsf.core import ops
from dsf.core.catalogue import family as by_name
from dsf.core.errors import CertificateError, DSFError
from dsf.core.family import Family
from dsf.core.mechanism import Mechanism
from dsf.core.opponents import AnyRecurrence
from dsf.core.worlds import balls, precision

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
    """The mechanism with the stored arrays: all that its class needs, and no others.

    Their shapes are those declared, with one size for each letter, and the constants that they make
    lie in their domains.
    """
    needed = f.cls.drawn_with(f.defaults())
    require(parameters.keys() == needed.keys(), f"{f} has the parameters {', '.join(needed)}")
    _one_size_each({k: (d.axes, np.shape(parameters[k])) for k, d in needed.items()}, f)
    mech = replace(f.without_parameters(), **parameters)
    if not all(field.per_token for field in mech.token_fields.values()):
        with precision(BITS):
            inside(mech.map(balls))
    return mech


def _one_size_each(found: dict[str, tuple[tuple[str, ...], tuple[int, ...]]], f: Family) -> None:
    """Each axis of the parameters, such as (H, d, n/2), has the size that its letter has."""
    sizes = {k: v for k, v in f.defaults().items() if type(v) is int}
    for name, (axes, shape) in found.items():
        require(len(axes) == len(shape), f"{name} [{' '.join(axes)}] has the shape {shape}")
        for axis, n in zip(axes, shape, strict=True):
            if axis.isidentifier():
                require(
                    n == sizes.setdefault(axis, n) > 0, f"the axis {axis} of {name} has size {n}"
                )
    for name, (axes, shape) in found.items():
        for axis, n in zip(axes, shape, strict=True):
            if not axis.isidentifier():
                letter, _, divisor = axis.partition("/")
                known = letter.isdigit() or letter in sizes
                whole = int(letter) if letter.isdigit() else sizes.get(letter, 0)
                fits = known and n == whole // int(divisor or 1)
                require(fits, f"the axis {axis} of {name} has size {n}")


def inside(mech: Mechanism) -> None:
    """The constants that parameters make lie in their domains; tokens do so by their equations."""
    tok = mech.tokens(ops.zeros((1, mech.d), next(iter(mech.parameters().values()))))
    for name, field in mech.token_fields.items():
        if not field.per_token and name in tok.names:
            flat = np.asarray(getattr(tok, name)).flat
            require(field.domain.holds(flat), f"the token {name} leaves its domain {field.domain}")
