"""The figure runner: nothing lost after a kill, nothing wrong kept, nothing computed twice."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dsf.figures import VERDICTS
from dsf.figures.runner.catalogue import catalogue
from dsf.figures.runner.kept import kept, place
from dsf.tools.literals import literals

HEADER = """
import os
from pathlib import Path
from dsf.figures import VERDICTS, Table, sweep
from dsf.figures.runner.catalogue import catalogue

TITLE = "Squares <grow>"
PAPER = "n^2 & nothing else (Euclid, book II)"
DIFFERS = "fewer points"
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


def measured(table):
    return f"{{len(table)}} squares, the last is {{table[-1]['square']}}", "agrees"

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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "dsf.figures", "--package", "small"]
        command += ["--out", str(self.out), "--profile", "smoke", *arguments]
        return subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(self.folder), "DIARY": str(self.diary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
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


@pytest.mark.smoke
def test_figures_are_built_once_and_a_failure_stops_no_other(house):
    house.add("good")
    house.add("broken", "raise RuntimeError('no square today')", order=2)
    code, out, err = house.run()
    assert code == 1
    assert "no square today" in out and "broken: FAILED: RuntimeError: no square today" in err
    assert "6 squares, the last is 25" in out
    assert house.file("good", ".csv").read_text().splitlines()[:3] == ["n,square", "0,0", "1,1"]
    assert not house.file("broken", ".json").exists()
    assert "Traceback" in house.file("broken", ".log").read_text()

    record = json.loads(house.file("good", ".json").read_text())
    assert record["seed"] == 7 and record["parameters"] == {"n": 6}
    assert record["verdict"] == "agrees" and record["run"]["versions"]["numpy"]
    assert set(record["run"]["git"]) == {"revision", "dirty"}

    page = (house.out / "index.html").read_text()
    assert "Figures after Euclid" in page and "Squares &lt;grow&gt;" in page
    assert "n^2 &amp; nothing else" in page and "not computed" in page
    assert 'src="data:image/svg+xml;base64,' in page and "http" not in page
    assert 'href="smoke/euclid/good.csv"' in page

    # A second run: the finished figure is not even imported.
    before = house.results("good")
    start = time.perf_counter()
    code, out, _ = house.run("good")
    assert time.perf_counter() - start < 5
    assert code == 0 and "6 squares, the last is 25" in out
    assert house.notes("good imported") == 1 and house.results("good") == before


def test_looking_at_finished_figures_imports_nothing_heavy(house):
    house.add("good")
    house.run()
    arguments = ["--package", "small", "--profile", "smoke", "--out", str(house.out)]
    code = (
        "import sys; from dsf.figures.runner.runner import main;"
        f"assert main({arguments}) == 0;"
        "heavy = {'matplotlib', 'scipy', 'sympy', 'torch', 'numba', 'cvxpy', 'pandas'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(house.folder), "DIARY": str(house.diary)}
    subprocess.run([sys.executable, "-P", "-c", code], env=env, check=True, capture_output=True)


def test_one_altered_bit_is_seen_and_the_figure_computed_again(house):
    house.add("good")
    house.run()
    before = house.results("good")
    for times, suffix in enumerate([".csv", ".json", ".png", ".svg"], 2):
        path = house.file("good", suffix)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        code, out, _ = house.run()
        assert code == 0 and "a file was altered" in out
        assert house.notes("good imported") == times and house.results("good") == before


def test_an_edited_source_is_computed_again(house):
    source = house.add("good")
    house.run()
    source.write_text(source.read_text().replace("n * n", "n * n + 1"))
    code, out, _ = house.run()
    assert code == 0 and "the last is 26" in out


def test_the_long_profile_is_kept_and_drawn_with_the_others(house):
    source = house.add("good")
    code, _, err = house.run("--keep")
    assert code == 2 and "--keep goes with --profile paper" in err
    assert house.run("--profile", "paper", "--keep")[0] == 0
    results = source.parent / "results"
    assert sorted(f.name for f in results.iterdir()) == ["good.csv", "good.json"]
    assert house.run("--profile", "paper")[0] == 0
    assert house.notes("good point 19") == 1  # keeping a run does not make it old
    assert house.run()[0] == 0
    record = json.loads(house.file("good", ".json").read_text())
    assert record["kept"]["measured"] == "20 squares, the last is 361"
    assert record["kept"]["parameters"] == {"n": 20}
    page = (house.out / "index.html").read_text()
    assert page.count("<img") == 2 and "20 squares, the last is 361" in page
    assert "kept in figures/euclid/results/" in page and "profile smoke" in page

    csv = results / "good.csv"
    csv.write_text(csv.read_text().replace("361", "362"))
    code, _, err = house.run()
    assert code == 1 and "the record or its table was altered" in err


KEPT = [f for f in catalogue("dsf.figures") if place(f, ".json").exists()]


@pytest.mark.parametrize("figure", KEPT, ids=lambda f: f.name)
def test_kept_results_are_of_the_present_parameters(figure):
    module = importlib.import_module(figure.module)
    table, record = kept(figure)
    assert record["parameters"] == json.loads(json.dumps(module.PARAMETERS["paper"]))
    assert record["run"]["git"]["revision"] and len(table)
    assert module.measured(table)[1] in VERDICTS


@pytest.mark.smoke
@pytest.mark.parametrize("figure", catalogue("dsf.figures"), ids=lambda f: f.name)
def test_every_file_in_a_folder_of_a_paper_is_a_figure(figure):
    found = literals(figure.source, ("TITLE", "PAPER", "DIFFERS", "ORDER"))
    assert found.get("TITLE") and found.get("PAPER") and "ORDER" in found, found


def test_a_run_that_was_killed_resumes(tmp_path):
    whole, cut = House(tmp_path / "whole"), House(tmp_path / "cut")
    for house in (whole, cut):
        house.add("slow", "import time; time.sleep(0.3)")
    assert whole.run()[0] == 0

    process = cut.start()
    while cut.diary.read_text().count("point") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not cut.file("slow", ".json").exists()
    # One of the points it kept is damaged besides.
    kept = sorted(cut.out.rglob("*.points/*/*.json"))
    kept[0].write_bytes(kept[0].read_bytes()[:-20])

    assert cut.run()[0] == 0
    assert cut.results("slow") == whole.results("slow")
    # Computed twice: the damaged point, and the one under way when the kill came.
    assert cut.diary.read_text().count("point") <= 6 + 2
    assert not list(cut.out.rglob("*.points"))


@pytest.mark.slow
def test_nothing_is_lost_at_any_time_of_the_kill(tmp_path):
    whole, cut = House(tmp_path / "whole"), House(tmp_path / "cut")
    for house in (whole, cut):
        house.add("slow", "import time; time.sleep(0.1)")
    assert whole.run()[0] == 0
    rng = np.random.default_rng(0)
    finished = []
    for _ in range(20):
        shutil.rmtree(cut.out, ignore_errors=True)
        process = cut.start()
        time.sleep(rng.uniform(0.1, 2.5))
        os.killpg(process.pid, signal.SIGKILL if rng.random() < 0.5 else signal.SIGINT)
        process.communicate()
        finished.append(cut.file("slow", ".json").exists())
        assert cut.run()[0] == 0
        assert cut.results("slow") == whole.results("slow")
    assert not all(finished)  # some kills came before the end, or this shows nothing


def test_a_polite_kill_stops_the_figures_too(house):
    house.add("slow", "import time; time.sleep(0.3)")
    process = house.start()
    while "point" not in house.diary.read_text():
        time.sleep(0.02)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "resumes" in err
    points = house.diary.read_text().count("point")
    time.sleep(0.7)
    assert house.diary.read_text().count("point") == points


def test_a_process_killed_from_outside_is_started_again(house):
    once = "flag = DIARY.with_name('once'); n == 2 and not flag.exists() and ("
    house.add("victim", once + "flag.touch(), os.kill(os.getpid(), 9))")
    code, out, _ = house.run()
    assert code == 0 and "started again" in out
    assert house.notes("victim imported") == 2 and house.notes("victim point 1") == 1


def test_a_figure_that_hangs_is_a_failure(house):
    house.add("hangs", "import time; time.sleep(60)")
    code, _, err = house.run("--time-limit", "2")
    assert code == 1 and "time limit of 2 s" in err


def test_a_figure_that_breaks_the_protocol_is_a_failure(house):
    house.add("unsure", more='\ndef measured(table):\n    return "", "perhaps"\n')
    house.add("partial", more="\ndel draw\n")
    house.add("garbled", more="\ndef (\n")
    code, _, err = house.run()
    assert code == 1
    assert "verdict 'perhaps' is none of" in err
    assert "is not a figure: it lacks draw" in err
    assert "SyntaxError" in err


def test_names_are_checked(house):
    house.add("good")
    code, _, err = house.run("goods")
    assert code == 2 and "no figure 'goods'; there is good" in err


def test_two_runs_at_once_leave_one_valid_result(house):
    house.add("good")
    both = [house.start(), house.start()]
    assert [p.communicate() and p.returncode for p in both] == [0, 0]
    code, out, _ = house.run()
    assert code == 0 and "altered" not in out
