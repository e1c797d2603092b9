"""What is shown while figures are being built: a live line each, or plain lines in a log."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Building(Protocol):
    """What is shown of a job."""

    figure: Any

    def last_line(self) -> str: ...
    def seconds(self) -> float: ...


class Progress:
    """A context in which jobs are announced; live if the output is a terminal."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.bars: Any = None
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        if self.total and sys.stdout.isatty():
            from rich.progress import BarColumn, SpinnerColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = ("{task.description}", BarColumn(bar_width=20), "{task.fields[at]}")
            self.bars = Bars(SpinnerColumn(), *columns, TimeElapsedColumn(), transient=True)
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars:
            self.bars.stop()

    def note(self, text: str) -> None:
        if self.bars:
            self.bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def started(self, job: Building) -> None:
        name = job.figure.name
        if self.bars and name not in self.tasks:  # it is there after a second start
            self.tasks[name] = self.bars.add_task(name, total=None, at="")

    def tick(self, jobs: list[Any]) -> None:
        if not self.bars:
            return
        for job in jobs:  # the last line of the log; from a sweep it is "points done/all"
            line = job.last_line()[:40]
            done, _, total = line.partition("/")
            counts = {}
            if done.isdigit() and total.isdigit():
                counts = {"completed": int(done), "total": int(total)}
            self.bars.update(self.tasks[job.figure.name], at=line, **counts)

    def ended(self, job: Building, problem: str) -> None:
        self.done += 1
        name = job.figure.name
        if self.bars:
            self.bars.remove_task(self.tasks.pop(name))
        result = f"FAILED: {problem}" if problem else "done"
        self.note(f"[{self.done}/{self.total}] {name}: {result}, {job.seconds():.1f} s")
