"""Files that are either whole or absent."""

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
    """Write a dict as JSON with its own checksum inside."""
    checked = {**content, "sha256": sha256(_canonical(content))}
    write(path, (json.dumps(checked, indent=1) + "\n").encode())


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
