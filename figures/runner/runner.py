"""Builds what is not up to date, each figure in a process of its own, and reports."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dsf.core.errors import UnknownNameError
from dsf.figures.runner import kept as _kept
from dsf.figures.runner.catalogue import Figure, catalogue, select
from dsf.figures.runner.gallery import gallery
from dsf.figures.runner.progress import Progress
from dsf.tools.terminal import show

PROFILES = ("smoke", "default", "paper")
DESCRIPTION = "Build the named figures (default: all), write the gallery, print the report."
ATTEMPTS = 3  # a process that is killed from outside is started again; its points are kept

# One thread: the number of threads changes the last bits of a sum.  No clock in the bytes.
ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")},
    "VECLIB_MAXIMUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "SOURCE_DATE_EPOCH": "0",
}


@dataclass
class Job:
    """A figure being built."""

    figure: Figure
    log: Path
    attempts: int = 0
    started: float = 0.0
    process: subprocess.Popen[bytes] = field(init=False, repr=False)

    def start(self, package: str, profile: str, folder: Path) -> None:
        self.attempts += 1
        self.started = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "dsf.figures.runner.build"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, package, self.figure.name, profile, str(folder)],
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def seconds(self) -> float:
        return time.monotonic() - self.started


def run(
    names: list[str],
    profile: str = "default",
    out: Path = Path("figures/build"),
    package: str = "dsf.figures",
    jobs: int | None = None,
    time_limit: float = 3600.0,
    keep: bool = False,
) -> int:
    """Build the named figures (all for none), write the gallery, print the report.

    `keep` (profile "paper" only) copies table and record beside the sources: see `kept`.

    Returns 0, or 1 if a figure could not be built.  A verdict "does not hold" is a result, not a
    failure.  Raises UnknownNameError for a name that is no figure.
    """
    out = out.resolve()
    folder = out / profile
    every = catalogue(package)
    chosen = select(every, names)
    states = {f.name: f.state(folder, profile) for f in chosen}
    todo = [f for f in chosen if states[f.name] != "current"]
    for figure in todo:
        if states[figure.name] == "damaged":
            print(f"{figure.name}: a file was altered since it was written; computing it again")
    with _polite_end(), Progress(len(todo)) as progress:
        failures = _build_all(todo, package, profile, folder, jobs, time_limit, progress)
    for figure in chosen if keep else ():
        if figure.name not in failures:
            _kept.keep(figure, folder)
    page = gallery(every, folder, profile, failures)
    _report(chosen, folder, failures)
    print(f"gallery: {os.path.relpath(page)}")
    return 1 if failures else 0


@contextmanager
def _polite_end() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C, so that the processes of the figures are stopped too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _build_all(
    todo: list[Figure],
    package: str,
    profile: str,
    folder: Path,
    jobs: int | None,
    time_limit: float,
    progress: Progress,
) -> dict[str, str]:
    """Build the figures, some at a time; the names of those that failed, with the reason."""
    waiting = [Job(f, f.file(folder, ".log")) for f in todo]
    for job in waiting:
        job.log.unlink(missing_ok=True)
    running: list[Job] = []
    failures: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (jobs or os.cpu_count() or 1):
                job = waiting.pop(0)
                job.start(package, profile, folder)
                running.append(job)
                progress.started(job)
            time.sleep(0.1)
            progress.tick(running)
            for job in [j for j in running if j.ended() or j.seconds() >= time_limit]:
                running.remove(job)
                code = job.process.poll()
                if code is not None and code < 0 and job.attempts < ATTEMPTS:
                    progress.note(f"{job.figure.name}: ended by signal {-code}; started again")
                    waiting.append(job)
                    continue
                problem = _problem(job, code, time_limit)
                if problem:
                    failures[job.figure.name] = problem
                else:
                    job.log.unlink(missing_ok=True)
                progress.ended(job, problem)
    finally:
        _stop(running)
    return failures


def _problem(job: Job, code: int | None, time_limit: float) -> str:
    """Why a job failed, "" if it did not; one that is still running is stopped."""
    if code is None:
        _stop([job])
        return f"stopped at its time limit of {time_limit:g} s"
    if code == 0:
        return ""
    if code < 0:
        return f"ended by signal {-code}, {job.attempts} times"
    return job.last_line() or f"exit code {code}"


def _stop(jobs: list[Job]) -> None:
    for job in jobs:
        job.process.kill()
    for job in jobs:
        job.process.wait()


def _report(figures: list[Figure], folder: Path, failures: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(show_lines=True)
    widest = {"figure": 24, "the paper says": 60, "measured": 60, "verdict": 13}
    for column, width in widest.items():
        table.add_column(column, max_width=width)
    table.add_column("s", justify="right")
    for figure in figures:
        record = figure.record(folder)
        if figure.name in failures or record is None:
            reason = failures.get(figure.name, "not computed")
            table.add_row(figure.name, figure.literals()["PAPER"], reason, "FAILED", "")
        else:
            seconds = f"{record['run']['seconds']:.1f}"
            row = (figure.name, record["paper"], record["measured"], record["verdict"], seconds)
            table.add_row(*row)
    show(table, width=140)
    for name, reason in failures.items():
        log = os.path.relpath(folder / f"{name}.log")
        print(f"{name}: FAILED: {reason} (full text: {log})", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """The command line of `python -m dsf.figures`."""
    parser = argparse.ArgumentParser(prog="python -m dsf.figures", description=DESCRIPTION)
    parser.add_argument("names", nargs="*", help="<paper>/<name>, <name> or <paper>; default: all")
    parser.add_argument("--profile", choices=PROFILES, default="default")
    parser.add_argument("--out", type=Path, default=Path("figures/build"))
    parser.add_argument("--package", default="dsf.figures", help="where the figures are")
    parser.add_argument("--jobs", type=int, help="figures at a time; default: number of cores")
    parser.add_argument("--time-limit", type=float, default=3600.0, help="seconds for one figure")
    parser.add_argument("--keep", action="store_true", help="keep the results with the sources")
    arguments = parser.parse_args(argv)
    if arguments.keep and arguments.profile != _kept.PROFILE:
        parser.error(f"--keep goes with --profile {_kept.PROFILE}")
    try:
        return run(**vars(arguments))
    except UnknownNameError as e:
        print(f"{parser.prog}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, the same command resumes", file=sys.stderr)
        return 130
