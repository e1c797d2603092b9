"""Reading witnesses: arrays of exactly the dtype and shape that an argument is about.

A float64 checker that is handed integers above 2^53, complex or extended numbers would silently
prove something about other numbers.  Nothing is converted: what does not fit is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dsf.core.errors import CertificateError

Shape = tuple[int | None, ...]


def get(w: Mapping[str, Any], name: str) -> Any:
    """A witness, or CertificateError."""
    if name not in w:
        raise CertificateError(f"the witness {name!r} is missing")
    return w[name]


def floats(w: Mapping[str, Any], name: str, *shape: int | None) -> np.ndarray:
    """A copy of a finite float64 array; None stands for any length."""
    return real(get(w, name), name, shape)


def integers(w: Mapping[str, Any], name: str, *shape: int | None) -> np.ndarray:
    """A copy of an int64 array."""
    return _array(get(w, name), name, np.dtype(np.int64), shape)


def flags(w: Mapping[str, Any], name: str, *shape: int | None) -> np.ndarray:
    """A copy of a bool array."""
    return _array(get(w, name), name, np.dtype(np.bool_), shape)


def number(w: Mapping[str, Any], name: str) -> float:
    """A finite float, or an integer that is one."""
    return finite(get(w, name), name)


def whole(w: Mapping[str, Any], name: str) -> int:
    """An integer."""
    x = get(w, name)
    if type(x) is not int and not isinstance(x, np.integer):
        raise CertificateError(f"{name} must be an integer; got {x!r}")
    return int(x)


def real(x: Any, name: str, shape: Shape) -> np.ndarray:
    """The same as `floats` for an array that is not a witness by itself."""
    found = _array(x, name, np.dtype(np.float64), shape)
    if not np.all(np.isfinite(found)):
        raise CertificateError(f"{name} is not finite")
    return found


def finite(x: Any, name: str) -> float:
    """The same as `number` for a number that is not a witness."""
    fits = type(x) in (float, np.float64) or (type(x) is int and abs(x) <= 2**53)
    if not fits or not np.isfinite(x):
        raise CertificateError(f"{name} must be a finite float; got {x!r}")
    return float(x)


def digest(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """32 hexadecimal digits that identify named arrays."""
    code = hashlib.sha256()
    for name, array in arrays:
        x = np.ascontiguousarray(array)
        code.update(f"{name}{x.dtype.str}{x.shape}".encode() + x.tobytes())
    return code.hexdigest()[:32]


def _array(x: Any, name: str, dtype: np.dtype[Any], shape: Shape) -> np.ndarray:
    fits = type(x) is np.ndarray and x.dtype == dtype and x.ndim == len(shape)
    if not fits or any(n is not None and n != m for n, m in zip(shape, x.shape, strict=True)):
        wanted = " ".join("*" if n is None else str(n) for n in shape)
        kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise CertificateError(f"{name} must be a {dtype} array [{wanted}]; got {kind}")
    return np.array(x)
