"""Reading witnesses: each field of a claim is read by one reader, and what does not fit is refused.

A float64 checker that is handed integers above 2^53, complex or extended numbers would silently
prove something about other numbers.  Nothing is converted.  A reader takes (value, name) and
returns the value (arrays are copied) or raises `CertificateError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, field, fields
from fractions import Fraction
from typing import Any

import numpy as np

from dsf.core.errors import CertificateError

Reader = Callable[[Any, str], Any]
# A stored float is compared with the one computed anew, in another order of operations, to this
# relative accuracy: far above rounding, far below any change that matters.
REPRODUCED = 1e-9
STORED = tuple(map(np.dtype, (np.float64, np.float32, np.float16)))  # of parameters and inputs


def require(holds: Any, why: str) -> None:
    """CertificateError unless it holds."""
    if not holds:
        raise CertificateError(why)


class Record:
    """A dataclass of witnesses inside a claim."""


def witness(reader: Reader, *, optional: bool = False) -> Any:
    """A field of a claim or of a record, with what reads it; None where optional and absent."""
    if optional:
        return field(default=None, metadata={"reader": reader})
    return field(metadata={"reader": reader})


def read_fields(cls: Any, given: Any, where: str = "") -> dict[str, Any]:
    """The fields of a dataclass from a mapping: none missing, none surplus, each of its type."""
    require(isinstance(given, Mapping), f"{where or 'the witnesses'} must be a mapping")
    known = {f.name: f for f in fields(cls)}
    surplus = [k for k in given if k not in known]
    require(not surplus, f"{where}{', '.join(map(repr, surplus))}: no such witness is read")
    missing = [k for k, f in known.items() if k not in given and f.default is MISSING]
    require(not missing, f"the witness {', '.join(where + k for k in missing)} is missing")
    return {k: f.metadata["reader"](given[k], where + k) for k, f in known.items() if k in given}


# -------------------------------------------------------------------- structure
def many(reader: Reader) -> Reader:
    """A list, as a tuple."""

    def read(x: Any, name: str) -> tuple[Any, ...]:
        require(type(x) in (list, tuple), f"{name} must be a list; got {type(x).__name__}")
        return tuple(reader(e, f"{name}[{i}]") for i, e in enumerate(x))

    return read


def table(reader: Reader) -> Reader:
    """A mapping from names."""

    def read(x: Any, name: str) -> dict[str, Any]:
        fits = isinstance(x, Mapping) and all(type(k) is str for k in x)
        require(fits, f"{name} must be a mapping from names; got {type(x).__name__}")
        return {k: reader(e, f"{name}.{k}") for k, e in x.items()}

    return read


def record(cls: Any) -> Reader:
    """A `Record`, from the mapping of its fields."""
    return lambda x, name: cls(**read_fields(cls, x, f"{name}."))


# ------------------------------------------------------------------------ words
def text(x: Any, name: str) -> str:
    """One line of text."""
    require(type(x) is str and x.isprintable(), f"{name} must be one line of text; got {x!r}")
    return str(x)


def flag(x: Any, name: str) -> bool:
    """True or False, nothing that resembles them."""
    require(type(x) is bool, f"{name} must be True or False; got {x!r}")
    return bool(x)


def one_of(*values: Any) -> Reader:
    """One of a few values, of the same type."""

    def read(x: Any, name: str) -> Any:
        fits = any(type(x) is type(v) and x == v for v in values)
        known = ", ".join(str(getattr(v, "value", v)) for v in values)
        require(fits, f"{name} must be one of {known}; got {getattr(x, 'value', x)!r}")
        return x

    return read


# ---------------------------------------------------------------------- numbers
def whole(x: Any, name: str) -> int:
    """An integer."""
    fits = type(x) is int or isinstance(x, np.integer)
    require(fits, f"{name} must be an integer; got {x!r}")
    return int(x)


def count(x: Any, name: str) -> int:
    """An integer of at least 0."""
    require(whole(x, name) >= 0, f"{name} must be at least 0; got {x!r}")
    return int(x)


def at_most(limit: int) -> Reader:
    """An integer from 0 to a limit: how much a check may be asked to compute."""

    def read(x: Any, name: str) -> int:
        require(count(x, name) <= limit, f"{name} must be at most {limit}; got {x!r}")
        return int(x)

    return read


def number(x: Any, name: str) -> float:
    """A finite float, or an integer that is one."""
    require(np.isfinite(bound(x, name)), f"{name} must be a finite float; got {x!r}")
    return float(x)


def size(x: Any, name: str) -> float:
    """A finite float of at least 0."""
    require(number(x, name) >= 0.0, f"{name} must be >= 0; got {x!r}")
    return float(x)


def positive(x: Any, name: str) -> float:
    """A finite float above 0."""
    require(number(x, name) > 0.0, f"{name} must be > 0; got {x!r}")
    return float(x)


def bound(x: Any, name: str) -> float:
    """A float, infinite or not, or an integer that is one; NaN bounds nothing."""
    fits = type(x) in (float, np.float64) or (type(x) is int and abs(x) <= 2**53)
    require(fits and not np.isnan(x), f"{name} must be a float that is a number; got {x!r}")
    return float(x)


def amount(x: Any, name: str) -> float | int:
    """A float that is a number, or an integer, kept as what it is."""
    return whole(x, name) if type(x) is int else bound(x, name)


# ----------------------------------------------------------------------- arrays
def floats(*shape: int | None) -> Reader:
    """A finite float64 array; None stands for any length."""

    return lambda x, name: _finite(_array(x, name, np.dtype(np.float64), shape), name)


def stored(*shape: int | None) -> Reader:
    """A finite array of float64, float32 or float16: each is a rational number, kept as it is."""

    def read(x: Any, name: str) -> np.ndarray:
        dtype = getattr(x, "dtype", None)
        kind = next((k for k in STORED if k == dtype), STORED[0])
        return _finite(_array(x, name, kind, shape), name)

    return read


def parameter(x: Any, name: str) -> np.ndarray:
    """A finite array of stored floats of any shape."""
    found: np.ndarray = stored(*[None] * np.ndim(x))(x, name)
    return found


def _finite(x: np.ndarray, name: str) -> np.ndarray:
    require(np.all(np.isfinite(x)), f"{name} is not finite")
    return x


def integers(*shape: int | None) -> Reader:
    """An int64 array."""
    return lambda x, name: _array(x, name, np.dtype(np.int64), shape)


def flags(*shape: int | None) -> Reader:
    """A bool array."""
    return lambda x, name: _array(x, name, np.dtype(np.bool_), shape)


def fraction(x: Any, name: str) -> Fraction:
    """A fraction from its text, such as "-3/4", in lowest terms."""
    if type(x) is str and _FRACTION.fullmatch(x):
        value = Fraction(x)
        if str(value) == x:
            return value
    raise CertificateError(
        f"{name} must be a rational in lowest terms, written like '-3/4'; got {x!r}"
    )


def rationals(x: Any, name: str) -> np.ndarray:
    """An array of fractions from an array of their texts."""
    fits = type(x) is np.ndarray and x.dtype == object
    require(fits, f"{name} must be an array of rationals, written like '-3/4'")
    return np.asarray(np.frompyfunc(lambda e: fraction(e, name), 1, 1)(x), dtype=object)


_FRACTION = re.compile(r"-?[0-9]{1,300}(/[1-9][0-9]{0,300})?")


def _array(x: Any, name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> np.ndarray:
    fits = type(x) is np.ndarray and x.dtype == dtype and x.ndim == len(shape)
    if fits and all(n is None or n == m for n, m in zip(shape, x.shape, strict=True)):
        return np.array(x)
    wanted = " ".join("*" if n is None else str(n) for n in shape)
    kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
    raise CertificateError(f"{name} must be a {dtype} array [{wanted}]; got {kind}")


def digest(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """32 hexadecimal digits that identify named arrays."""
    code = hashlib.sha256()
    for name, array in arrays:
        x = np.ascontiguousarray(array)
        code.update(f"{name}{x.dtype.str}{x.shape}".encode() + x.tobytes())
    return code.hexdigest()[:32]
