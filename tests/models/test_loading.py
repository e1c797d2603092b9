"""Models by name, and `dsf inspect` on them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dsf.core.errors import DomainError, DTypeError, MissingExtraError, UnknownNameError
from dsf.models import Inspection
from dsf.models.loading import inputs_of, load
from dsf.tools.cli import main

MODULE = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from networks import LanguageModel, SelfAttention

def words():
    return LanguageModel(), lambda text: [ord(c) % 100 for c in text]

def floats():
    return SelfAttention()

def nothing():
    return 3

def broken():
    raise ValueError("inside")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "of_the_user.py").write_text(MODULE)
    (tmp_path / "text.txt").write_text("a text of some words, and again some words")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((1, 12, 8)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "of_the_user", raising=False)
    return tmp_path


def test_a_function_of_the_user(folder, capsys):
    arguments = ["inspect", "of_the_user:words", "--text", "text.txt", "--tokens", "24"]
    assert main([*arguments, "--rtol", "0.2", "--probe", "repeat", "--json", "o.json"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("4 heads in 2 modules, 24 tokens") and "at error 0.2" in text
    found = Inspection.from_json((folder / "o.json").read_text())
    assert found.probes == ("repeat",) and found.proofs is None
    assert main([*arguments, "--keep", "--probe", "text", "--json", "o.json"]) == 0
    assert Inspection.from_json((folder / "o.json").read_text()).check()


def test_what_the_code_of_the_user_raises_is_no_defect_of_this_package(folder, capsys):
    assert main(["inspect", "of_the_user:broken", "--input", "x.npy"]) == 2
    told = capsys.readouterr().err
    assert "broken() raised ValueError: inside" in told and "defect" not in told
    (folder / "fails_on_import.py").write_text("1 / 0")
    assert main(["inspect", "fails_on_import:f", "--input", "x.npy"]) == 2
    assert "fails_on_import cannot be imported: ZeroDivisionError" in capsys.readouterr().err


def test_an_input_of_numbers(folder, capsys):
    assert main(["inspect", "of_the_user:floats", "--input", "x.npy"]) == 0
    assert "2 heads in 1 module, 12 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["of_the_user:none", "--text", "text.txt"], "there is no of_the_user:none"),
        (["no_module:words", "--text", "text.txt"], "there is no no_module:words"),
        (["a_folder", "--text", "text.txt"], "neither a folder"),
        (["of_the_user:nothing", "--text", "text.txt"], "must return a model"),
        (["of_the_user:words"], "either a --text or an --input"),
        (["of_the_user:words", "--text", "text.txt", "--input", "x.npy"], "either"),
        (["of_the_user:words", "--text", "none.txt"], "cannot be read"),
        (["of_the_user:floats", "--text", "text.txt"], "a text cannot be turned into tokens"),
        (["of_the_user:words", "--input", "text.txt"], "cannot be read"),
        (
            ["of_the_user:words", "--input", "x.npy"],
            "cannot be run on an input of shape [1, 12, 8]",
        ),
    ],
)
def test_what_is_not_there(folder, capsys, arguments, says):
    assert main(["inspect", *arguments]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("inspect: ") == 1


def test_an_empty_text(folder):
    (folder / "empty.txt").write_text("")
    with pytest.raises(DomainError, match="holds no tokens"):
        inputs_of(folder / "empty.txt", None, list, 8)


def test_errors_are_typed(folder):
    with pytest.raises(UnknownNameError):
        load("nothing")
    with pytest.raises(DTypeError):
        load("of_the_user:nothing")


def test_a_folder_needs_transformers(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="extra 'models'"):
        load(str(folder))


def test_a_folder_of_transformers(folder):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(DomainError, match="cannot read"):
        load(str(folder))
    shape = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(vocab_size=64, intermediate_size=16, **shape)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "llama")
    with pytest.raises(DomainError, match="cannot read"):  # it has no tokenizer
        load(str(folder / "llama"))
    assert torch.is_grad_enabled()
