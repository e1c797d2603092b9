"""Equations that the package does not hold: a user's mechanisms and maps, by module and hash.

Only such a module says what its equations are, so a claim names the module and carries a hash
of the source text of the classes and functions it rests on.  Nothing is imported here.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from dsf.core.errors import CertificateError

OWN = {"dsf", "builtins", "typing", "abc"}


def outside(x: Any) -> bool:
    """Whether a class or function is defined outside the package."""
    return str(x.__module__).partition(".")[0] not in OWN


def sources(equations: Iterable[Any]) -> dict[str, str]:
    """Module -> hash of the source text of the classes and functions that it defines."""
    found: dict[str, dict[str, str]] = {}
    for x in equations:
        if outside(x):
            found.setdefault(x.__module__, {})[x.__qualname__] = _source(x)
    return {
        module: hashlib.sha256("\n".join(texts[k] for k in sorted(texts)).encode()).hexdigest()[:16]
        for module, texts in sorted(found.items())
    }


def sentence(found: Mapping[str, str]) -> str:
    """What a claim says about them; empty if everything is the package's own."""
    return "".join(
        f" (as defined in {module}, source {code}: this code is run and trusted)"
        for module, code in found.items()
    )


def loaded(told: Any) -> None:
    """CertificateError unless the modules that a certificate names have been imported."""
    fits = isinstance(told, Mapping) and all(type(x) is str for e in told.items() for x in e)
    if not fits:
        raise CertificateError("sources must name modules with their hashes")
    missing = ", ".join(module for module in told if module not in sys.modules)
    if missing:
        raise CertificateError(
            f"the claim is about equations in {missing}, which is not imported. Nothing is "
            f"imported silently: import {missing}, if you trust it, and check again."
        )


def _source(x: Any) -> str:
    try:
        return inspect.getsource(x)
    except (OSError, TypeError) as e:
        raise CertificateError(
            f"the source text of {x.__module__}.{x.__qualname__} cannot be read, so no certificate "
            "can say which equations it is about. Put it into a file and import it."
        ) from e
