"""How figures look: one style sheet, and one look per mechanism throughout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COLUMN = 3.25  # inches, width of one column
TEXT = 6.75  # inches, width of the text

BLACK, GREY = "#000000", "#7f7f7f"
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"

# One hue per kind of recurrence; within it the line style and the marker tell them apart.
_KINDS: dict[str, tuple[str, ...]] = {
    BLACK: ("softmax", "window_softmax"),
    ORANGE: ("linear_attn", "normalised_linear_attn", "normalised_attn"),
    SKY: ("retnet", "rglru", "qlstm"),
    GREEN: ("s4d", "lru"),
    BLUE: ("mamba", "mamba2", "mamba3"),
    VERMILLION: ("gla", "rwkv6", "mlstm"),
    PURPLE: ("deltanet", "gated_deltanet", "deltaproduct"),
    GREY: ("gru",),
}
_LINES = (("-", "o"), ("--", "s"), (":", "^"))
_LOOKS = {
    name: (color, *_LINES[i]) for color, names in _KINDS.items() for i, name in enumerate(names)
}


@contextmanager
def style() -> Iterator[None]:
    """The style sheet of the package, for the figures drawn inside the `with`.

    matplotlib's settings outside are left as they were.

    >>> import dsf, matplotlib as mpl
    >>> with dsf.style():
    ...     mpl.rcParams["font.size"]
    8.0
    """
    import matplotlib as mpl

    with mpl.rc_context(fname=str(Path(__file__).with_name("dsf.mplstyle"))):
        yield


def look(name: str) -> dict[str, str]:
    """Colour, line style and marker of a mechanism, as keyword arguments of `Axes.plot`.

    A name without a fixed look gets one computed from its letters, the same on every machine.

    >>> look("gla")
    {'color': '#D55E00', 'linestyle': '-', 'marker': 'o'}
    """
    if name in _LOOKS:
        color, line, marker = _LOOKS[name]
    else:
        kind, place = divmod(zlib.crc32(name.encode()), len(_LINES))
        color, (line, marker) = list(_KINDS)[kind % len(_KINDS)], _LINES[place]
    return {"color": color, "linestyle": line, "marker": marker}


def color(name: str) -> str:
    """The colour of a mechanism.

    >>> color("softmax")
    '#000000'
    """
    return look(name)["color"]
