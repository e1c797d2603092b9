"""The list of mistakes: each has its place in today's code, and the README counts them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LINES = (HERE / "mutations.jsonl").read_text(encoding="utf-8").splitlines()
MUTATIONS: list[dict[str, Any]] = [json.loads(line) for line in LINES]

pytestmark = pytest.mark.smoke


def text(name: str) -> str:
    file = ROOT / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def test_what_is_replaced_stands_in_its_file_exactly_once():
    texts = {name: text(name) for name in {m["file"] for m in MUTATIONS}}
    counts = [(m["file"], m["old"], texts[m["file"]].count(m["old"])) for m in MUTATIONS]
    assert [found for found in counts if found[2] != 1] == []
    assert [m["old"] for m in MUTATIONS if m["old"] == m["new"]] == []


def test_the_tests_beside_the_code_exist():
    named = {test for m in MUTATIONS for test in m["tests"]}
    assert all(m["tests"] for m in MUTATIONS)
    assert [test for test in sorted(named) if not (ROOT / test.partition("::")[0]).is_file()] == []


def test_no_mistake_stands_there_twice():
    keys = [(m["file"], m["old"], m["new"]) for m in MUTATIONS]
    assert [key for key in keys if keys.count(key) > 1] == []


def test_the_readme_counts_them():
    (told,) = re.findall(r"`make mutants` breaks (\d+) lines", text("README.md"))
    assert int(told) == len(MUTATIONS)
    assert [m["old"] for m in MUTATIONS if m["caught"] is not True] == []  # "all are recorded"
