"""The catalogue: every named mechanism, found in its file; nothing is entered by hand."""

from __future__ import annotations

import difflib
import re
from typing import Any

from dsf.core import hooks
from dsf.core.errors import UnknownNameError
from dsf.core.family import Family
from dsf.core.mechanism import NAMED, Mechanism


def families() -> dict[str, Family]:
    """All named families, those of the package first; a user's class enters when it is defined.

    >>> len(families()) >= 20, families()["gla"].cls.__name__
    (True, 'GLA')
    """
    hooks.load_mechanisms()
    return {name: Family(name, cls, static) for name, (cls, static) in NAMED.items()}


def variants(of: Family) -> list[Family]:
    """The families that differ from one in one option, and the combinations its class declares.

    >>> import dsf
    >>> variants(dsf.retnet)
    [retnet(rotation=True), retnet(rotation='qk')]
    """
    single = [
        {name: value}
        for name, option in of.cls.choices().items()
        for value in option.values
        if value != of.defaults()[name]
    ]
    return [] if of.static else [of(**chosen) for chosen in (*single, *of.cls.tried)]


def everything() -> list[Family]:
    """All named families, each followed by its variants: what contract, atlas and tests go over.

    >>> import dsf
    >>> dsf.retnet in everything() and dsf.retnet(rotation=True) in everything()
    True
    """
    return [g for f in families().values() for g in (f, *variants(f))]


def family(name: str | Family) -> Family:
    """A family by name, with options in brackets: `family("linear_attn(phi=exp)")`.

    Raises UnknownNameError, with near matches, or for what is neither a name nor a family.

    >>> family("deltanet(reach=2)").facts.eigenvalues
    '(-1, 1]'
    """
    if isinstance(name, Family):
        return name
    if not isinstance(name, str):
        raise UnknownNameError(
            f"expected a family (dsf.gla) or its name ('gla'); got {name!r}. A class is entered "
            "under the name it declares: class Mine(..., name='mine')."
        )
    hooks.load_mechanisms()
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", name)
    if not match or match[1] not in NAMED:
        near = near_names(name.partition("(")[0])
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UnknownNameError(
            f"no mechanism named {name!r}.{hint} Known: {', '.join(sorted(NAMED))}"
        )
    options: dict[str, Any] = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, _, value = item.partition("=")
        options[key.strip()] = _literal(value.strip())
    found = Family(match[1], *NAMED[match[1]])
    return found(**options) if options else found


def near_names(text: str, cutoff: float = 0.4) -> list[str]:
    """Names of families that may be meant by a text: those of their classes count too.

    A class or a name that differs in upper and lower case only stands alone.

    >>> near_names("S6"), near_names("GLA"), near_names("retnt", 0.8)
    (['mamba'], ['gla'], ['retnet'])
    """
    meant: dict[str, list[str]] = {}
    for name, f in families().items():
        for called in {name.lower(), f.cls.__name__.lower()}:
            meant.setdefault(called, []).append(name)
    asked = text.strip().lower()
    near = [asked] if asked in meant else difflib.get_close_matches(asked, meant, 3, cutoff)
    return list(dict.fromkeys(name for x in near for name in meant[x]))


def unwrapped(x: Any) -> Any:
    """The mechanism inside a module of `to_torch`, with its present numbers; else x itself.

    >>> import dsf
    >>> unwrapped(dsf.gla.init(d=2).to_torch()).Wq.dtype
    dtype('float64')
    """
    wraps = isinstance(vars(type(x)).get("mech"), property)
    return x.mech if wraps else x


def family_of(mech: Mechanism) -> Family:
    """The family of an instance: its class with its options, under the name of the class.

    Raises UnknownNameError for a class without a name: nobody could replay a certificate about it.

    >>> import dsf
    >>> family_of(dsf.retnet(rotation=True).init(d=2, n=2))
    retnet(rotation=True)
    """
    cls = type(mech)
    if NAMED.get(cls.name, (None,))[0] is not cls:
        raise UnknownNameError(
            f"{cls.__name__} has no name in the catalogue, so nobody could replay a certificate "
            f'about it. Write: class {cls.__name__}(..., name="my_name").'
        )
    plain = Family(cls.name, cls).defaults()
    return Family(cls.name, cls, {k: v for k, v in mech.options().items() if plain[k] != v})


def _literal(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return text.strip("'\"")
