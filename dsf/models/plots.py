"""Pictures of an inspection: states of heads and layers; spectra and kernels of some heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dsf.core.errors import DTypeError
from dsf.models.head import Head
from dsf.tools.style import TEXT

if TYPE_CHECKING:
    from dsf.models.inspection import Inspection

MOST = 4  # kernels in a picture


def states_map(found: Inspection, rtol: float, probe: str | None = None) -> np.ndarray:
    """States that suffice [calls heads], the worst over inputs or on one; NaN where there is none.

    Calls of attention are in the order of the model.
    """
    calls = list(dict.fromkeys(place[:2] for place in found.heads))
    most = max((place[2] for place in found.heads), default=-1) + 1
    grid = np.full((len(calls), most), np.nan)
    for row in found.rows:
        if row.states and probe in (None, row.probe):
            at = calls.index(row.place[:2]), row.head
            grid[at] = np.fmax(grid[at], row.states[rtol][1])
    return grid


def plot(found: Inspection, heads: Sequence[Head] = ()) -> Any:
    """Maps of states, one per error; below, for up to four rows, their spectra and kernels.

    Without heads, the states of the layers.  Raises DTypeError for what is no row of a head.
    """
    for row in heads:
        if not isinstance(row, Head):
            raise DTypeError(
                f"plot: takes rows of heads, such as found.row(module, head); got "
                f"{type(row).__name__}"
            )
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    if not found.rows:
        return _layers(found)
    heads = heads[:MOST]
    columns = max(len(found.rtol), 1 + len(heads) if heads else 0)
    rows = 2 if heads else 1
    figure, grid = plt.subplots(
        rows, columns, figsize=(TEXT, 2.6 * rows), squeeze=False, layout="constrained"
    )
    maps = [states_map(found, e) for e in found.rtol]
    top = max(2.0, *(float(np.nanmax(m, initial=1.0)) for m in maps))
    for axes, e, values in zip(grid[0], found.rtol, maps, strict=False):
        # a head without states is drawn as one with a state, or a logarithm would hide it
        picture = axes.imshow(
            np.fmax(values, 1.0), norm=LogNorm(1.0, top), cmap="viridis", aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set(xlabel="head", ylabel="call of attention", title=f"states at error {e:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(visible=False)
    bar = figure.colorbar(picture, ax=grid[0].tolist(), label="states that suffice")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}" if top < 10 else "")
    for axes in grid[0][len(found.rtol) :]:
        axes.set_axis_off()
    if heads:
        _spectra(grid[1][0], heads)
        for axes, row in zip(grid[1][1:], heads, strict=False):
            M = np.abs(found.kernel(row).matrix)
            peak = float(M.max(initial=0.0)) or 1.0
            axes.imshow(M, norm=LogNorm(1e-4 * peak, peak, clip=True), cmap="Greys")
            axes.set(xlabel="token seen")
            axes.set_title(_name(row), fontsize="x-small")
            axes.grid(visible=False)
        grid[1][1].set_ylabel("token that looks")
        for axes in grid[1][1 + len(heads) :]:
            axes.set_axis_off()
    return figure


def _layers(found: Inspection) -> Any:
    """States of each layer, the worst over inputs: necessary to sufficient, a colour per error."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys((row.module, row.call) for row in found.layers))
    figure, axes = plt.subplots(figsize=(TEXT, 1.2 + 0.25 * len(names)), layout="constrained")
    for e in found.rtol:
        counts = np.full((2, len(names)), np.nan)
        for row in found.layers:
            at = names.index((row.module, row.call))
            counts[:, at] = np.fmax(counts[:, at], row.states.get(e, (np.nan, np.nan)))
        middle, reach = counts.mean(0), (counts[1] - counts[0]) / 2
        axes.errorbar(middle, np.arange(len(names)), xerr=reach, fmt="o", label=f"error {e:g}")
    labels = [(name or "model") + (f" call {call + 1}" if call else "") for name, call in names]
    axes.set_yticks(np.arange(len(names)), labels)
    axes.set(xlabel="states, necessary to sufficient", ylim=(len(names) - 0.5, -0.5))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(fontsize="x-small")
    return figure


def _spectra(axes: Any, heads: Sequence[Head]) -> None:
    for row in heads:
        axes.plot(np.arange(1, 1 + len(row.spectrum)), row.spectrum, marker=".", label=_name(row))
    axes.set(yscale="log", xlabel="singular value", ylabel="over |M|", title="past to future")
    axes.set_ylim(1e-4, 1.5)
    axes.legend(fontsize="x-small")


def _name(row: Head) -> str:
    numbers = [word for word in row.module.split(".") if word.isdigit()]
    return f"{'.'.join(numbers) or row.module or 'model'}, head {row.head} ({row.probe})"
