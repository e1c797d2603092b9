"""Citations: every key that anything names has an entry, and every entry is well formed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import dsf
from dsf.core.catalogue import families
from dsf.core.certificate import Certificate, Scope, Strength
from dsf.core.errors import UnknownNameError
from dsf.tools.cite import OWN, entries, keys

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"[a-z]{2,}(19|20)\d\d[a-z]*(?=[,;:]|$)")
FIELDS = ("author", "title", "year", "eprint", "archiveprefix", "booktitle", "journal", "volume")
FIELDS += ("number", "pages", "publisher", "doi", "version")


def named_sources():
    """(place, text) of every literal `reference`, `source` or `REFERENCE` in the package, and of
    every other string that begins with a key."""
    for room in ("dsf", "solvers", "kernels", "theory_tests", "figures"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and KEY.match(str(node.value)):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
                if isinstance(node, ast.keyword):
                    name, value = node.arg, node.value
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    name, value = node.targets[0].id, node.value
                else:
                    continue
                literal = isinstance(value, ast.Constant) and isinstance(value.value, str)
                if literal and str(name).lower() in ("reference", "source") and value.value:
                    yield f"{path.relative_to(ROOT)}:{value.lineno}", value.value


def test_every_named_source_has_an_entry():
    found = list(named_sources())
    assert len(found) > 20  # the reader of literals finds them at all
    unknown = {}
    for place, text in found:
        try:
            keys(text)
        except UnknownNameError as e:
            unknown[place] = str(e)[:90]
    assert unknown == {}


@pytest.mark.smoke
@pytest.mark.parametrize("name", sorted(families()))
def test_every_mechanism_can_be_cited(name):
    family = dsf.family(name)
    key = family.facts.source
    text = entries()[key]
    assert dsf.cite(name) == dsf.cite(family) == dsf.cite(family.init(d=4)) == text
    assert text.startswith("@") and f"{{{key}," in text


def test_entries_are_well_formed():
    text = (ROOT / "dsf" / "tools" / "references.bib").read_text(encoding="utf-8")
    assert len(entries()) == len(re.findall(r"^@", text, re.M))  # none is skipped by the reader
    for key, entry in entries().items():
        assert entry.count("{") == entry.count("}"), key
        lines = entry.splitlines()[1:-1]
        parsed = {m[1]: m[2] for m in (re.fullmatch(r"  (\w+) = \{(.+)\},", x) for x in lines)}
        assert len(parsed) == len(lines) and set(parsed) <= set(FIELDS), key
        assert {"author", "title", "year"} <= set(parsed), key
        assert re.fullmatch(r"(19|20)\d\d", parsed["year"]), key
        if "eprint" in parsed:
            assert re.fullmatch(r"\d{4}\.\d{4,5}", parsed["eprint"]), key
            # an arXiv number begins with year and month of the first version
            assert 0 <= int(parsed["year"]) - 2000 - int(parsed["eprint"][:2]) <= 1, key


def test_numbers_agree_with_the_docstrings():
    """A mechanism file names the same arXiv number as the entry of its source."""
    seen = 0
    for path in sorted((ROOT / "dsf" / "mechanisms").glob("*/*.py")):
        text = path.read_text(encoding="utf-8")
        sources = re.findall(r'source="(\w+)"', text)
        numbers = set(re.findall(r"arXiv (\d{4}\.\d{4,5})", text))
        for key in sources:
            number = re.search(r"eprint = \{(.+)\}", entries()[key])
            assert not numbers or number[1] in numbers, (path.name, key)
            seen += bool(numbers)
    assert seen > len(families()) / 2


def claim(reference):
    return Certificate(
        "hankel-lower", "at least 1 state", Scope.OPERATOR, Strength.VERIFIED,
        witnesses={"M": np.eye(2)}, reference=reference,
    )  # fmt: skip


def test_certificates_and_what_carries_them():
    one = claim("dewilde1998, ch. 5; rounding: rump2006")
    both = entries()["dewilde1998"] + "\n\n" + entries()["rump2006"]
    assert dsf.cite(one) == both
    assert dsf.cite(one, claim("rump2006")) == both  # each entry once, in order of first use

    class Result:
        certificate = one
        certificates = (one, claim(""))

    assert dsf.cite(Result()) == both + "\n\n" + entries()[OWN]
    assert keys("derived: as in sandberg2004, without its condition") == [OWN, "sandberg2004"]
    assert dsf.cite(claim("")) == dsf.cite() == entries()[OWN]


def test_comparisons_and_nestings():
    comparison = dsf.compare(dsf.retnet, dsf.gla)
    text = dsf.cite(comparison)
    assert entries()["sun2023"] in text and entries()["yang2023"] in text
    edge = dsf.lattice.find_path(dsf.mamba2, dsf.gla)[0]
    assert entries()["dao2024"] in dsf.cite(edge)
    table = dsf.atlas("gla", "softmax")
    assert dsf.cite(table) == dsf.cite("gla", "softmax")


def test_unknown_sources_are_refused():
    with pytest.raises(UnknownNameError, match=r"'sieber2023'.*sieber2024"):
        dsf.cite("sieber2023")
    with pytest.raises(UnknownNameError, match="Did you mean mamba"):
        dsf.cite("S6")
    with pytest.raises(UnknownNameError, match="'nobody1999'"):
        dsf.cite(claim("sieber2024 and nobody1999"))
    with pytest.raises(UnknownNameError, match="no bibliography key in 'folklore'"):
        dsf.cite(claim("folklore"))
    with pytest.raises(UnknownNameError, match="ndarray names no source"):
        dsf.cite(np.eye(2))
