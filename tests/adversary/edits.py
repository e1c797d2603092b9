"""Edits: other values in the places of a certificate, and the sentence that fits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from dsf.claims.base import HEADER, KINDS
from dsf.core.certificate import Certificate
from dsf.core.errors import CertificateError


def restated(c: Certificate) -> Certificate:
    """With the sentence of what the certificate holds, where that can be read and makes one."""
    cls, values = KINDS[c.kind], {}
    try:
        for f in fields(cls):
            given = vars(c) if f.name in HEADER else c.witnesses
            if f.name in given:
                values[f.name] = f.metadata["reader"](given[f.name], f.name)
        return replace(c, claim=cls(**values).sentence)
    except (CertificateError, TypeError):  # a TypeError where a field is missing
        return c


Path = tuple[Any, ...]


def places(x: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every witness, and everything inside it."""
    if path:
        yield path, x
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


DROP = object()


def put(x: Any, path: Path, value: Any) -> Any:
    """The same with another value in one place, or without it."""
    if not path:
        return value
    key, *rest = path
    if isinstance(x, list):
        inner = [] if value is DROP and not rest else [put(x[key], tuple(rest), value)]
        return [*x[:key], *inner, *x[key + 1 :]]
    if value is DROP and not rest:
        return {k: e for k, e in x.items() if k != key}
    return {**x, key: put(x.get(key), tuple(rest), value)}


def others(x: Any) -> Iterator[Any]:
    """What a reader must not take for x."""
    if isinstance(x, np.ndarray):
        kinds = {"f": "f4 g c16 O U32", "i": "i4 f8 O u8", "b": "i8 f8 O u1", "c": "c8 f8 O"}
        with np.errstate(all="ignore"), pytest.warns() if x.dtype.kind == "c" else np.errstate():
            yield from [x.astype(k) for k in kinds.get(x.dtype.kind, "U32").split()]
        yield from [np.ma.masked_array(x), x.tolist(), None, x[..., None], x.ravel()[:-1]]
        if x.dtype.kind in "fi":
            yield x.astype(x.dtype.newbyteorder())
        if x.dtype.kind == "f" and x.size:
            yield from [np.full_like(x, bad) for bad in (np.nan, np.inf)]
        if x.dtype.kind == "O" and x.size:
            yield from [np.full_like(x, bad) for bad in ("1/0", "٣", " 1", "2/4", 0.5)]
    elif isinstance(x, bool):
        yield from [int(x), str(x), None, not x]
    elif isinstance(x, int):
        yield from [float(x), str(x), np.longdouble(x), None, -1 - x, 10**30]
    elif isinstance(x, float):
        yield from [str(x), np.longdouble(x), complex(x), np.nan, None]
    elif isinstance(x, str):
        yield from [x + " ", x + "\nclaim", None, 3, [x], "٣" + x]
    elif isinstance(x, list):
        yield from [None, dict(enumerate(x)), "".join(map(str, x)), [*x, *x[:1]]]
        yield [*x, None]
    elif isinstance(x, dict):
        yield from [None, list(x.values()), {**x, "more": 1}, {**x, 3: 1}]
