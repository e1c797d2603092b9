"""A grid of points, computed one by one, each kept as soon as it is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dsf.figures.runner.files import read_record, sha256, write_record
from dsf.figures.runner.table import Table

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
    that are missing or damaged are computed again.  A point is known by the name of `task` and its
    entries, so whatever varies belongs into the grid.  Raises ValueError if an entry is not a cell
    of a `Table`.

    >>> sweep(lambda n, s: {"sum": n + s}, [{"n": 1, "s": 2}, {"n": 3, "s": 4}])
    [{'n': 1, 's': 2, 'sum': 3}, {'n': 3, 's': 4, 'sum': 7}]
    """
    points = [Table([p])[0] for p in grid]
    folder = _folder.get()
    rows: list[Mapping[str, Any]] = []
    for done, point in enumerate(points, 1):
        rows += _one(task, point, folder)
        if folder is not None:
            print(f"{done}/{len(points)}", flush=True)  # the last line of the log is the progress
    return Table(rows)


def _one(task: Callable[..., Any], point: Mapping[str, Any], folder: Path | None) -> Table:
    if folder is None:
        return _compute(task, point)
    key = json.dumps([task.__module__, task.__qualname__, point], sort_keys=True)
    path = folder / f"{sha256(key.encode())[:24]}.json"
    record = read_record(path)
    if record is None:
        record = {"key": key, "rows": list(_compute(task, point))}
        write_record(path, record)
    return Table(record["rows"])


def _compute(task: Callable[..., Any], point: Mapping[str, Any]) -> Table:
    result = task(**point)
    results = [result] if isinstance(result, Mapping) else result
    return Table({**point, **row} for row in results)
