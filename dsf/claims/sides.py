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
from dsf.core.fields import size
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

    Their shapes are those declared, with one size for each letter, and the constants and tokens
    that they make at the input 0 lie in their domains.
    """
    needed = f.cls.drawn_with(f.defaults())
    require(parameters.keys() == needed.keys(), f"{f} has the parameters {', '.join(needed)}")
    _one_size_each({k: (d.axes, np.shape(parameters[k])) for k, d in needed.items()}, f)
    mech = replace(f.without_parameters(), **parameters)
    with precision(BITS):
        _inside(mech.map(balls))
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
        wanted = tuple(size(axis, sizes) for axis in axes)  # UnknownNameError if a letter has none
        require(shape == wanted, f"{name} [{' '.join(axes)}] must be {wanted}; got {shape}")


def _inside(mech: Mechanism) -> None:
    """At the input 0 the constants lie in their domains, and no token certainly leaves its own."""
    tok = mech.tokens(ops.zeros((1, mech.d), next(iter(mech.parameters().values()))))
    for name, field in mech.token_fields.items():
        if name not in tok.names:
            continue
        flat, wrong = np.asarray(getattr(tok, name)).flat, f"the token {name} leaves its domain"
        if field.per_token:
            gone = any(field.domain.leaves(x) for x in flat)
            require(not gone, f"{wrong} {field.domain} at the input 0")
        else:
            require(field.domain.holds(flat), f"{wrong} {field.domain}")
