"""How figures look: one style sheet, and one look per mechanism throughout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsf.core.catalogue import families
from dsf.core.errors import UnknownNameError

COLUMN = 3.25  # inches, width of one column
TEXT = 6.75  # inches, width of the text

BLACK, GREY = "#000000", "#7f7f7f"
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"

# One colour per kind of recurrence; within it the line style and the marker tell them apart.
COLOURS = {
    "black": BLACK,
    "orange": ORANGE,
    "sky": SKY,
    "green": GREEN,
    "blue": BLUE,
    "vermillion": VERMILLION,
    "purple": PURPLE,
    "grey": GREY,
}
_LINES = (("-", "o"), ("--", "s"), (":", "^"))


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

    A mechanism declares them as `look=("orange", 1)`: a colour, and which of its three lines.  A
    name without them gets some computed from its letters, the same on every machine.  Raises
    UnknownNameError for a colour or line that there is not.

    >>> look("gla")
    {'color': '#D55E00', 'linestyle': '-', 'marker': 'o'}
    """
    kind, place = divmod(zlib.crc32(name.encode()), len(_LINES))
    color = list(COLOURS.values())[kind % len(COLOURS)]
    family = families().get(name)
    if family is not None and family.look[0]:
        if family.look[0] not in COLOURS or family.look[1] not in range(len(_LINES)):
            raise UnknownNameError(
                f"{name}: look={family.look} must be a colour ({', '.join(COLOURS)}) and one of "
                f"its lines, 0 to {len(_LINES) - 1}"
            )
        color, place = COLOURS[family.look[0]], family.look[1]
    line, marker = _LINES[place]
    return {"color": color, "linestyle": line, "marker": marker}


def color(name: str) -> str:
    """The colour of a mechanism.

    >>> color("softmax")
    '#000000'
    """
    return look(name)["color"]
