"""Builds what is not up to date, each figure in a process of its own, and reports."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsf.core.errors import OutputError, UnknownNameError
from dsf.figures.runner import kept as _kept
from dsf.figures.runner.catalogue import Figure, catalogue, select
from dsf.figures.runner.findings import tally
from dsf.figures.runner.gallery import gallery
from dsf.figures.runner.job import Job
from dsf.figures.runner.progress import Progress
from dsf.tools.files import writing
from dsf.tools.terminal import show

PROFILES = ("smoke", "default", "paper")
DESCRIPTION = "Build the named figures (default: all), write the gallery, print the report."
CODES = (
    "Exit code: 0 done; 1 a figure could not be built; 2 wrong usage, or a file that cannot be "
    "written; 130 interrupted.  A run that was stopped resumes with the same command."
)
ATTEMPTS = 3  # a process that is killed from outside is started again; its points are kept


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
    failure.  Raises UnknownNameError for a name that is no figure, OutputError if a log, the
    gallery or what is kept cannot be written.
    """
    folder = out.resolve() / profile
    every = catalogue(package)
    chosen = select(every, names)
    _make_room(chosen, folder)
    states = {f.name: f.state(folder, profile) for f in chosen}
    todo = [f for f in chosen if states[f.name] != "current"]
    for figure in todo:
        if states[figure.name] == "damaged":
            print(f"{figure.name}: a file was altered since it was written; computing it again")
    with _polite_end(), Progress(len(todo)) as progress:
        failures = _build_all(todo, package, profile, folder, jobs, time_limit, progress)
    _report(chosen, folder, failures)
    for figure in chosen if keep else ():
        if figure.name not in failures:
            _kept.keep(figure, folder)
    page = gallery(every, folder, profile, failures)
    print(f"gallery: {os.path.relpath(page)}")
    return 1 if failures else 0


def _make_room(figures: list[Figure], folder: Path) -> None:
    """The folder, without logs: those of this run show what failed in this run."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        log = figure.file(folder, ".log")
        with writing(log):
            log.unlink(missing_ok=True)


@contextmanager
def _polite_end() -> Iterator[None]:
    """SIGTERM and SIGHUP end like Ctrl-C, so that the processes of the figures are stopped too."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # ignored under nohup, and so it stays
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    waiting = [Job(f, folder) for f in todo]
    running: list[Job] = []
    failures: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < (jobs or os.cpu_count() or 1):
                job = waiting.pop(0)
                job.start(package, profile)
                running.append(job)
                progress.started(job)
            time.sleep(0.1)
            progress.tick(running)
            for job in [j for j in running if j.ended() or j.seconds() >= time_limit]:
                code = job.process.poll()  # None: its time is over
                job.stop()
                running.remove(job)
                if code is not None and code < 0 and job.attempts < ATTEMPTS:
                    progress.note(f"{job.figure.name}: ended by signal {-code}; started again")
                    waiting.append(job)
                    continue
                problem = job.problem(code, time_limit)
                if problem:
                    failures[job.figure.name] = problem
                else:
                    job.log.unlink(missing_ok=True)
                progress.ended(job, problem)
    finally:
        for job in running:
            job.stop()
    return failures


def _report(figures: list[Figure], folder: Path, failures: dict[str, str]) -> None:
    from rich.table import Table

    table = Table()
    widest = {"figure": 24, "the paper says": 60, "we measured": 60, "verdict": 13}
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
            whole = tally([f["verdict"] for f in record["findings"]])
            table.add_row(figure.name, record["title"], "", whole, seconds)
            for f in record["findings"]:
                table.add_row("", f["paper"], f["ours"], f["verdict"], "")
        table.add_section()
    show(table, width=140)
    for name, reason in failures.items():
        log = folder / f"{name}.log"
        more = (
            f" (full text: {os.path.relpath(log)})" if log.exists() and log.stat().st_size else ""
        )
        print(f"{name}: FAILED: {reason}{more}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """The command line of `python -m dsf.figures`."""
    parser = argparse.ArgumentParser(
        prog="python -m dsf.figures", description=DESCRIPTION, epilog=CODES
    )
    parser.add_argument("names", nargs="*", help="<paper>/<name>, <name> or <paper>; default: all")
    parser.add_argument(
        "--profile", choices=PROFILES, default="default", help="how much is computed"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("figures/build"), help="folder; default: figures/build"
    )
    parser.add_argument("--package", default="dsf.figures", help="where the figures are")
    parser.add_argument("--jobs", type=int, help="figures at a time; default: number of cores")
    parser.add_argument(
        "--time-limit", type=float, default=3600.0, help="seconds for one figure; default: 3600"
    )
    parser.add_argument("--keep", action="store_true", help="keep the results with the sources")
    arguments = parser.parse_args(argv)
    if arguments.keep and arguments.profile != _kept.PROFILE:
        parser.error(f"--keep goes with --profile {_kept.PROFILE}")
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {arguments.jobs}")
    try:
        return run(**vars(arguments))
    except (UnknownNameError, OutputError) as e:
        print(f"{parser.prog}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, the same command resumes", file=sys.stderr)
        return 130
