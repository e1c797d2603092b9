"""The tutorial and the story of one head: they say what is printed, and the page shows all."""

from __future__ import annotations

import doctest
import re
from html.parser import HTMLParser

import pytest

from dsf.figures.runner.tutorial import FILE, STORY, tutorial

READERS = ("You build models", "You prove theorems", "You teach")


@pytest.mark.parametrize("reader", READERS)
def test_each_part_stands_alone(reader):
    part = FILE.read_text(encoding="utf-8").partition(f"## {reader}\n")[2].partition("\n## ")[0]
    test = doctest.DocTestParser().get_doctest(part, {}, reader, None, None)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


def test_it_has_a_part_for_each_reader_and_each_runs_code():
    text = FILE.read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.M)
    assert tuple(titles) == READERS
    assert ">>>" not in text.split("\n## ")[0]
    assert all(part.count(">>>") >= 5 for part in text.split("\n## ")[1:])
    assert "](TUTORIAL.md)" in (FILE.parent / "README.md").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The tags in their order, each closed as it was opened, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_story_of_one_head():
    result = doctest.testfile(str(STORY), module_relative=False)
    assert result.attempted > 8 and result.failed == 0


@pytest.mark.parametrize("file", [FILE, STORY])
def test_the_page_shows_all_of_it(file):
    page, text = Page(tutorial(file)), file.read_text(encoding="utf-8")
    assert set(page.tags) == {"h2", "h3", "p", "pre", "code"}
    assert page.tags.count("h3") == text.count("\n## ")
    assert page.tags.count("pre") == text.count("```python")
    words = re.sub(r"^(#+|```\w*)", "", text, flags=re.M).replace("`", "")
    assert "".join(page.text.split()) == "".join(words.split())


def test_without_the_file_there_is_no_tutorial(tmp_path):
    assert tutorial(tmp_path / "none.md") == ""
