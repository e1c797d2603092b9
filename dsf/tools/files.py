"""Files that are either complete or absent, whenever the process ends."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsf.core.errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BLOCKED = (errno.ENOTDIR, errno.EEXIST)
OTHER = "choose another folder (--out of the figures, cache= of a sweep)"
UNWRITABLE = 74  # exit code of a process that cannot write; EX_IOERR of sysexits.h


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this context an OSError becomes an OutputError: what is wrong, and what to do.

    >>> with writing(Path("results/gauge.csv")):
    ...     raise OSError(errno.EROFS, "Read-only file system")
    Traceback (most recent call last):
    dsf.core.errors.OutputError: cannot write results/gauge.csv: Read-only file system.  Make it ...
    """
    try:
        yield
    except OSError as e:
        if isinstance(e, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {_diagnosis(path, e)}") from e


def _diagnosis(path: Path, e: OSError) -> str:
    if e.errno in FULL:
        return f"{e.strerror}.  Free some space; the same command resumes"
    file = next((p for p in (path, *path.parents) if p.is_file()), None)
    if e.errno in BLOCKED and file is not None:
        return f"{file} is a file.  Move it, or {OTHER}"
    return f"{e.strerror or e}.  Make it writable, or {OTHER}"


def sha256(data: bytes) -> str:
    """The checksum of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file so that, after a crash at any time, it is the old one or the new one.

    Raises OutputError (disk full, folder not writable).
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a dict as JSON with its own checksum inside.

    Raises TypeError for a key that is not a string: JSON would make a string of it, and what is
    read back would be another dict, sorted in another order, whose checksum says "altered".
    """
    _keys(content, "")
    checked = {**content, "sha256": sha256(_canonical(content))}
    write(path, (json.dumps(checked, indent=1) + "\n").encode())


def _keys(x: Any, place: str) -> None:
    if isinstance(x, dict):
        for key, value in x.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"write_record: the key {key!r} ({type(key).__name__}) in "
                    f"{place or 'the record'} is not a string, and JSON has no other keys.  Likely "
                    "cause: a dict by numbers in PARAMETERS.  Use a list of pairs, or str(key)."
                )
            _keys(value, f"{place}[{key!r}]")
    elif isinstance(x, (list, tuple)):
        for i, value in enumerate(x):
            _keys(value, f"{place}[{i}]")


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_record` wrote, or None if the file is absent, cut or altered."""
    try:
        content = json.loads(path.read_bytes())
        stored = content.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return content if stored == sha256(_canonical(content)) else None


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
