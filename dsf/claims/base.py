"""What every kind of claim has in common.

A kind of claim is one frozen dataclass: its fields are the witnesses and bounds, each with what
reads it; `statement` is the sentence made from them; `check` recomputes it from them alone.

    @dataclass(frozen=True, eq=False, kw_only=True)
    class SameFamily(Claim, kind="same-family"):
        scope, strength = Scope.RECURRENCE, Strength.EXACT
        left: Family = witness(family)
        ...

It registers itself by its kind; its module is named in `dsf/__init__.py`, which imports it when a
certificate is checked.  A finder makes the claim and calls `certificate()`, which copies arrays.
`read` is the way back, for all kinds: no field missing, none surplus, each of its type, and
sentence, scope, strength, bounds, residuals and reference are those that the claim has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from dsf.claims.reading import Record, read_fields, require
from dsf.core import foreign
from dsf.core.certificate import Certificate

KINDS: dict[str, type[Claim]] = {}
# what a certificate prints beside its witnesses: for each kind a constant, or a field that is read
HEADER = ("scope", "strength", "lower", "upper", "residuals", "reference")


class Claim:
    """A statement with its witnesses; see the module."""

    kind: str
    scope: Any
    strength: Any
    lower: Any = None
    upper: Any = None
    residuals: Any = MappingProxyType({})
    reference: Any = ""

    def __init_subclass__(cls, kind: str = "") -> None:
        if kind:
            cls.kind = kind
            KINDS[kind] = cls

    @property
    def statement(self) -> str:
        """The sentence made from the fields."""
        raise NotImplementedError

    def check(self) -> None:
        """Recompute the claim from the fields; CertificateError if it does not follow."""
        raise NotImplementedError

    @property
    def sentence(self) -> str:
        """The statement, and which modules outside the package define what it is about."""
        return self.statement + foreign.sentence(self.sources())

    def sources(self) -> dict[str, str]:
        """Module -> hash of the equations in it, for what the package does not define itself."""
        return foreign.sources(self.equations())

    def equations(self) -> Iterator[Any]:
        """The classes and functions that define what the claim is about; none for numbers."""
        yield from ()

    def certificate(self) -> Certificate:
        """The claim as a certificate: what is printed, stored and checked."""
        witnesses = {k: x for k, x in _plain(self).items() if k not in HEADER}
        sources = self.sources()
        if sources:
            witnesses["sources"] = sources
        return Certificate(
            self.kind, self.sentence, self.scope, self.strength, self.lower, self.upper, witnesses,
            dict(self.residuals), self.reference,
        )  # fmt: skip


def read(c: Certificate) -> Claim:
    """The claim of a certificate; CertificateError unless every part of it is the claim's."""
    cls = KINDS[c.kind]
    require(isinstance(c.witnesses, Mapping), "the witnesses must be a mapping")
    given = dict(c.witnesses)
    told = given.pop("sources", {})
    foreign.loaded(told)
    require(not set(HEADER) & given.keys(), "a bound or a scope stands among the witnesses")
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    given |= {name: getattr(c, name) for name in HEADER if name in names}
    claim = cls(**read_fields(cls, given))
    for name in set(HEADER) - names:
        wanted, got = getattr(claim, name), getattr(c, name)
        alike = isinstance(got, Mapping) if name == "residuals" else type(got) is type(wanted)
        same = alike and got == wanted
        require(same, f"the {name} of such a claim is {_shown(wanted)}; got {_shown(got)}")
    here = claim.sources()
    require(told == here, f"the equations have changed: claimed for {told}, here are {here}")
    require(c.claim == claim.sentence, f"the witnesses make the claim {claim.sentence!r}")
    return claim


def _plain(record: Any) -> dict[str, Any]:
    """The fields that are not None as data that JSON can hold; arrays are copied."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {k: _data(x) for k, x in values.items() if x is not None}


def _data(x: Any) -> Any:
    if isinstance(x, Record):
        return _plain(x)
    if isinstance(x, np.ndarray):
        texts = x.dtype == object  # of fractions
        return np.asarray(np.frompyfunc(str, 1, 1)(x), dtype=object) if texts else np.array(x)
    if isinstance(x, (list, tuple)):
        return [_data(e) for e in x]
    if isinstance(x, Mapping):
        return {k: _data(e) for k, e in x.items()}
    if isinstance(x, Fraction):
        return str(x)
    known = (str, bool, int, float, np.generic, Enum)
    return x if isinstance(x, known) else repr(x)  # families are written by their names


def _shown(x: Any) -> str:
    return str(getattr(x, "value", dict(x) if isinstance(x, Mapping) else x))
