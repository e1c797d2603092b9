"""`dsf.sweep` as figures use it: rows of plain cells, finished points kept by the runner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from dsf.figures.runner.table import Table
from dsf.tools import sweeps

_folder: ContextVar[Path | None] = ContextVar("folder of finished points", default=None)


@contextmanager
def keep_points(folder: Path) -> Iterator[None]:
    """Within this context `sweep` keeps its points in `folder` and takes them from there."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def sweep(
    task: Callable[..., Mapping[str, Any] | Iterable[Mapping[str, Any]]],
    grid: Iterable[Mapping[str, Any]],
) -> Table:
    """The rows `task(**point)` for every point of the grid, in the order of the grid.

    `task` returns a dict or a list of dicts; the point's own entries are put in front of each.
    Under the runner every finished point is one file with a checksum: after a kill only the points
    that are missing or damaged are computed again.  What a point depends on besides its entries
    and `task` is the runner's care.  Raises ValueError if an entry is not a cell of a `Table`, and
    what `task` raises.

    >>> sweep(lambda n, s: {"sum": n + s}, [{"n": 1, "s": 2}, {"n": 3, "s": 4}])
    [{'n': 1, 's': 2, 'sum': 3}, {'n': 3, 's': 4, 'sum': 7}]
    """
    points = [Table([p])[0] for p in grid]
    folder = _folder.get()
    tell = _tell if folder is not None else False
    cells = partial(_cells, task)
    return Table(sweeps.sweep(cells, points, cache=folder, on_error="raise", progress=tell).rows())


def _cells(task: Callable[..., Any], /, **point: Any) -> list[dict[str, Any]]:
    """The rows of one point, of plain cells."""
    result = task(**point)
    return list(Table([result] if isinstance(result, Mapping) else result))


def _tell(done: int, total: int) -> None:
    print(f"{done}/{total}", flush=True)  # the last line of the log is the progress
