"""A figure being built: its process with all that it starts, and why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dsf.figures.runner.catalogue import Figure
from dsf.tools.files import UNWRITABLE, writing

# One thread: the number of threads changes the last bits of a sum.  No clock in the bytes.
ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")},
    "VECLIB_MAXIMUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "SOURCE_DATE_EPOCH": "0",
}

# The shell becomes the process of the figure.  Before that it leaves a watcher in the group, which
# reads from a pipe that only the runner holds open.  The pipe ends when the runner does, also by
# SIGKILL, and then the watcher kills the group.  It is a process because compiled code may keep
# the other threads of a figure from running.
TIED = """
exec 3<&0 </dev/null
(read -r line <&3; kill -KILL 0) &
exec 3<&- "$@"
"""

NO_RECORD = (
    "it ended with exit code 0 and left no new, intact record.  Likely cause: it calls sys.exit or "
    "os._exit.  Let it return, or raise an exception that says what is wrong"
)
NO_LOG = (
    "cannot write its files, nor why into its log.  Likely cause: a full disk.  "
    "Free some space; the same command resumes"
)


@dataclass
class Job:
    """A figure being built into `folder`, in a group of processes of its own."""

    figure: Figure
    folder: Path
    attempts: int = 0
    started: float = 0.0
    process: subprocess.Popen[bytes] = field(init=False, repr=False)
    before: tuple[int, int] | None = field(init=False, repr=False)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.figure.file(self.folder, ".log")

    def start(self, package: str, profile: str) -> None:
        """Start the process; OutputError if its log cannot be written."""
        self.attempts += 1
        self.started = time.monotonic()
        self.before = self._record_on_disk()
        with writing(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = self.log.open("ab")
        build = [sys.executable, "-P", "-m", "dsf.figures.runner.build"]
        build += [package, self.figure.name, profile, str(self.folder)]
        with log:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", TIED, "sh", *build],
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Kill what is left of the process and of those it started."""
        # EPERM: macOS says so of a group in which every process has ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()  # waits for it, and closes the pipe

    def last_line(self) -> str:
        """The last line of its output so far."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def seconds(self) -> float:
        """Time since its start."""
        return time.monotonic() - self.started

    def problem(self, code: int | None, time_limit: float) -> str:
        """Why it failed, "" if it did not; exit code None: it was stopped at its time limit."""
        if code is None:
            return f"stopped at its time limit of {time_limit:g} s"
        if code < 0:
            return f"ended by signal {-code}, {self.attempts} times"
        line = self.last_line()
        if code == UNWRITABLE:
            return line if "Error" in line else NO_LOG
        if code > 0:
            return line or f"exit code {code}"
        written = self._record_on_disk() != self.before
        return "" if written and self.figure.record(self.folder) is not None else NO_RECORD

    def _record_on_disk(self) -> tuple[int, int] | None:
        """What is another once the record is written again, be it with the same content."""
        try:
            file = self.figure.file(self.folder, ".json").stat()
        except OSError:
            return None
        return file.st_ino, file.st_mtime_ns
