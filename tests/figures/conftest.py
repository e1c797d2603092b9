"""The figures and their tables, computed once per run; small figures for the runner to build."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from dsf.figures import Table
from dsf.figures.runner.runner import main
from dsf.tools.files import write

sys.path.insert(0, str(Path(__file__).parent))  # changes.py


def heeded() -> None:
    """Signals that the tests were started to ignore (nohup, a job beside) count again."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _figure(name: str):
    return importlib.import_module(f"dsf.figures.{name.replace('/', '.')}")


@pytest.fixture(scope="session")
def figure():
    """figure("dsf/gauge"): its module."""
    return _figure


@pytest.fixture(scope="session")
def table(tmp_path_factory, request):
    """table("dsf/gauge"): its table in the smoke profile, on its way through CSV as the runner
    reads it; computed by the first process of the run that asks for it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if hasattr(request.config, "workerinput") else folder

    @cache
    def found(name: str) -> Table:
        file = folder / f"{name.replace('/', '-')}.csv"
        if not file.exists():
            write(file, Table(_figure(name).compute("smoke")).to_csv().encode())
        return Table.from_csv(file.read_text(encoding="utf-8"))

    return found


HEADER = """
import os
from pathlib import Path
from dsf.figures import Finding, Table, statement, sweep
from dsf.figures.runner.catalogue import catalogue

TITLE = "Squares <grow>"
PAPER = "n^2 & nothing else (Euclid, book II)"
DIFFERS = "fewer points"
SEE = "A curve bends upwards. It ends at its top."
ORDER = {order}
SEED = 7
PARAMETERS = {{"smoke": {{"n": 6}}, "default": {{"n": 8}}, "paper": {{"n": 20}}}}
DIARY = Path(os.environ["DIARY"])


def note(text):
    with DIARY.open("a") as diary:
        diary.write("{name} " + text + "\\n")


note("imported")


def draw(table):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(table.column("n"), table.column("square"))
    return figure


def findings(table):
    ours = f"{{len(table)}} squares, the last is {{table[-1]['square']}}"
    return [statement("squares grow", ours, table[-1]["square"] > table[0]["square"])]

"""

SWEEP = """
def one(n):
    {before}
    note(f"point {{n}}")
    return {{"square": n * n}}


def compute(profile):
    return sweep(one, [{{"n": n}} for n in range(PARAMETERS[profile]["n"])])
"""


class House:
    """A folder with a package of small figures and a place for their results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.diary = folder, folder / "out", folder / "diary"
        (folder / "small" / "euclid").mkdir(parents=True)
        (folder / "small" / "__init__.py").write_text("")
        (folder / "small" / "euclid" / "__init__.py").write_text('"""Figures after Euclid."""\n')
        self.diary.write_text("")

    def add(self, name: str, before: str = "pass", order: int = 1, more: str = "") -> Path:
        path = self.folder / "small" / "euclid" / f"{name}.py"
        text = HEADER.format(name=name, order=order) + SWEEP.format(before=before) + more
        path.write_text(text)
        return path

    def words(self, *arguments: str) -> list[str]:
        """The command line of the runner."""
        found = ["--package", "small", "--out", str(self.out), "--profile", "smoke"]
        return [*found, *arguments]

    @property
    def variables(self) -> dict[str, str]:
        """By which processes find the figures, and the figures their diary."""
        return {"PYTHONPATH": str(self.folder), "DIARY": str(self.diary)}

    def start(self, *arguments: str, setup: str = "") -> subprocess.Popen[str]:
        """The runner; `setup` is a line of shell that comes before it in the same process."""
        command = [sys.executable, "-P", "-m", "dsf.figures", *self.words(*arguments)]
        return subprocess.Popen(
            ["sh", "-c", f'{setup}\nexec "$@"', "sh", *command],
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heeded,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output and errors of the runner, which needs no process of its own."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.syspath_prepend(self.folder)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            try:
                code = main(self.words(*arguments))
            except SystemExit as e:  # wrong usage
                code = int(e.code or 0)
        return code, out.getvalue(), err.getvalue()

    def run_apart(self, *arguments: str, setup: str = "") -> tuple[int, str, str]:
        """The same in a process of its own, which may hang."""
        process = self.start(*arguments, setup=setup)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()  # where the time is over; its figures end with it
        return process.returncode, out, err

    def file(self, name: str, suffix: str) -> Path:
        return self.out / "smoke" / "euclid" / f"{name}{suffix}"

    def results(self, name: str) -> dict[str, bytes]:
        """All that must not depend on how the figure was reached."""
        files = {s: self.file(name, s).read_bytes() for s in (".csv", ".png", ".svg")}
        record = json.loads(self.file(name, ".json").read_text())
        del record["run"], record["sha256"], record["fingerprint"]
        return {**files, ".json": json.dumps(record).encode()}

    def notes(self, text: str) -> int:
        return self.diary.read_text().splitlines().count(text)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.fixture(scope="module")
def common_house(tmp_path_factory):
    """A house for several tests that only look at what was built."""
    return House(tmp_path_factory.mktemp("common"))


@pytest.fixture
def two_houses(tmp_path):
    return House(tmp_path / "a"), House(tmp_path / "b")
