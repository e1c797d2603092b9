"""The papers: every name is there, nothing is left out, and the verdicts are computed."""

from __future__ import annotations

import re
from functools import cache

import pytest

import dsf
from dsf.core import hooks
from dsf.core.catalogue import families, family
from dsf.core.errors import UnknownNameError
from dsf.theory_tests import Theorem, theorems
from dsf.tools import cite, cli
from dsf.verdicts.papers import ALL, NOT_ALL, NOT_KEPT, NOT_RUN, NOTHING, UNKNOWN, declared

TABLES, WANTED = declared()
FIGURES = {f.name: f for f in hooks.figures()}
THEOREMS = {t.name: t for t in theorems()}


@cache  # seconds
def kept(name: str):
    return hooks.kept_findings(FIGURES[name])


@pytest.fixture(scope="module")
def table():
    for name in FIGURES:
        kept(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks, "kept_findings", lambda figure: kept(figure.name))
        return dsf.papers()


def listed(kind: str) -> set[str]:
    return {name for t in TABLES.values() for name in t.get(kind, ())}


# ------------------------------------------------------------------------- the list
@pytest.mark.smoke
@pytest.mark.parametrize("key", TABLES)
def test_a_table_names_what_is_there(key):
    paper = TABLES[key]
    assert paper.keys() <= {"claim", "mechanisms", "theorems", "figures"} and len(paper) > 1
    assert paper["claim"] and not paper["claim"].endswith(".")
    assert cite.field(key, "title")
    for kind in paper.keys() - {"claim"}:
        assert paper[kind] and len(set(paper[kind])) == len(paper[kind]), kind
    assert all(family(name).facts.source for name in paper.get("mechanisms", ()))
    assert {*paper.get("theorems", ())} <= THEOREMS.keys()
    assert {*paper.get("figures", ())} <= FIGURES.keys()


def test_every_theorem_and_every_figure_belongs_to_a_paper():
    assert listed("theorems") == THEOREMS.keys()
    assert listed("figures") == FIGURES.keys()


@pytest.mark.parametrize("name", THEOREMS)
def test_a_theorem_belongs_to_every_paper_that_it_refers_to(name):
    for key in set(re.findall(r"\w+", THEOREMS[name].reference)) & cite.entries().keys():
        assert name in TABLES.get(key, {}).get("theorems", ()), f"papers.toml, [{key}]"


@pytest.mark.parametrize("name", [n for n, f in families().items() if "dsf." in f.cls.__module__])
def test_a_mechanism_belongs_to_its_source(name):
    assert name in TABLES[families()[name].facts.source]["mechanisms"]


def test_a_row_of_another_arxiv_number_is_another_paper(table):
    numbers = [row.arxiv for row in table.rows if row.arxiv]
    assert len(set(numbers)) == len(numbers)
    assert len(set(WANTED)) == len(WANTED) == 64
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}", number) for number in [*numbers, *WANTED])


def test_the_papers_that_are_wanted_and_there_are_counted(table):
    reached = int(re.search(r", (\d+) of the 64 that", table.headline())[1])
    assert reached == sum(row.arxiv in WANTED for row in table.rows) > 10


# ------------------------------------------------------------------------- the verdicts
def judging(monkeypatch, outcome):
    """Put another outcome in the place of what the theorem of zheng2022 computes."""
    (name,) = TABLES["zheng2022"]["theorems"]
    monkeypatch.setattr(Theorem, "claim", lambda self: lambda: outcome)
    monkeypatch.setattr(hooks, "theorems", lambda: [THEOREMS[name]])


@pytest.mark.parametrize(
    ("outcome", "verdict", "code"),
    [
        ((1.0, 1.0, 0.0), ALL, 0),
        ((1.0, 1.1, 0.01), NOT_ALL, 1),
        ([(1.0, 1.0, 0.0), (float("nan"), 0.0, 1.0)], NOT_ALL, 1),
    ],
)
def test_the_verdict_is_that_of_the_theorem(monkeypatch, capsys, outcome, verdict, code):
    judging(monkeypatch, outcome)
    table = dsf.papers("zheng2022", check=True)
    paper = table["zheng2022"]
    assert f" {1 - code} of 1 " in str(table).splitlines()[4]
    assert paper.verdict == verdict and paper.theorems[0].lines[0].startswith("computed")
    assert cli.main(["papers", "zheng2022", "--check"]) == code
    assert capsys.readouterr().out.splitlines()[0].endswith(verdict)


def test_without_check_no_theorem_is_run(monkeypatch, capsys):
    def run(self):
        raise AssertionError(self.name)

    monkeypatch.setattr(Theorem, "claim", run)
    paper = dsf.papers("zheng2022")["zheng2022"]
    assert paper.verdict == paper.theorems[0].verdict == NOT_RUN
    assert cli.main(["papers", "zheng2022"]) == 0
    assert "to run the theorems: dsf papers zheng2022 --check" in capsys.readouterr().out


def found(verdict: str, source: str = "") -> dict[str, str]:
    return {"paper": "more is better", "ours": "more", "verdict": verdict, "source": source}


@pytest.mark.parametrize(
    ("findings", "verdict", "whole"),
    [
        ([found("matches the number"), found("matches the statement")], "2 of 2 hold", ALL),
        ([found("matches the number"), found("does not hold")], "1 of 2 holds", NOT_ALL),
        ([found("does not hold"), found("no value known")], "0 of 1 hold", NOT_ALL),
        ([found("no value known")], UNKNOWN, NOT_RUN),
        ([found("does not hold", "1706.03762"), found("matches the number")], "1 of 1 holds", ALL),
        ([found("does not hold", "2410.10781"), found("matches the number")], "1 of 2 holds",
         NOT_ALL),
        (None, NOT_KEPT, NOT_RUN),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_the_findings(monkeypatch, findings, verdict, whole):
    monkeypatch.setattr(hooks, "kept_findings", lambda figure: findings)
    paper = dsf.papers("gu2024")["gu2024"]
    assert paper.figures[0].verdict == verdict and paper.verdict == whole


def test_one_finding_that_fails_is_enough(monkeypatch):
    monkeypatch.setattr(hooks, "kept_findings", lambda figure: [found("does not hold")])
    table = dsf.papers("gu2024", check=True)
    assert table["gu2024"].verdict == NOT_ALL
    row = str(table).splitlines()[4].split(None, 2)[2]  # without key and number
    assert row.split() == [".", *"2 of 2".split(), "1", *"0 of 1".split(), *NOT_ALL.split()]


def test_a_paper_of_mechanisms_alone_has_nothing_to_judge():
    assert dsf.papers("vaswani2017", check=True)["vaswani2017"].verdict == NOTHING


@pytest.mark.parametrize("row", TABLES)
def test_a_figure_finds_something_about_each_of_its_papers(table, row):
    for figure in table[row].figures:
        assert figure.lines, f"{figure.name} says nothing of {row}"
        assert (figure.verdict == NOT_KEPT) == (kept(figure.name) is None)


@pytest.mark.parametrize("name", FIGURES)
def test_a_finding_of_one_of_several_papers_names_its_number(name):
    figure = FIGURES[name]
    papers = [key for key, t in TABLES.items() if name in t.get("figures", ())]
    sources = {f["source"] for f in kept(name) or ()} - {""}
    assert all(f"arXiv {s}" in figure.literals()["PAPER"] for s in sources)
    assert not sources or len(papers) > 1


# ------------------------------------------------------------------------- the printout
def test_everything_fits_the_page(table):
    for text in (table, *table.rows):
        assert max(map(len, str(text).splitlines())) <= 79
    assert str(table).count("not run here") > 10 and "Theorems were not run" in str(table)


def test_a_block_says_all_that_was_judged(table):
    text = str(table["li2023"])
    for part in ("li2023   arXiv 2304.13276", "claims: a step", "mechanisms: softmax",
                 "regression/attention_step", "regression/shifted_target"):  # fmt: skip
        assert part in text
    sinks = " ".join(str(table["gu2024"]).split())
    assert "dynamics/sink_operations 1 of 4 holds" in sinks and "does not hold: A key bias" in sinks
    assert "Clipping and gates" not in sinks  # said by another paper


def test_a_long_theorem_is_cut_and_says_so(monkeypatch):
    judging(monkeypatch, [(float(i), float(i), 0.0) for i in range(5)])
    text = str(dsf.papers("zheng2022", check=True)["zheng2022"])
    assert "6 more lines: dsf theorem random_features/randomised_attention" in text


def test_html_has_every_paper(table):
    html = table.to_html()
    assert html.count("<tr>") == len(table.rows) + 1 and "http" not in html
    assert all(f"<b>{key}</b>" in html for key in TABLES)


def test_papers_can_be_cited(table):
    assert dsf.cite(table["he2025"]).startswith("@misc{he2025,")
    assert dsf.cite(table).count("\n@") == len(table.rows) - 1


def test_a_key_that_is_none(capsys):
    with pytest.raises(UnknownNameError, match=r"no paper 'he2024'; there is .*he2025"):
        dsf.papers("he2024")
    assert cli.main(["papers", "nonsense"]) == 2
    assert "no paper 'nonsense'; there is" in capsys.readouterr().err


def test_the_table_on_the_command_line(monkeypatch, capsys, table):
    monkeypatch.setattr(hooks, "kept_findings", lambda figure: kept(figure.name))
    assert cli.main(["papers"]) == 0
    assert capsys.readouterr().out == f"{table}\n"
