"""What the figures of this folder share."""

from __future__ import annotations

from typing import Any


def plain_log(axis: Any, subs: tuple[float, ...] = (1, 2, 5)) -> None:
    """Ticks of a logarithmic axis written as plain numbers: 0.1, 0.2, 0.5, 1, 2, 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
