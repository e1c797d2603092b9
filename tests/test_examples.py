"""The examples run as they stand, are short, and print what they promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SAYS = {
    "inspect_own_module.py": [
        "4 heads in 1 module, 80 tokens",
        "head 0 reads keys 0",
        "hold: True",
    ],
    "inspect_transformers.py": ["8 heads in 2 modules, 128 tokens", "transformer.h.0.attn, head 0"],
    "start_a_student.py": ["floor", "on four texts that it has not seen"],
    "compress_a_head.py": ["Realization of M [64 64]", "states cannot", "streamed against"],
}


def test_every_example_is_run_and_short():
    assert sorted(SAYS) == sorted(path.name for path in FOLDER.glob("*.py"))
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path.name


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example(name, monkeypatch, capsys):
    if "transformers" in name:
        pytest.importorskip("transformers")
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    text = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in text
