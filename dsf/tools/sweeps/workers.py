"""Who computes the tasks of a sweep: this process, processes of their own, or joblib's backends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsf.core.errors import OutputError, SweepError
from dsf.tools.files import write
from dsf.tools.sweeps.keys import rng_of, text_of
from dsf.tools.sweeps.outcomes import Outcome
from dsf.tools.sweeps.store import packed, read, unpacked

WITHIN = "DSF_WITHIN_A_SWEEP"  # set in the processes of a sweep
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "NUMBA")
PR_SET_PDEATHSIG = 1  # sys/prctl.h: the signal that a process gets when its parent ends
WATCH = 0.5  # seconds between two looks at whether the process of the sweep is still there

Function = Callable[..., Any]
Numbered = tuple[int, Outcome]


@dataclass(frozen=True)
class Task:
    """One call: its parameters, the seed of the sweep, and where its result is kept, if it is."""

    parameters: dict[str, Any]
    seed: int | None = None
    key: str = ""
    path: Path | None = None

    def kept(self) -> Outcome | None:
        """The outcome of an earlier call; ValueError if its file is damaged."""
        found = None if self.path is None else read(self.path, self.key)
        if found is None:
            return None
        seconds = found["seconds"]
        return Outcome(self.parameters, "done", found["value"], attempts=0, seconds=seconds)


def work(fn: Function, task: Task) -> Outcome:
    """Call the function and keep what it returns; OutputError if that cannot be written."""
    with suppress(ValueError):
        kept = task.kept()  # another process may have been here since the sweep began
        if kept is not None:
            return kept
    start = time.perf_counter()
    more = {} if task.seed is None else {"rng": rng_of(task.seed, task.parameters)}
    try:
        value = fn(**task.parameters, **more)
    except Exception as e:
        return _failed(task, f"{type(e).__name__}: {e}", e, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    if task.path is not None:
        # as text: arrays by their hash, or the file would be as large as what the task is given
        content = {"key": task.key, "parameters": text_of(task.parameters, "task"), "value": value}
        try:
            data = packed({**content, "seconds": seconds})
        except Exception as e:
            return _failed(task, _unpicklable(value, e), e, seconds)
        write(task.path, data)
    return Outcome(task.parameters, "done", value, seconds=seconds)


def threads_limited(threads: int) -> Any:
    """A context in which BLAS and OpenMP use so many threads, in this process."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


def here(fn: Function, tasks: Sequence[Task], threads: int) -> Generator[Numbered, None, None]:
    """Outcomes with their numbers, one after the other in this process."""
    with threads_limited(threads):
        for number, task in enumerate(tasks):
            yield number, work(fn, task)


def _failed(task: Task, error: str, e: BaseException | None, seconds: float = 0.0) -> Outcome:
    text = "" if e is None else "".join(traceback.format_exception(e))
    return Outcome(task.parameters, "failed", None, error, e, text, seconds=seconds)


def _unpicklable(value: Any, e: Exception) -> str:
    return (
        f"it returned a {type(value).__name__} that cannot be pickled ({type(e).__name__}: {e}), "
        "and only pickled results are kept or sent between processes.  Return numbers, arrays, "
        "dicts, or objects of your classes made of these"
    )


# --- the way to another process and back --------------------------------------------------------


def function_packed(fn: Function) -> bytes:
    """The function for another process; SweepError if it holds what cannot be sent."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(fn))
    except Exception as e:
        raise SweepError(
            f"sweep: the function cannot be sent to another process ({type(e).__name__}: {e}).  "
            "Likely cause: it holds an open file, a lock or a generator.  Open it within the "
            "function, or use n_jobs=1"
        ) from e


def _sealed(outcome: Outcome, task: Task) -> bytes:
    """An outcome on its way to another process: not everything survives that way."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(outcome.exception))  # some can be written and not read
        return packed({"outcome": outcome})
    if outcome.status == "done":
        try:
            packed({"value": outcome.result})
        except Exception as e:
            outcome = _failed(task, _unpicklable(outcome.result, e), None, outcome.seconds)
    return packed({"outcome": replace(outcome, exception=None)})


def _received(task: Task, data: bytes) -> Outcome:
    try:
        outcome: Outcome = unpacked(data)["outcome"]
    except ValueError as e:
        return _failed(task, f"its result came back, and {e}", None)
    return outcome


# --- processes of their own ---------------------------------------------------------------------


def isolated(
    payload: bytes,
    tasks: Sequence[Task],
    n_jobs: int,
    retries: int,
    time_limit: float | None,
    threads: int,
) -> Generator[Numbered, None, None]:
    """Outcomes as they come, with their number; at most `n_jobs` processes of joblib's loky.

    Each is a pool of one, so when it dies or is stopped it is known which task it was, and the
    others go on.  `payload`: the function, packed.
    """
    waiting = deque((number, 1) for number in range(len(tasks)))
    seats = [_Seat(payload, threads) for _ in range(min(n_jobs, len(tasks)))]
    try:
        while seats:
            ends = [s.started + time_limit for s in seats if s.job] if time_limit else []
            timeout = max(0.0, min(ends) - time.monotonic()) if ends else None
            wait([s.future for s in seats], timeout, FIRST_COMPLETED)
            for seat in [s for s in seats if s.future.done() or s.overdue(time_limit)]:
                if seat.job is None:
                    seat.require_ready(retries)
                else:
                    number, attempt = seat.job
                    outcome = seat.outcome(tasks[number], time_limit)
                    if outcome.status == "killed" and attempt <= retries:
                        waiting.append((number, attempt + 1))
                    else:
                        yield number, replace(outcome, attempts=outcome.attempts and attempt)
                if not waiting:
                    seat.stop()
                    seats.remove(seat)
                elif seat.takes(waiting[0], tasks):
                    waiting.popleft()
                else:
                    seat.begin()
    finally:
        for seat in seats:
            seat.stop()


class _Seat:
    """A process that does one task after the other, and is begun anew where one has ended it."""

    executor: Any
    future: Future[Any]
    job: tuple[int, int] | None  # the number of a task, and which attempt; None: it is starting

    def __init__(self, payload: bytes, threads: int) -> None:
        self.payload, self.threads = payload, threads
        self.started, self.deaths = 0.0, 0
        self.begin()

    def begin(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        one = {f"{library}_NUM_THREADS": str(self.threads) for library in LIBRARIES}
        self.executor, self.job = ProcessPoolExecutor(1, env={**one, WITHIN: "1"}), None
        self.future = self.executor.submit(_begin, self.payload, os.getpid())

    def takes(self, job: tuple[int, int], tasks: Sequence[Task]) -> bool:
        """Start a task, unless the process has gone."""
        try:
            self.future = self.executor.submit(_do, tasks[job[0]])
        except RuntimeError:  # loky's "broken" and "shut down"
            return False
        self.job, self.started = job, time.monotonic()
        return True

    def overdue(self, time_limit: float | None) -> bool:
        late = time_limit is not None and time.monotonic() - self.started >= time_limit
        return late and self.job is not None

    def outcome(self, task: Task, time_limit: float | None) -> Outcome:
        """What became of its task: done, or ended by us if it is not."""
        seconds = time.monotonic() - self.started
        if not self.future.done():
            self.stop()
            error = f"stopped at its time limit of {time_limit:g} s"
            return Outcome(task.parameters, "timeout", error=error, seconds=seconds)
        e = self.future.exception()
        if e is None:
            return _received(task, self.future.result())
        if isinstance(e, BrokenExecutor):
            error = f"its process ended ({_how(e)})"
            return Outcome(task.parameters, "killed", error=error, seconds=seconds)
        if isinstance(e, OutputError):
            raise e
        return _failed(task, f"{type(e).__name__}: {e}", e, seconds)

    def require_ready(self, retries: int) -> None:
        """SweepError if the process cannot take tasks; one that died while starting is forgiven."""
        e = self.future.exception()
        self.deaths = 0 if e is None else self.deaths + 1
        if isinstance(e, BrokenExecutor) and self.deaths <= retries:
            return
        if e is not None:
            why = _how(e) if isinstance(e, BrokenExecutor) else f"{type(e).__name__}: {e}"
            raise SweepError(
                f"sweep: a process could not be started with the function ({why}).  Likely cause: "
                "its module is not found from there, or ends the process when it is imported.  "
                "Put the function into an installed module, or use n_jobs=1"
            ) from e

    def stop(self) -> None:
        """Kill the process and those it started."""
        self.executor.shutdown(wait=True, kill_workers=True)


def _how(e: BaseException) -> str:
    """The signal or exit code of a process, from what loky says about it."""
    found = re.search(r"\{(\w+\(-?\d+\))\}", str(e))
    return found[1] if found else str(e).partition(chr(10))[0]


_function: Function


def _begin(payload: bytes, parent: int) -> None:
    """In a new process: the function, and an end with that of the sweep."""
    global _function
    if sys.platform == "linux":  # also where compiled code keeps the thread below from running
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _function = pickle.loads(payload)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _do(task: Task) -> bytes:
    return _sealed(work(_function, task), task)


# --- other backends of joblib -------------------------------------------------------------------


def through_joblib(
    fn: Function,
    tasks: Sequence[Task],
    n_jobs: int,
    retries: int,
    time_limit: float | None,
    threads: int,
) -> Generator[Numbered, None, None]:
    """Outcomes as they come from the backend of joblib that is active (dask, ray, threading, ...).

    Threads call the function itself.  A worker of a cluster starts a process for each task: were it
    to die with a task, dask would give the task to the next worker, and after some of them
    joblib 1.6 waits for its result for ever.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    engine, _ = get_active_backend()
    calls: list[Any]
    if getattr(engine, "supports_sharedmem", False):
        limit = threads_limited(threads)  # of all threads at once: it is one of the process
        calls = [delayed(_direct)(number, fn, task) for number, task in enumerate(tasks)]
    else:
        limit, payload = nullcontext(), function_packed(fn)
        rest = (retries, time_limit, threads)
        calls = [delayed(_remote)(n, payload, task, *rest) for n, task in enumerate(tasks)]
    one_by_one = getattr(engine, "supports_return_generator", False)
    how = "generator_unordered" if one_by_one else "list"
    with limit:
        for number, answer in Parallel(n_jobs, return_as=how, batch_size=1)(calls):
            is_packed = isinstance(answer, bytes)
            yield number, _received(tasks[number], answer) if is_packed else answer


def _direct(number: int, fn: Function, task: Task) -> Numbered:
    return number, work(fn, task)


def _remote(
    number: int,
    payload: bytes,
    task: Task,
    retries: int,
    time_limit: float | None,
    threads: int,
) -> tuple[int, bytes]:
    multiprocessing.current_process().daemon = False  # those of dask are, and might start none
    ((_, outcome),) = isolated(payload, [task], 1, retries, time_limit, threads)
    return number, _sealed(outcome, task)
