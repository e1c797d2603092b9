"""Formulas as LaTeX and HTML: they parse, and nothing of the formula is lost."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.mathtext import MathTextParser

import dsf
from dsf.core import html, notation
from dsf.core.catalogue import everything

PARSER = MathTextParser("agg")
FORMULAS = sorted(
    {
        formula
        for f in everything()
        for formula in (*f.without_parameters().equations, f.facts.state, f.facts.flops)
    }
)


def parses(formula: str) -> bool:
    PARSER.parse(f"${formula}$")
    return formula.count("{") == formula.count("}")


def letters(text: str) -> list[str]:
    """The letters and digits of a text, in their order."""
    return re.findall(r"[A-Za-z0-9]", text)


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_of_the_catalogue_is_mathematics(formula):
    tex = notation.latex(formula)
    assert parses(tex) and not re.search(r"(?<!\\)[#%&$]|\\_", tex)
    plain = re.sub(r"\\(operatorname|mathrm|sqrt|bar|top)\b|\\", "", tex)
    assert letters(plain) == letters(formula.replace("sqrt", "").replace("bar", ""))
    names = {v: k for k, v in notation.GREEK.items()}
    shown = unescape(re.sub(r"<[^>]*>", "", notation.html(formula)))
    shown = "".join(names.get(c, c) for c in shown.replace("\N{COMBINING MACRON}", "bar"))
    assert letters(shown) == letters(formula)
    assert shown.count("⊤") == formula.count("'")


@pytest.mark.parametrize(
    ("formula", "tex"),
    [
        ("e^{dt_t a} S_{t-1}", r"e^{\mathrm{dt}_{t} a} S_{t-1}"),
        ("S_t' q_t / eta_t", r"S_{t}^{\top} q_{t} / \eta_{t}"),
        ("last `width` of v_t", r"\mathrm{last}\ \mathrm{width}\ \mathrm{of}\ v_{t}"),
        ("sqrt(1 - a_t^2) i_t", r"\sqrt{1 - a_{t}^{2}} i_{t}"),
        ("4*H*(n+1)", "4 H (n+1)"),
        ("a_t k_t + writes", r"a_{t} k_{t} + \mathrm{writes}"),
        ("Abar h_{t-1}", r"\bar{A} h_{t-1}"),
    ],
)  # fmt: skip
def test_latex_of(formula, tex):
    assert notation.latex(formula) == tex and parses(tex)


class Balanced(HTMLParser):
    """Raises where a tag is closed that is not open; `text` is what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "style", "link", "img")
        assert not any(re.search("color *:|background|http", value or "") for _, value in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@given(st.text())
def test_no_text_breaks_out(text):
    notation.latex(text)
    assert "<" not in notation.text(text) and "\\\\" not in notation.text(text)
    Balanced(notation.html(text))
    page = html.card(text, text, html.table([(text, text, text)], [text] * 3), html.paragraph(text))
    shown = Balanced(page).text
    assert shown.count("\r") or shown == text * 9


U = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6], [0.0, 1.0]]
OBJECTS = {
    "family": lambda: dsf.gla,
    "instance": lambda: dsf.deltanet.init(d=2),
    "instance of torch": lambda: dsf.gla.to_torch(d=2)._mechanism,
    "ltv": lambda: dsf.mamba2.init(d=2).ltv(U),
    "certificate": lambda: dsf.compare("retnet", "gla").certificates[0],
    "realization": lambda: dsf.realize(dsf.gla.init(d=2, n=1, p=1).kernel(U)[0], rtol=0.1),
    "stability": lambda: dsf.stability(dsf.lru.init(d=2)),
    "comparison": lambda: dsf.compare("retnet", "gla"),
    "atlas": lambda: dsf.atlas("gla"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_a_notebook_shows(name):
    shown = OBJECTS[name]()
    page = Balanced(shown._repr_html_())
    assert "<table>" in shown._repr_html_() and len(page.text) > 40


def test_a_notebook_shows_what_print_shows():
    for x in (dsf.gla, dsf.mamba3.init(d=4), dsf.mamba2.init(d=2).ltv(U)):
        printed = x.describe() if x is dsf.gla else str(x)
        page = Balanced(x._repr_html_()).text
        printed = printed.replace("gamma", "γ").replace("e^{dt_t a}", "edtt a")
        assert letters(page) == letters(printed)
    equations = dsf.gla._repr_html_()
    assert "<i>S</i><sub><i>t</i>−1</sub> + <i>k</i><sub><i>t</i></sub>" in equations
