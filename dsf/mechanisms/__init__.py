"""The mechanisms, one small file each; a file in one of these folders is found by itself."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from dsf.core.catalogue import families
from dsf.core.mechanism import NAMED

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)


def __getattr__(name: str) -> Any:
    """A family by its name, or a class: `dsf.mechanisms.gla`, `dsf.mechanisms.GLA`."""
    found = {cls.__name__: cls for cls, _ in NAMED.values()} | families()
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found[name]
