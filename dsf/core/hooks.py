"""What a lower room asks of a higher one, without importing it: `dsf/__init__.py` fills this in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_PROVIDED: dict[str, Callable[..., Any]] = {}


def provide(what: str, function: Callable[..., Any]) -> None:
    """State which function of a higher room answers `what`."""
    _PROVIDED[what] = function


def ask(what: str, *arguments: Any) -> Any:
    """Call the function that was provided for `what`."""
    return _PROVIDED[what](*arguments)
