"""Tables on the terminal, and in logs."""

from __future__ import annotations

import sys
from typing import Any


def show(table: Any) -> None:
    """Print a `rich` table: as wide as the terminal, 100 columns where there is none.

    The text goes through `print`, so that a reader who stops early is a BrokenPipeError here and
    not an exit inside the library.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    console = Console(markup=False, highlight=False, width=width)
    with console.capture() as text:
        console.print(table)
    print(text.get(), end="")
