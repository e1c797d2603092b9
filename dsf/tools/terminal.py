"""Tables on the terminal, and in logs."""

from __future__ import annotations

import sys
from typing import Any


def show(table: Any, width: int = 100) -> None:
    """Print a `rich` table: as wide as the terminal; `width` columns where there is none.

    The text goes through `print`, so that a reader who stops early is a BrokenPipeError here and
    not an exit inside the library.
    """
    from rich.console import Console

    columns = None if sys.stdout.isatty() else width
    console = Console(markup=False, highlight=False, width=columns)
    with console.capture() as text:
        console.print(table)
    print(text.get(), end="")
