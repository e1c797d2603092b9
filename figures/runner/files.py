"""Files that are either complete or absent, whenever the process ends."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def sha256(data: bytes) -> str:
    """The checksum of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file so that, after a crash at any time, it is the old one or the new one.

    Raises OSError that names the file (disk full, folder not writable).
    """
    try:
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
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from e


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
