"""The gallery's page: what stands on it, where its links lead, and that it needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from dsf.core import hooks
from dsf.figures import VERDICTS
from dsf.figures.runner.catalogue import catalogue
from dsf.figures.runner.gallery import gallery
from dsf.figures.runner.page import GLOSSARY, VERDICTS_MEAN, WHAT

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page; AssertionError where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str, name: str) -> list[str]:
        return [a[name] for t, a in self.found if t == tag and name in a]


@pytest.fixture(scope="module")
def page(common_house):
    common_house.add("good")
    common_house.add("broken", "raise RuntimeError('no square today')", order=2)
    common_house.run()
    return (common_house.out / "index.html").read_text()


def test_the_page_stands_alone_and_its_links_lead_somewhere(common_house, page):
    parsed = Page(page)
    ids = parsed.all("a", "href")
    anchors = {a["id"] for _, a in parsed.found if "id" in a}
    assert {"euclid/good", "euclid/broken", "verdicts", "words", "contents"} <= anchors
    for link in ids:
        assert (
            link[1:] in anchors if link.startswith("#") else (common_house.out / link).exists()
        ), link
    assert any(link.endswith("small/euclid/good.py") for link in ids)
    assert {f"smoke/euclid/good{s}" for s in (".csv", ".json", ".png")} <= set(ids)
    assert all(s.startswith("data:image/") for s in parsed.all("img", "src"))
    assert "http" not in page and not parsed.all("script", "src") and not parsed.all("link", "href")


def test_our_page_has_the_papers_and_that_of_others_has_not(page, tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "kept_findings", lambda figure: None)
    ours = gallery(catalogue("dsf.figures"), tmp_path / "smoke", "smoke", {}).read_text()
    parsed = Page(ours)
    assert "#papers" in parsed.all("a", "href") and "papers" in parsed.all("h2", "id")
    assert "<b>tarzanagh2023</b> Transformers as Support Vector Machines" in ours
    assert "papers" not in Page(page).all("h2", "id")


def test_a_figure_has_its_picture_what_to_see_its_table_and_its_command(page):
    article = page[page.index('<article id="euclid/good"') : page.index("</article>")]
    order = [
        "Squares &lt;grow&gt;", "data:image/svg+xml", "Profile smoke, computed in",
        "A curve bends upwards. It ends at its top.", "squares grow", "6 squares, the last is 25",
        "matches the statement</span></td>", "What the paper does", "Euclid, book II",
        "fewer points", "source: euclid/good.py", "dsf figure euclid/good --profile smoke",
        "seed 7",
    ]  # fmt: skip
    places = [article.index(text) for text in order]
    assert places == sorted(places)
    assert "<math><msup><mi>n</mi><mn>2</mn></msup></math> &amp; nothing" in article


def test_the_first_screen_says_what_this_is_and_what_the_badges_mean(page):
    start = page[: page.index("<article")]
    assert len(re.findall(r"\.(?= |$)", WHAT)) == 3 and WHAT in start
    assert tuple(v for v, _, _ in VERDICTS_MEAN) == VERDICTS
    assert all(f">{v}</span></dt>" in start for v in VERDICTS)
    assert all(f"<b>{word}</b>" in start for word, _ in GLOSSARY)
    assert start.index("data:image/png") < start.index('id="verdicts"') < start.index("2 figures:")
    assert 'name="viewport"' in start and "zoomed" in page


def test_a_figure_that_could_not_be_built_says_why_and_how_to_build_it(page):
    article = page[page.index('<article id="euclid/broken"') :]
    assert ">not computed</span>" in article and "no square today" in article
    assert "Nothing yet: <code>dsf figure euclid/broken --profile smoke</code>" in article


def test_one_row_that_does_not_hold_is_the_badge_of_the_figure(house):
    more = (
        "\ndef findings(table):\n"
        '    return [statement("a", "b", True), statement("c", "d", False)]\n'
    )
    house.add("mixed", more=more)
    _, out, _ = house.run()
    page = (house.out / "index.html").read_text()
    assert "does not hold (1 of 2 does)" in page and 'class="badge not"' in page
    assert "does not hold" in out and "(1 of 2 does)" in " ".join(out.split())
