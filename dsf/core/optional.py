"""Libraries that are not always there: each by a function that says what is missing."""

from __future__ import annotations

from typing import Any

from dsf.core.errors import MissingExtraError


def pandas(who: str, instead: str = "to_json") -> Any:
    """The module pandas, or MissingExtraError."""
    try:
        import pandas
    except ImportError as e:
        raise MissingExtraError(
            f"{who}: pandas is not installed. Install the extra 'interop' of this package, or use "
            f"{instead}."
        ) from e
    return pandas
