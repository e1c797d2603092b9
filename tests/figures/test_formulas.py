"""Formulas in the gallery's texts: MathML that is well formed, and nothing else touched."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dsf.figures.runner.catalogue import catalogue
from dsf.figures.runner.formulas import formulas


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("W_mm", "<msub><mi>W</mi><mi>mm</mi></msub>"),
        ("10^-8", "<msup><mn>10</mn><mn>−8</mn></msup>"),
        ("e^{−τ(Δ+u)}", "<msup><mi>e</mi><mi>−τ(Δ+u)</mi></msup>"),
        ("‖A‖_F", "<msub><mi>‖A‖</mi><mi>F</mi></msub>"),
        ("ηᵢ₋₁", "<msub><mi>η</mi><mi>i−1</mi></msub>"),
        ("x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("e²ᴮ", "<msup><mi>e</mi><mi>2B</mi></msup>"),
        ("√2", "<msqrt><mn>2</mn></msqrt>"),
        (
            "|W_ij|^p",
            "<msup><mrow><mo>|</mo><msub><mi>W</mi><mi>ij</mi></msub><mo>|</mo></mrow>"
            "<mi>p</mi></msup>",
        ),
    ],
)
def test_a_mark_becomes_mathml(text, inner):
    assert formulas(text) == f"<math>{inner}</math>"
    assert formulas(f"a ({text}, b).") == f"a (<math>{inner}</math>, b)."


@pytest.mark.parametrize(
    "text", ["arXiv 2410.13835", "q, k", "a file_name.py", "2^", "T = 5", "|A|", "log² t", "x ^ 2"]
)
def test_everything_else_stays(text):
    assert formulas(text) == text


@given(st.text("aW_^|‖)√2ηᵢ₀²{}-−<>& .", max_size=20))
def test_any_text_is_well_formed_html_with_all_its_letters(text):
    tree = ElementTree.fromstring(f"<p>{formulas(text)}</p>")
    shown = "".join(tree.itertext()).replace("−", "-")
    marks = str.maketrans("ᵢ₀²−", "i02-", "_^√{}")
    assert shown.translate(marks) == text.translate(marks)


def test_no_mark_of_a_title_or_a_caption_is_left_over():
    for figure in catalogue("dsf.figures"):
        texts = figure.literals()
        for name in ("TITLE", "PAPER", "DIFFERS", "SEE"):
            plain = re.sub(r"<math>.*?</math>", "", formulas(texts[name]))
            assert not re.search(r"\^|\w_\w", plain), (figure.name, name, plain)
