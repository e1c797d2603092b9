"""The base of results: layout in 79 columns, HTML that is escaped, JSON that is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dsf.core.errors import CertificateError
from dsf.core.result import WIDTH, Item, Result, Rows, SideBySide, Text


@dataclass
class Proof:
    holds: bool

    def check(self) -> bool:
        if not self.holds:
            raise CertificateError("it does not follow")
        return True


@dataclass(repr=False)
class Sample(Result):
    name: str
    proofs: tuple[Proof, ...] = ()
    parts: tuple = ()

    def headline(self):
        return self.name, "FOUND"

    def sections(self):
        return self.parts

    @property
    def certificates(self):
        return self.proofs

    def to_data(self):
        return {"name": self.name}

    @classmethod
    def from_data(cls, data):
        return cls(data["name"])


LONG = "a sentence that is longer than one line of the printout, so that it has to be wrapped below"
PARTS = (
    Text([Item(LONG), Item(LONG, 2, 6)]),
    Rows([("state", LONG), ("a<b", "1 & 2")]),
    SideBySide("left", "right", [("same one", "x", "x"), ("apart", LONG, "y")]),
    Text([], "nothing is shown under this"),
)


def test_the_printout_is_wrapped_and_its_sections_are_set_off():
    lines = repr(Sample("two things", parts=PARTS)).splitlines()
    assert lines[0] == "two things" + " " * (WIDTH - 15) + "FOUND"
    assert max(map(len, lines)) <= WIDTH and lines.count("") == 2
    assert lines[3].startswith("  a sentence") and lines[4].startswith("      ")
    assert any(line.startswith("  same           same one: x") for line in lines)
    assert not any("nothing is shown" in line for line in lines)
    assert sum(LONG.split()[-1] in line for line in lines) == 4


def test_a_title_that_is_too_long_takes_two_lines():
    assert repr(Sample("n" * 75)).splitlines() == ["n" * 75, "FOUND"]


def test_html_escapes_what_it_shows():
    html = Sample("a<b", parts=PARTS)._repr_html_()
    assert "a<b" not in html and html.count("a&lt;b") == 2 and "1 &amp; 2" in html
    assert html.count("<table>") == html.count("</table>") == 2


def test_every_certificate_is_checked():
    assert Sample("", (Proof(True), Proof(True))).check()
    with pytest.raises(CertificateError, match="does not follow"):
        Sample("", (Proof(True), Proof(False))).check()


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", "null", '{"nom": 1}'])
def test_other_json_is_refused(text):
    assert Sample.from_json(Sample("x").to_json()) == Sample("x")
    with pytest.raises(CertificateError, match="not the JSON of a Sample"):
        Sample.from_json(text)
