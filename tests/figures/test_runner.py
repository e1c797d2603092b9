"""The figure runner: every figure is built, nothing wrong kept, nothing computed twice."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys

import pytest

from dsf.figures import Finding
from dsf.figures.runner.catalogue import Figure, catalogue
from dsf.figures.runner.kept import kept, place
from dsf.tools.literals import literals


@pytest.mark.smoke
def test_figures_are_built_once_and_a_failure_stops_no_other(house):
    house.add("good")
    house.add("broken", "raise RuntimeError('no square today')", order=2)
    code, out, err = house.run()
    assert code == 1
    reason = "sweep: no result for n=0: RuntimeError: no square today"
    assert "no square today" in out and f"broken: FAILED: {reason}" in err
    assert "6 squares, the last is 25" in out
    assert house.file("good", ".csv").read_text().splitlines()[:3] == ["n,square", "0,0", "1,1"]
    assert not house.file("broken", ".json").exists()
    assert "Traceback" in house.file("broken", ".log").read_text()

    record = json.loads(house.file("good", ".json").read_text())
    assert record["seed"] == 7 and record["parameters"] == {"n": 6}
    assert record["findings"] == [
        {
            "paper": "squares grow",
            "ours": "6 squares, the last is 25",
            "verdict": "matches the statement",
            "source": "",
        }
    ]
    assert record["verdict"] == "matches the statement" and record["run"]["versions"]["numpy"]
    assert set(record["run"]["git"]) == {"revision", "dirty"}

    page = (house.out / "index.html").read_text()
    assert "Figures after Euclid" in page and "Squares &lt;grow&gt;" in page
    assert "</math> &amp; nothing else" in page and "not computed" in page

    # A second run: the finished figure is not even imported.
    before = house.results("good")
    code, out, _ = house.run("good")
    assert code == 0 and "6 squares, the last is 25" in out
    assert house.notes("good imported") == 1 and house.results("good") == before


def test_looking_at_finished_figures_imports_nothing_heavy(house):
    house.add("good")
    house.run()
    code = (
        "import sys; from dsf.figures.runner.runner import main;"
        f"assert main({house.words()}) == 0;"
        "heavy = {'matplotlib', 'scipy', 'sympy', 'torch', 'numba', 'cvxpy', 'pandas'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    env = {**os.environ, **house.variables}
    subprocess.run([sys.executable, "-P", "-c", code], env=env, check=True, capture_output=True)


def test_one_altered_bit_is_seen_and_the_figure_computed_again(house):
    figure = Figure("euclid/good", "small.euclid.good", house.add("good"))
    house.run()
    before, folder = house.results("good"), house.out / "smoke"
    for suffix in (".csv", ".json", ".png", ".svg"):
        assert figure.state(folder, "smoke") == "current"
        path = house.file("good", suffix)
        good = path.read_bytes()
        altered = bytearray(good)
        altered[len(good) // 2] ^= 1
        path.write_bytes(altered)
        assert figure.state(folder, "smoke") == "damaged"
        path.write_bytes(good)
    path.write_bytes(altered)
    code, out, _ = house.run()
    assert code == 0 and "a file was altered" in out
    assert house.notes("good imported") == 2 and house.results("good") == before


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
    assert record["kept"]["findings"][0]["ours"] == "20 squares, the last is 361"
    assert record["kept"]["parameters"] == {"n": 20}
    page = (house.out / "index.html").read_text()
    assert page.index("20 squares, the last is 361") < page.index("6 squares, the last is 25")
    assert page.index("kept in figures/euclid/results/") < page.index("The same at profile smoke")
    article = page[page.index("<article") : page.index("</article>")]
    assert article.count("<img") == 2

    csv = results / "good.csv"
    csv.write_text(csv.read_text().replace("361", "362"))
    code, _, err = house.run()
    assert code == 1 and "the record or its table was altered" in err


PARTLY = """
from dsf.figures import again

ALONE = findings


def compute(profile):
    table = sweep(one, [{"n": n} for n in range(PARAMETERS[profile]["n"])])
    return table if profile == "paper" else Table([{**r, "again": r["square"]} for r in table])


def findings(table):
    parts = [again("6 squares are the same", {agree})] if "again" in table.columns else []
    return ALONE(table) + parts
"""


def test_what_is_computed_again_stands_with_the_kept_result(house):
    for name, agree in (("good", "True"), ("poor", "False")):
        house.add(name, more=PARTLY.replace("{agree}", agree))
    assert house.run("--profile", "paper", "--keep")[0] == 0
    assert house.run()[0] == 0
    page = (house.out / "index.html").read_text()
    for name, holds in (("good", True), ("poor", False)):
        article = page[page.index(f'<article id="euclid/{name}"') :]
        assert "results/. Computed again here: 6 squares are the same.</p>" in article
        shown = article[: article.index("<details")]
        assert "20 squares, the last is 361" in shown and "6 squares, the last is 25" not in shown
        assert ("does not hold" in shown) == (not holds)


KEPT = [f for f in catalogue("dsf.figures") if place(f, ".json").exists()]


@pytest.mark.parametrize("figure", KEPT, ids=lambda f: f.name)
def test_kept_results_are_of_the_present_parameters(figure):
    module = importlib.import_module(figure.module)
    table, record = kept(figure)
    assert record["parameters"] == json.loads(json.dumps(module.PARAMETERS["paper"]))
    assert record["run"]["git"]["revision"] and len(table)
    assert all(isinstance(f, Finding) for f in module.findings(table))


@pytest.mark.smoke
@pytest.mark.parametrize("figure", catalogue("dsf.figures"), ids=lambda f: f.name)
def test_every_file_in_a_folder_of_a_paper_is_a_figure(figure):
    found = literals(figure.source, ("TITLE", "PAPER", "DIFFERS", "SEE", "ORDER"))
    assert found.get("TITLE") and found.get("PAPER") and "ORDER" in found, found
    sentences = re.findall(r"[.!?](?=\s|$)", found.get("SEE") or "")
    assert len(sentences) == 2 and found["SEE"].endswith("."), found.get("SEE")


def test_a_figure_that_breaks_the_protocol_is_a_failure(house):
    house.add("unsure", more='\ndef findings(table):\n    return [Finding("a", "b", "perhaps")]\n')
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


@pytest.mark.parametrize("jobs", ["0", "-1"])  # with -1 nothing would ever be started
def test_the_number_of_jobs_is_checked(house, jobs):
    house.add("good")
    code, _, err = house.run("--jobs", jobs)
    assert code == 2 and f"--jobs must be at least 1, got {jobs}" in err


def test_two_runs_at_once_leave_one_valid_result(house):
    house.add("good")
    both = [house.start(), house.start()]
    assert [p.communicate() and p.returncode for p in both] == [0, 0]
    code, out, _ = house.run()
    assert code == 0 and "altered" not in out
