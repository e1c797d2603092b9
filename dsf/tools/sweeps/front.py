"""`dsf.sweep`: a function at every point of a grid, in parallel, and nothing lost."""

from __future__ import annotations

import inspect
import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dsf.core.errors import DomainError, MissingExtraError, SweepError
from dsf.tools.files import writing
from dsf.tools.sweeps.keys import key_of, text_of
from dsf.tools.sweeps.outcomes import Outcome, Sweep, named
from dsf.tools.sweeps.workers import (
    WITHIN,
    Numbered,
    Task,
    function_packed,
    here,
    isolated,
    through_joblib,
)

Grid = Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]
Progress = Callable[[int, int], object]


def sweep(
    fn: Callable[..., Any],
    grid: Grid,
    *,
    n_jobs: int | None = None,
    seed: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    version: str = "",
    retries: int = 2,
    time_limit: float | None = None,
    backend: str | None = None,
    threads: int = 1,
    on_error: Literal["keep", "raise"] = "keep",
    progress: bool | Progress = False,
) -> Sweep:
    """Call `fn(**point)` for every point of a grid: an outcome per task, in the order of the grid.

    grid        name -> values: every combination, the last name varies fastest; or the points
                themselves, as dicts
    n_jobs      processes at a time, -1 for one per core; by default what `joblib.parallel_config`
                says, else 1: this process, or all there are of a backend that is named
    seed        `fn` is also given `rng=`, a numpy Generator made from this seed and the task's
                parameters: the same for any order, number of processes and other tasks
    cache       a folder: each finished task is one file with a checksum there, written by the
                process that computed it, and is taken from there by later calls.  After a kill the
                same call goes on; two calls at once agree, and one takes what the other finished
    version     a word for all that `fn` calls and reads.  A task is known by its parameters, seed
                and version, and by name, code, defaults and closure of `fn` itself; where other
                code has changed, another word makes old files count no longer
    retries     how often a task is started again whose process died.  What raises is not: the same
                numbers would raise again
    time_limit  seconds for one task; its process is killed then, so there is one also for n_jobs=1
    backend     "loky" (processes here), "threading", "dask" or "ray" (their clusters; a worker
                starts a process for each task), or another one registered in joblib
    threads     of BLAS and OpenMP within a task; their number can change last bits, n_jobs does not
    on_error    "raise": the first task without a result ends the sweep with its exception, others
                are kept; "keep": the sweep goes on, and asking for the missing value raises
    progress    True for a bar on the error stream, or a function of (tasks done, tasks)

    Raises DomainError for a grid or a number that makes no sense, DTypeError for a parameter that
    has no text to be known by (with `cache` or `seed`), OutputError if the cache cannot be written,
    SweepError if `fn` cannot be sent to another process, MissingExtraError without dask or ray.

    >>> def decay(rate, length):
    ...     return {"left": (1 - rate) ** length}
    >>> found = sweep(decay, {"rate": [0.5, 0.1], "length": [1, 2]})
    >>> for row in found.rows():
    ...     print(row)
    {'rate': 0.5, 'length': 1, 'left': 0.5}
    {'rate': 0.5, 'length': 2, 'left': 0.25}
    {'rate': 0.1, 'length': 1, 'left': 0.9}
    {'rate': 0.1, 'length': 2, 'left': 0.81}
    >>> def draw(n, rng):
    ...     return rng.integers(1000, size=n).sum()
    >>> some, more = (sweep(draw, {"n": range(k)}, seed=1).values for k in (3, 5))
    >>> some == more[:3]
    True
    """
    points = _points(grid)
    _require(n_jobs, seed, retries, time_limit, threads, on_error, points)
    _require_fits(fn, points, seed)
    start, name = time.monotonic(), getattr(fn, "__name__", type(fn).__name__)[:40]
    tasks = _tasks(fn, points, seed, None if cache is None else Path(cache), version)
    outcomes, notes = _kept(tasks)
    first: dict[str, int] = {}  # equal tasks are computed once
    twins = [first.setdefault(t.key, i) if t.key else i for i, t in enumerate(tasks)]
    todo = [i for i, twin in enumerate(twins) if twin == i and i not in outcomes]
    if todo and cache is not None:
        _require_writable(Path(cache))
    with (
        _engine(backend, n_jobs, retries, time_limit, threads) as compute,
        shown(progress, "sweep") as show,
    ):
        shares = Counter(twins)
        done = len(tasks) - sum(shares[i] for i in todo)
        show(done, len(tasks))
        with closing(compute(fn, [tasks[i] for i in todo])) as coming:
            for number, outcome in coming:
                outcomes[todo[number]] = outcome
                if on_error == "raise" and outcome.status != "done":
                    _raise(outcome)
                done += shares[todo[number]]
                show(done, len(tasks))
    return Sweep(name, [outcomes[i] for i in twins], notes, time.monotonic() - start)


# --- the grid -----------------------------------------------------------------------------------


def _points(grid: Grid) -> list[dict[str, Any]]:
    if isinstance(grid, Mapping):
        columns = [_column(name, values) for name, values in grid.items()]
        points = [dict(zip(grid, c, strict=True)) for c in itertools.product(*columns)]
    else:
        points = list(grid)  # type: ignore[arg-type]
    for point in points:
        if not isinstance(point, Mapping) or not all(isinstance(k, str) for k in point):
            raise DomainError(
                f"sweep: a point of the grid must be a dict of names and values; got {point!r:.80}."
                "  Give {'n': [1, 2]} for every combination, or [{'n': 1}, {'n': 2}]"
            )
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in p.items()} for p in points]


def _column(name: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise DomainError(
            f"sweep: grid[{name!r}] must be a list of values; got {values!r:.80}.  One value is a "
            f"list too: [{values!r:.40}]"
        )
    return list(values)


def _require(
    n_jobs: int | None,
    seed: int | None,
    retries: int,
    time_limit: float | None,
    threads: int,
    on_error: str,
    points: list[dict[str, Any]],
) -> None:
    wrong = {
        "n_jobs must be a number of processes, or -1 for one per core": n_jobs == 0,
        "seed must be a whole number from 0": seed is not None and not _whole(seed, 0),
        "retries must be a whole number from 0": not _whole(retries, 0),
        "threads must be a whole number from 1": not _whole(threads, 1),
        "time_limit must be positive": time_limit is not None and not time_limit > 0,
        'on_error must be "keep" or "raise"': on_error not in ("keep", "raise"),
        "with a seed every task is given `rng`, so no point may have an entry of that name": (
            seed is not None and any("rng" in point for point in points)
        ),
    }
    for text, it_is in wrong.items():
        if it_is:
            raise DomainError(f"sweep: {text}")


def _require_fits(fn: Callable[..., Any], points: list[dict[str, Any]], seed: int | None) -> None:
    """DomainError now, rather than the same TypeError for every task."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin without one
        return
    for point in points:
        given = {**point, "rng": None} if seed is not None else point
        try:
            signature.bind(**given)
        except TypeError as e:
            wanted = "" if seed is None else "  With a seed it must take `rng`, a numpy Generator."
            raise DomainError(
                f"sweep: the function cannot be called with {', '.join(given) or 'nothing'}: {e}."
                f"{wanted}  Its parameters are {signature}"
            ) from e


def _whole(x: Any, least: int) -> bool:
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool) and bool(x >= least)


def _tasks(
    fn: Callable[..., Any],
    points: list[dict[str, Any]],
    seed: int | None,
    folder: Path | None,
    version: str,
) -> list[Task]:
    if folder is None:
        if seed is not None:
            for point in points:
                text_of(point, "task")
        return [Task(point, seed) for point in points]
    function = text_of({"function": fn, "version": version}, "fn")
    keys = [key_of(function, point, seed) for point in points]
    pairs = zip(points, keys, strict=True)
    return [Task(point, seed, key, folder / f"{key}.result") for point, key in pairs]


def _require_writable(folder: Path) -> None:
    """OutputError now, rather than after the first task."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _kept(tasks: list[Task]) -> tuple[dict[int, Outcome], list[str]]:
    """What earlier calls computed, and notes on what is damaged."""
    outcomes, notes = {}, []
    for number, task in enumerate(tasks):
        try:
            found = task.kept()
        except ValueError as e:
            notes.append(f"{named(task.parameters)}: {task.path}: {e}; computed again")
        else:
            if found is not None:
                outcomes[number] = found
    return outcomes, notes


def _raise(outcome: Outcome) -> None:
    if outcome.exception is None:
        raise SweepError(outcome.told() + ("\n" + outcome.details).rstrip())
    there = "" if outcome.exception.__traceback__ else "\n" + outcome.details.rstrip()
    outcome.exception.add_note(outcome.told() + there)
    raise outcome.exception


# --- who computes, and what is shown ------------------------------------------------------------


@contextmanager
def _engine(
    backend: str | None, n_jobs: int | None, retries: int, time_limit: float | None, threads: int
) -> Iterator[Callable[..., Generator[Numbered, None, None]]]:
    """A function of `fn` and tasks that yields their outcomes as they come."""
    from joblib import cpu_count, parallel_config
    from joblib.parallel import LokyBackend, get_active_backend

    _register(backend)
    with nullcontext() if backend is None else parallel_config(backend=backend):
        active, ambient = get_active_backend()
        jobs = ambient or (1 if backend is None else -1) if n_jobs is None else n_jobs
        limits: dict[str, Any] = {"retries": retries, "time_limit": time_limit, "threads": threads}
        if getattr(active, "supports_sharedmem", False) and time_limit is not None:
            raise DomainError(
                "sweep: time_limit needs processes, which can be ended one by one; the active "
                f"backend is {type(active).__name__}.  Use backend='loky'"
            )
        if not isinstance(active, LokyBackend):
            yield partial(through_joblib, n_jobs=jobs, **limits)
            return
        if WITHIN in os.environ:  # a sweep within a task: the cores are taken
            jobs = 1
        jobs = max(1, cpu_count() + 1 + jobs) if jobs < 0 else jobs
        if jobs == 1 and time_limit is None and backend is None:
            yield partial(here, threads=threads)
        else:
            yield lambda fn, tasks: isolated(function_packed(fn), tasks, jobs, **limits)


def _register(backend: str | None) -> None:
    """Make a backend known to joblib, or say what is missing."""
    try:
        if backend == "dask":
            import distributed  # noqa: F401
        if backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
    except ImportError as e:
        raise MissingExtraError(
            f"sweep: {backend} is not installed.  Install the extra {backend!r} of this package, "
            "or use backend='loky', which needs nothing more"
        ) from e


@contextmanager
def shown(progress: bool | Progress, what: str) -> Iterator[Progress]:
    """The function of (done, all) that `progress` stands for: a bar with its name, or nothing."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, total: None
    else:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        with Bar(
            what, *Bar.get_default_columns()[1:2], MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar:  # fmt: skip
            task = bar.add_task(what)
            yield lambda done, total: bar.update(task, completed=done, total=total)
