"""One file per finished task: a line that names the format, a checksum, and the pickled result."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from dsf.tools.files import sha256
from dsf.tools.sweeps.keys import FORMAT

HEAD = f"dsf sweep {FORMAT}\n".encode()
CHECKSUM = 64  # characters


def packed(content: dict[str, Any]) -> bytes:
    """The bytes of a file; whatever cloudpickle raises of what cannot be pickled."""
    import cloudpickle  # also classes of a notebook, which pickle refuses

    body = cloudpickle.dumps(content)
    return HEAD + sha256(body).encode() + body


def unpacked(data: bytes) -> dict[str, Any]:
    """The inverse of `packed`; ValueError for bytes that were cut or altered.

    >>> data = packed({"value": 0.5})
    >>> unpacked(data)
    {'value': 0.5}
    >>> unpacked(data[:-1])
    Traceback (most recent call last):
    ValueError: its checksum is not that of its content
    """
    start = len(HEAD) + CHECKSUM
    body = data[start:]
    if data[: len(HEAD)] != HEAD or data[len(HEAD) : start] != sha256(body).encode():
        raise ValueError("its checksum is not that of its content")
    try:
        return dict(pickle.loads(body))
    except Exception as e:  # a class that has gone, a library of another version
        raise ValueError(f"it cannot be read back ({type(e).__name__}: {e})") from e


def read(path: Path, key: str) -> dict[str, Any] | None:
    """What is kept of a task: None if nothing is, ValueError if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ValueError(f"it cannot be read ({e.strerror})") from e
    content = unpacked(data)
    if content.get("key") != key:
        raise ValueError("it is the file of another task")
    return content
